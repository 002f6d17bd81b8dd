// moe_down_q4: moe_down for 4-bit affine weights, in 16-byte reads: a team of LANES lanes takes eight rows, as two blocks of four.
// How lanes share the columns is in row_blocks; sums over a team come from team_*.
//   x [tokens * CHOSEN, COLS] f32;  picks [tokens * CHOSEN] u32;  slots [experts] u32, ABSENT where the expert is in no slot of the slab
//   y [tokens * CHOSEN, OUT] f32; rows of an absent expert stay as they are, or become ABSENT_ZERO.  32 divides GROUP, GROUP divides COLS; LANES 8 or more
override OUT: u32; override ABSENT_ZERO: bool;
override COUNT: u32 = (UNITS + LANES - 1u) / LANES;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> picks: array<u32>;
@group(0) @binding(2) var<storage, read> slots: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(THREADS)
fn main(thread: Thread, @builtin(workgroup_id) wg: vec3u) {
  let place = placeOf(thread.index, 0u); // for its team and lane
  let choice = wg.y;
  let slot = slots[picks[choice]];
  let row = (wg.x * TEAMS + place.team) * 8u;
  var low = vec4f();
  var high = vec4f();
  if (slot != ABSENT) {
    chooseExpert(0u, slot);
    for (var t = 0u; t < COUNT; t++) {
      let unit = t * LANES + place.lane;
      if (unit < UNITS) {
        let a = readRows(row, unit);
        let b = readRows(row + 4u, unit);
        let xs = readUnit(choice * UNITS + unit);
        low += addRows(a, xs);
        high += addRows(b, xs);
      }
    }
  }
  teamPut(0u, low, place, thread);
  teamPut(1u, high, place, thread);
  let sum = teamSum(place, thread);
  if (place.lane < 8u && row + place.lane < OUT && (slot != ABSENT || ABSENT_ZERO)) { y[choice * OUT + row + place.lane] = sum; }
}

// moe_gate_up_q4: moe_gate_up for 4-bit affine weights, in 16-byte reads: a team of LANES lanes takes ROWS rows of gate and as many of up,
// which meet the same x. How lanes share the columns is in row_blocks; sums over a team come from team_*, gate's as block 0 and up's as 1.
//   x [tokens, COLS] f32;  slots [experts] u32, ABSENT where the expert is in no slot of the slab;  the chosen ones from picks_*; x_near or x_far
//   y [tokens * CHOSEN, INNER] f32; rows of an absent expert stay as they are.  32 divides GROUP, GROUP divides COLS; LANES 8 or more
override INNER: u32;
override COUNT: u32 = (UNITS + LANES - 1u) / LANES;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> slots: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
var<workgroup> ups: array<f32, TEAMS * 4u>;

@compute @workgroup_size(THREADS)
fn main(thread: Thread, @builtin(workgroup_id) wg: vec3u) {
  let place = placeOf(thread.index, 0u); // for its team and lane
  let choice = wg.y;
  let first = choice / CHOSEN * UNITS;
  stageX(first, thread.index);
  let slot = slots[pickOf(choice, thread.index, wg.x + wg.y == 0u)];
  let row = (wg.x * TEAMS + place.team) * ROWS;
  var gate = vec4f();
  var up = vec4f();
  if (slot != ABSENT) {
    for (var t = 0u; t < COUNT; t++) {
      let unit = t * LANES + place.lane;
      if (unit < UNITS) {
        chooseExpert(0u, slot);
        let g = readRows(row, unit);
        chooseExpert(1u, slot);
        let u = readRows(row, unit);
        let xs = unitOf(first, unit);
        gate += addRows(g, xs);
        up += addRows(u, xs);
      }
    }
  }
  teamPut(0u, gate, place, thread);
  teamPut(1u, up, place, thread);
  let sum = teamSum(place, thread);
  if (place.lane >= 4u && place.lane < 4u + ROWS) { ups[place.team * 4u + place.lane - 4u] = sum; }
  workgroupBarrier();
  if (place.lane < ROWS && row + place.lane < INNER && slot != ABSENT) {
    y[choice * INNER + row + place.lane] = sum / (1.0 + exp(-sum)) * ups[place.team * 4u + place.lane];
  }
}

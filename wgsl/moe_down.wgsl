// moe_down: y = W x of every chosen expert of every token, for any weight format (matrix_affine or matrix_float).
//   x [tokens * CHOSEN, COLS] f32;  picks [tokens * CHOSEN] u32;  slots [experts] u32, ABSENT where the expert is in no slot of the slab
//   y [tokens * CHOSEN, ROWS] f32; rows of an absent expert stay as they are, or become ABSENT_ZERO
// grid.y is the choice of a token, grid.x four rows. Each output is kept by itself, so that in which order experts come changes nothing.
override COLS: u32; override ROWS: u32; override ABSENT_ZERO: bool;
override QUADS: u32 = COLS / 4u;
override STEPS: u32 = (QUADS + LANES - 1u) / LANES;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> picks: array<u32>;
@group(0) @binding(2) var<storage, read> slots: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(lane: Lane, @builtin(workgroup_id) wg: vec3u) {
  let choice = wg.y;
  let slot = slots[picks[choice]];
  let row = wg.x * 4u;
  var sums = vec4f();
  if (slot != ABSENT) {
    chooseExpert(0u, slot);
    let rows = min(vec4u(row, row + 1u, row + 2u, row + 3u), vec4u(ROWS - 1u)); // past the end the last one again, not written
    for (var t = 0u; t < STEPS; t++) {
      let quad = t * LANES + lane.index;
      if (quad < QUADS) {
        let xs = x[choice * QUADS + quad];
        sums += vec4f(dot(weight4(rows.x, quad), xs), dot(weight4(rows.y, quad), xs),
          dot(weight4(rows.z, quad), xs), dot(weight4(rows.w, quad), xs));
      }
    }
  }
  sums = reduceAdd(sums, lane);
  for (var i = lane.index; i < 4u; i += LANES) {
    if ((slot != ABSENT || ABSENT_ZERO) && row + i < ROWS) { y[choice * ROWS + row + i] = sums[i]; }
  }
}

// moe_gate_up: y = silu(gate x) * (up x) of every chosen expert of every token, for any weight format (matrix_affine or matrix_float).
//   x [tokens, COLS] f32;  picks [tokens, CHOSEN] u32;  slots [experts] u32, ABSENT where the expert is in no slot of the slab
//   y [tokens * CHOSEN, ROWS] f32; rows of an absent expert stay as they are
//   weights: records 0 and 1 are gate and up
// grid.y is the choice of a token, grid.x four rows each of gate and up.
override COLS: u32; override ROWS: u32; override CHOSEN: u32;
override QUADS: u32 = COLS / 4u;
override STEPS: u32 = (QUADS + LANES - 1u) / LANES;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> picks: array<u32>;
@group(0) @binding(2) var<storage, read> slots: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

/// What a lane adds to rows [row, row + 4) of the matrix that `record` names.
fn rowSums(row: u32, first: u32, lane: u32) -> vec4f {
  let rows = min(vec4u(row, row + 1u, row + 2u, row + 3u), vec4u(ROWS - 1u)); // past the end the last one again, not written
  var sums = vec4f();
  for (var t = 0u; t < STEPS; t++) {
    let quad = t * LANES + lane;
    if (quad < QUADS) {
      let xs = x[first + quad];
      sums += vec4f(dot(weight4(rows.x, quad), xs), dot(weight4(rows.y, quad), xs),
        dot(weight4(rows.z, quad), xs), dot(weight4(rows.w, quad), xs));
    }
  }
  return sums;
}

@compute @workgroup_size(LANES)
fn main(lane: Lane, @builtin(workgroup_id) wg: vec3u) {
  let choice = wg.y;
  let slot = slots[picks[choice]];
  let row = wg.x * 4u;
  var gate = vec4f();
  var up = vec4f();
  if (slot != ABSENT) {
    let first = choice / CHOSEN * QUADS;
    chooseExpert(0u, slot);
    gate = rowSums(row, first, lane.index);
    chooseExpert(1u, slot);
    up = rowSums(row, first, lane.index);
  }
  gate = reduceAdd(gate, lane);
  up = reduceAdd(up, lane);
  for (var i = lane.index; i < 4u; i += LANES) {
    if (slot != ABSENT && row + i < ROWS) { y[choice * ROWS + row + i] = gate[i] / (1.0 + exp(-gate[i])) * up[i]; }
  }
}

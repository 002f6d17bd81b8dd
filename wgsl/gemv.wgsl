// gemv: y = W x for one token, for any weight format (matrix_affine or matrix_float).
//   x [COLS] f32;  y f32, row r of this part at record.a.w + r;  ACCUMULATE adds to y (the residual) in place of writing it
// One workgroup of 64 lanes per four rows, so that each x is read once for four weights.
override COLS: u32; override ACCUMULATE: bool;
override QUADS: u32 = COLS / 4u;
override STEPS: u32 = (QUADS + LANES - 1u) / LANES;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(lane: Lane, @builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let row = chooseRecord(wg.y * grid.x + wg.x, 4u) * 4u; // row blocks past 65,535 fold into grid.y
  let last = max(record.a.z, 1u) - 1u;
  var sums = vec4f();
  for (var t = 0u; t < STEPS; t++) {
    let quad = t * LANES + lane.index;
    if (quad < QUADS) {
      let xs = x[quad];
      // Rows past the end repeat the last one; their sums are not written.
      sums += vec4f(
        dot(weight4(min(row, last), quad), xs), dot(weight4(min(row + 1u, last), quad), xs),
        dot(weight4(min(row + 2u, last), quad), xs), dot(weight4(min(row + 3u, last), quad), xs));
    }
  }
  sums = reduceAdd(sums, lane);
  if (lane.index < 4u && row + lane.index < record.a.z) {
    let i = record.a.w + row + lane.index;
    y[i] = sums[lane.index] + select(0.0, y[i], ACCUMULATE);
  }
}

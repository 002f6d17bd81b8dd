// gemv_q4: y = W x for one token, W in 4-bit affine groups: the projection of every decode step.
//   x [COLS] f32;  y f32, row r of this part at record.a.w + r;  ACCUMULATE adds to y (the residual) in place of writing it
//   weights: matrix_affine with BITS 4: eight q per word, lowest bits first
// W[r, c] = scale * q + bias, so a word adds scale * sum(q * x) + bias * sum(x): sum(x) is shared by the four rows.
// One workgroup of 64 lanes per four rows; a lane takes every 64th word of each.
override ACCUMULATE: bool;
override COLS: u32;
override WORDS: u32 = COLS / 8u;
override STEPS: u32 = (WORDS + LANES - 1u) / LANES;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

fn wordDot(row: u32, index: u32, low: vec4f, high: vec4f, sum: f32) -> f32 {
  let w = vec4u(word(row * WORDS + index));
  let q0 = vec4f((w >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u));
  let q1 = vec4f((w >> vec4u(16u, 20u, 24u, 28u)) & vec4u(15u));
  let s = scaleBias(row * (COLS / GROUP) + index * 8u / GROUP);
  return s.x * (dot(q0, low) + dot(q1, high)) + s.y * sum;
}

@compute @workgroup_size(LANES)
fn main(lane: Lane, @builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let row = chooseRecord(wg.y * grid.x + wg.x, 4u) * 4u; // row blocks past 65,535 fold into grid.y
  let last = max(record.a.z, 1u) - 1u;
  var sums = vec4f();
  for (var t = 0u; t < STEPS; t++) {
    let index = t * LANES + lane.index;
    if (index < WORDS) {
      let low = x[2u * index];
      let high = x[2u * index + 1u];
      let sum = dot(low + high, vec4f(1.0));
      // Rows past the end repeat the last one; their sums are not written.
      sums += vec4f(
        wordDot(min(row, last), index, low, high, sum), wordDot(min(row + 1u, last), index, low, high, sum),
        wordDot(min(row + 2u, last), index, low, high, sum), wordDot(min(row + 3u, last), index, low, high, sum));
    }
  }
  sums = reduceAdd(sums, lane);
  if (lane.index < 4u && row + lane.index < record.a.z) {
    let i = record.a.w + row + lane.index;
    y[i] = sums[lane.index] + select(0.0, y[i], ACCUMULATE);
  }
}

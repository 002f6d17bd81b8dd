// gemv_q4_direct: gemv_q4 without workgroup memory or barriers, for CPU adapters, which run a workgroup on one thread and pay
// dearly for both.
//   x [columns] f32;  y f32, row r of this part at record.a.w + r;  ACCUMULATE adds to y (the residual) in place of writing it
//   weights: matrix_affine with BITS 4
// One thread per four rows; scale and bias are applied once per group: memory reads are what costs there. Sizes come from the
// record: one pipeline serves every matrix, because compiling costs, too.
override ACCUMULATE: bool;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

fn low(w: u32) -> vec4f { return vec4f((vec4u(w) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u)); }
fn high(w: u32) -> vec4f { return vec4f((vec4u(w) >> vec4u(16u, 20u, 24u, 28u)) & vec4u(15u)); }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = ((wg.y * grid.x + wg.x) * 64u + thread) * 4u;
  if (row >= record.a.z) { return; }
  // Rows past the end repeat the last one; their sums are not written.
  let rows = min(vec4u(row, row + 1u, row + 2u, row + 3u), vec4u(record.a.z - 1u));
  let words = rows * record.b.x;
  let groups = rows * record.b.y;
  var sums = vec4f();
  for (var g = 0u; g < record.b.y; g++) {
    var dots = vec4f();
    var xs = vec4f();
    for (var i = 0u; i < GROUP / 8u; i++) {
      let at = g * (GROUP / 8u) + i;
      let x0 = x[2u * at];
      let x1 = x[2u * at + 1u];
      xs += x0 + x1;
      let w0 = word(words.x + at); let w1 = word(words.y + at); let w2 = word(words.z + at); let w3 = word(words.w + at);
      dots += vec4f(dot(low(w0), x0), dot(low(w1), x0), dot(low(w2), x0), dot(low(w3), x0));
      dots += vec4f(dot(high(w0), x1), dot(high(w1), x1), dot(high(w2), x1), dot(high(w3), x1));
    }
    let s0 = scaleBias(groups.x + g); let s1 = scaleBias(groups.y + g); let s2 = scaleBias(groups.z + g); let s3 = scaleBias(groups.w + g);
    sums += dots * vec4f(s0.x, s1.x, s2.x, s3.x) + dot(xs, vec4f(1.0)) * vec4f(s0.y, s1.y, s2.y, s3.y);
  }
  for (var i = 0u; i < 4u && row + i < record.a.z; i++) {
    let at = record.a.w + row + i;
    y[at] = sums[i] + select(0.0, y[at], ACCUMULATE);
  }
}

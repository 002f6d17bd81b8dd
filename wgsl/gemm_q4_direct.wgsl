// gemm_q4_direct: Y = X W^T for several tokens and 4-bit affine groups, without workgroup memory or barriers, for CPU adapters
// (see gemv_q4_direct).
//   x [tokens, columns] f32;  y [tokens, record.b.w] f32, row r of this part at column record.a.w + r
//   ACCUMULATE adds to y (the residual) in place of writing it;  weights: matrix_affine with BITS 4
// One thread per 4 tokens by 8 rows, of all tried the fastest there: each word of weights and each x serves several sums,
// and scale and bias are applied once per group.
override ACCUMULATE: bool;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> step: Step;

fn low(w: u32) -> vec4f { return vec4f((vec4u(w) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u)); }
fn high(w: u32) -> vec4f { return vec4f((vec4u(w) >> vec4u(16u, 20u, 24u, 28u)) & vec4u(15u)); }

/// Scales (x) and biases (y) of four rows' groups.
fn scales(groups: vec4u) -> array<vec4f, 2> {
  let a = scaleBias(groups.x); let b = scaleBias(groups.y); let c = scaleBias(groups.z); let d = scaleBias(groups.w);
  return array(vec4f(a.x, b.x, c.x, d.x), vec4f(a.y, b.y, c.y, d.y));
}

fn store(token: u32, row: u32, sums: vec4f) {
  if (token >= step.tokens) { return; }
  for (var i = 0u; i < 4u && row + i < record.a.z; i++) {
    let at = token * record.b.w + record.a.w + row + i;
    y[at] = sums[i] + select(0.0, y[at], ACCUMULATE);
  }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = ((wg.z * grid.x + wg.x) * 64u + thread) * 8u; // row blocks past 65,535 fold into grid.z
  if (row >= record.a.z) { return; }
  // Rows and tokens past the end repeat the last one; their sums are not written.
  let last = vec4u(record.a.z - 1u);
  let rowsA = min(vec4u(row, row + 1u, row + 2u, row + 3u), last);
  let rowsB = min(vec4u(row + 4u, row + 5u, row + 6u, row + 7u), last);
  let token = wg.y * 4u;
  let tokens = min(vec4u(token, token + 1u, token + 2u, token + 3u), vec4u(step.tokens - 1u)) * (record.b.z / 4u);
  // sums of token t: rows 0-3 in a<t>, rows 4-7 in b<t>
  var a0 = vec4f(); var a1 = vec4f(); var a2 = vec4f(); var a3 = vec4f();
  var b0 = vec4f(); var b1 = vec4f(); var b2 = vec4f(); var b3 = vec4f();
  for (var g = 0u; g < record.b.y; g++) {
    // the same within this group, of unscaled weights, and sums of x
    var p0 = vec4f(); var p1 = vec4f(); var p2 = vec4f(); var p3 = vec4f();
    var q0 = vec4f(); var q1 = vec4f(); var q2 = vec4f(); var q3 = vec4f();
    var x0 = vec4f(); var x1 = vec4f(); var x2 = vec4f(); var x3 = vec4f();
    for (var i = 0u; i < GROUP / 8u; i++) {
      let at = g * (GROUP / 8u) + i;
      let wa = rowsA * record.b.x + at;
      let wb = rowsB * record.b.x + at;
      let words = array(vec4u(word(wa.x), word(wa.y), word(wa.z), word(wa.w)), vec4u(word(wb.x), word(wb.y), word(wb.z), word(wb.w)));
      let lowA = mat4x4f(low(words[0].x), low(words[0].y), low(words[0].z), low(words[0].w));
      let highA = mat4x4f(high(words[0].x), high(words[0].y), high(words[0].z), high(words[0].w));
      let lowB = mat4x4f(low(words[1].x), low(words[1].y), low(words[1].z), low(words[1].w));
      let highB = mat4x4f(high(words[1].x), high(words[1].y), high(words[1].z), high(words[1].w));
      var l = x[tokens.x + 2u * at]; var h = x[tokens.x + 2u * at + 1u];
      p0 += l * lowA + h * highA; q0 += l * lowB + h * highB; x0 += l + h;
      l = x[tokens.y + 2u * at]; h = x[tokens.y + 2u * at + 1u];
      p1 += l * lowA + h * highA; q1 += l * lowB + h * highB; x1 += l + h;
      l = x[tokens.z + 2u * at]; h = x[tokens.z + 2u * at + 1u];
      p2 += l * lowA + h * highA; q2 += l * lowB + h * highB; x2 += l + h;
      l = x[tokens.w + 2u * at]; h = x[tokens.w + 2u * at + 1u];
      p3 += l * lowA + h * highA; q3 += l * lowB + h * highB; x3 += l + h;
    }
    let sa = scales(rowsA * record.b.y + g);
    let sb = scales(rowsB * record.b.y + g);
    let one = vec4f(1.0);
    a0 += p0 * sa[0] + dot(x0, one) * sa[1]; b0 += q0 * sb[0] + dot(x0, one) * sb[1];
    a1 += p1 * sa[0] + dot(x1, one) * sa[1]; b1 += q1 * sb[0] + dot(x1, one) * sb[1];
    a2 += p2 * sa[0] + dot(x2, one) * sa[1]; b2 += q2 * sb[0] + dot(x2, one) * sb[1];
    a3 += p3 * sa[0] + dot(x3, one) * sa[1]; b3 += q3 * sb[0] + dot(x3, one) * sb[1];
  }
  store(token, row, a0); store(token, row + 4u, b0);
  store(token + 1u, row, a1); store(token + 1u, row + 4u, b1);
  store(token + 2u, row, a2); store(token + 2u, row + 4u, b2);
  store(token + 3u, row, a3); store(token + 3u, row + 4u, b3);
}

// gemm_direct: Y = X W^T for several tokens without workgroup memory or barriers, for CPU adapters (see gemv_direct).
//   x [tokens, columns] f32;  y [tokens, record.b.w] f32, row r of this part at column record.a.w + r
//   ACCUMULATE adds to y (the residual) in place of writing it
// One thread per 4 tokens by 4 rows, sums in four vec4f; any weight format (matrix_affine or matrix_float).
override ACCUMULATE: bool;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> step: Step;

fn store(token: u32, row: u32, sums: vec4f) {
  if (token >= step.tokens) { return; }
  for (var i = 0u; i < 4u && row + i < record.a.z; i++) {
    let at = token * record.b.w + record.a.w + row + i;
    y[at] = sums[i] + select(0.0, y[at], ACCUMULATE);
  }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = ((wg.z * grid.x + wg.x) * 64u + thread) * 4u; // row blocks past 65,535 fold into grid.z
  let token = wg.y * 4u;
  let quads = record.b.z / 4u;
  if (row >= record.a.z) { return; }
  // Rows and tokens past the end repeat the last one; their sums are not written.
  let last = record.a.z - 1u;
  let r1 = min(row + 1u, last); let r2 = min(row + 2u, last); let r3 = min(row + 3u, last);
  let end = step.tokens - 1u;
  let t0 = token * quads; let t1 = min(token + 1u, end) * quads; let t2 = min(token + 2u, end) * quads; let t3 = min(token + 3u, end) * quads;
  var sums0 = vec4f(); var sums1 = vec4f(); var sums2 = vec4f(); var sums3 = vec4f();
  for (var quad = 0u; quad < quads; quad++) {
    let w0 = weight4(row, quad); let w1 = weight4(r1, quad); let w2 = weight4(r2, quad); let w3 = weight4(r3, quad);
    let x0 = x[t0 + quad]; let x1 = x[t1 + quad]; let x2 = x[t2 + quad]; let x3 = x[t3 + quad];
    sums0 += vec4f(dot(w0, x0), dot(w1, x0), dot(w2, x0), dot(w3, x0));
    sums1 += vec4f(dot(w0, x1), dot(w1, x1), dot(w2, x1), dot(w3, x1));
    sums2 += vec4f(dot(w0, x2), dot(w1, x2), dot(w2, x2), dot(w3, x2));
    sums3 += vec4f(dot(w0, x3), dot(w1, x3), dot(w2, x3), dot(w3, x3));
  }
  store(token, row, sums0);
  store(token + 1u, row, sums1);
  store(token + 2u, row, sums2);
  store(token + 3u, row, sums3);
}

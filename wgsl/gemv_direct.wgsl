// gemv_direct: y = W x for one token without workgroup memory or barriers, for CPU adapters, which run a workgroup on one
// thread and pay dearly for both. Any weight format (matrix_affine or matrix_float).
//   x [columns] f32;  y f32, row r of this part at record.a.w + r;  ACCUMULATE adds to y (the residual) in place of writing it
// One thread per four rows, so that each x is read once for four weights. Sizes come from the record: one pipeline serves
// every matrix, because compiling costs seconds there.
override ACCUMULATE: bool;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = ((wg.y * grid.x + wg.x) * 64u + thread) * 4u;
  if (row >= record.a.z) { return; }
  let last = record.a.z - 1u;
  var sums = vec4f();
  for (var quad = 0u; quad < record.b.z / 4u; quad++) {
    let xs = x[quad];
    // Rows past the end repeat the last one; their sums are not written.
    sums += vec4f(
      dot(weight4(row, quad), xs), dot(weight4(min(row + 1u, last), quad), xs),
      dot(weight4(min(row + 2u, last), quad), xs), dot(weight4(min(row + 3u, last), quad), xs));
  }
  for (var i = 0u; i < 4u && row + i <= last; i++) {
    let at = record.a.w + row + i;
    y[at] = sums[i] + select(0.0, y[at], ACCUMULATE);
  }
}

// norm_gemv_q4: RMSNorm of one token and up to four 4-bit matrices that read it, one behind the other: y = W (x * (mean(x^2) + EPS)^-1/2 * w).
//   x, weights: see norm_rows, where the loop is;  y f32, row r of a matrix at record.a.w + r
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(THREADS)
fn main(thread: Thread, @builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let place = placeOf(thread.index, wg.y * grid.x + wg.x); // workgroups past 65,535 fold into grid.y
  writeRow(normedSum(place, thread), place);
}

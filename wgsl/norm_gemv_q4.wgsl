// norm_gemv_q4: RMSNorm of one token and up to four 4-bit matrices that read it, one behind the other: y = W (x * (mean(x^2) + EPS)^-1/2 * w).
//   x [COLS] f32;  y f32, row r of a matrix at record.a.w + r
//   weights: up to four records, matrix_affine with BITS 4; 32 divides GROUP, GROUP divides COLS; record.b.w is where w [COLS] f32 begins in
//   `parameters`
// How x and the norm are found is in x_normed; which lane takes what in row_blocks, with one block a team.
override COUNT: u32 = (UNITS + LANES - 1u) / LANES;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(THREADS)
fn main(thread: Thread, @builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let place = placeOf(thread.index, wg.y * grid.x + wg.x); // workgroups past 65,535 fold into grid.y
  stageNormed(thread.index);
  var sums = vec4f();
  for (var t = 0u; t < COUNT; t++) {
    let unit = t * LANES + place.lane;
    if (unit < UNITS) { sums += addRows(readRows(place.row, unit), tileUnit(unit)); }
  }
  teamPut(0u, sums, place, thread);
  writeRow(teamSum(place, thread) * normScale(), place);
}

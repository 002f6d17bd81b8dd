// norm_rows: the loop of norm_gemv_q4 and delta_project_q4: rows of up to four 4-bit matrices, one behind the other, times the RMSNorm of one
// token: W (x * (mean(x^2) + EPS)^-1/2 * w).
//   x [COLS] f32;  weights: up to four records, matrix_affine with BITS 4; 32 divides GROUP, GROUP divides COLS; record.b.w is where w [COLS]
//   f32 begins in `parameters`
// How x and the norm are found is in x_normed; which lane takes what in row_blocks, with one block a team; sums over a team come from team_*.
override COUNT: u32 = (UNITS + LANES - 1u) / LANES;

/// The sum of row `place.lane` of the team, in its first lanes.
fn normedSum(place: Place, thread: Thread) -> f32 {
  stageNormed(thread.index);
  var sums = vec4f();
  for (var t = 0u; t < COUNT; t++) {
    let unit = t * LANES + place.lane;
    if (unit < UNITS) { sums += addRows(readRows(place.row, unit), tileUnit(unit)); }
  }
  teamPut(0u, sums, place, thread);
  return teamSum(place, thread) * normScale();
}

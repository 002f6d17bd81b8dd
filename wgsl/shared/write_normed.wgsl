// write_normed: what gemv_q4_* make of their sums where x is the weighed half of an RMSNorm (norm_scale): y = scale * sums.
@group(0) @binding(2) var<storage, read> squares: array<f32>;
var<workgroup> scales: array<f32, TEAMS>;

fn finish(place: Place, thread: Thread) {
  teamPut(ROW_BLOCKS, ownSquares(place), place, thread);
  let sum = teamSum(place, thread);
  if (place.lane == 4u * ROW_BLOCKS) { scales[place.team] = normScale(sum); }
  workgroupBarrier();
  writeRow(sum * scales[place.team], place);
}

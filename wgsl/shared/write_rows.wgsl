// write_rows: what gemv_q4_* make of their sums: y, or what is added to it (the residual).
override ACCUMULATE: bool;

fn finish(place: Place, thread: Thread) {
  let sum = teamSum(place, thread);
  let row = place.row + place.lane / 4u * ROWS + place.lane % 4u;
  if (place.lane < 4u * ROW_BLOCKS && place.lane % 4u < ROWS && row < record.a.z) {
    let i = record.a.w + row;
    y[i] = sum + select(0.0, y[i], ACCUMULATE);
  }
}

// write_row: where the sum of a row goes, for row_blocks: y f32, row r of this part at record.a.w + r.
override ACCUMULATE: bool; // adds to y (the residual) in place of writing it

/// Before the weights are read: nothing.
fn begin(place: Place) {}

/// Lane 4b + r of a team has the sum of row r of its block b.
fn writeRow(sum: f32, place: Place) {
  let row = place.row + place.lane / 4u * ROWS + place.lane % 4u;
  if (place.lane < 4u * ROW_BLOCKS && place.lane % 4u < ROWS && row < record.a.z) {
    let i = record.a.w + row;
    y[i] = sum + select(0.0, y[i], ACCUMULATE);
  }
}

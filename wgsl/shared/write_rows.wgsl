// write_rows: what gemv_q4_* make of their sums: y itself.

fn finish(place: Place, thread: Thread) { writeRow(teamSum(place, thread), place); }

// gemv_q4_held: gemv_q4_staged with as many lanes as a row has units: a lane holds its unit of x in registers for all of its rows.
//   x [COLS] f32;  y f32, row r of this part at record.a.w + r;  ACCUMULATE adds to y (the residual) in place of writing it
//   weights: matrix_affine with BITS 4; 32 divides GROUP, GROUP divides COLS
// A row in one step: the least waiting where rows are few. Weights need no x, so those of the first block are on their way while x
// passes through workgroup memory, and those of the next while a block is added up.
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

/// The lane's unit of each row of block `block`; zeros where there is none.
fn readBlock(block: u32, place: Place) -> Rows {
  if (block < ROW_BLOCKS && place.lane < UNITS) { return readRows(place.row + block * ROWS, place.lane); }
  return Rows();
}

/// The lane's unit of x, wherever the chunk with it passes.
fn heldUnit(lane: u32, thread: u32) -> Unit {
  var unit = Unit();
  for (var chunk = 0u; chunk < CHUNKS; chunk++) {
    stage(chunk, thread);
    if (lane / CHUNK == chunk) { unit = readUnit(lane % CHUNK); }
  }
  return unit;
}

@compute @workgroup_size(THREADS)
fn main(thread: Thread, @builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let place = placeOf(thread.index, wg.y * grid.x + wg.x); // workgroups past 65,535 fold into grid.y
  var next = readBlock(0u, place);
  let xs = heldUnit(place.lane, thread.index);
  for (var block = 0u; block < ROW_BLOCKS; block++) {
    let now = next;
    next = readBlock(block + 1u, place);
    var sums = vec4f();
    if (place.lane < UNITS) { sums = addRows(now, xs); }
    teamPut(block, sums, place, thread);
  }
  finish(place, thread);
}

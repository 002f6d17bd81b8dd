// gemv_q4_units: gemv_q4_staged on an x in units, as emit_f32x32 writes them or emit_int, which rounds x to 1/254 (CODE_BYTES 2), 1/3582 (3),
// 1/65024 (4) or 1/16646144 (6) of the largest of 32 neighbours.
//   x [COLS/32] units;  y f32, row r of this part at record.a.w + r;  ACCUMULATE adds to y
//   weights: matrix_affine with BITS 4; 32 divides GROUP, GROUP divides COLS
// Units lie so that a team reads neighbouring bytes: they are not staged. What a unit gives is in x_f32x32 or x_int, how much that counts in
// scale_*, which lane takes what in row_blocks, with one block a team; what becomes of the sums, and what that asks for first, in write_*. What
// is read for the products behind this one: pages_ahead. AHEAD: a lane asks for its next weights before it multiplies those it has, which pays
// where there are few threads to wait at a time.
override AHEAD: bool;
override COUNT: u32 = (UNITS + LANES - 1u) / LANES;
@group(0) @binding(0) var<storage, read> x: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(THREADS)
fn main(thread: Thread, @builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let workgroup = wg.y * grid.x + wg.x; // workgroups past 65,535 fold into grid.y
  let place = placeOf(thread.index, workgroup);
  begin(place);
  let ahead = askAhead(workgroup, thread.index);
  var sums = vec4f();
  var own = Rows();
  if (AHEAD) { own = readRows(place.row, min(place.lane, UNITS - 1u)); }
  for (var t = 0u; t < COUNT; t++) {
    let unit = t * LANES + place.lane;
    if (AHEAD) {
      let next = readRows(place.row, min(unit + LANES, UNITS - 1u));
      if (unit < UNITS) { sums = fma(vec4f(unitScale(unit)), addRows(own, readUnit(unit)), sums); }
      own = next;
    } else if (unit < UNITS) {
      let rows = readRows(place.row, unit);
      sums = fma(vec4f(unitScale(unit)), addRows(rows, readUnit(unit)), sums);
    }
  }
  sums.x += zeroOf(ahead);
  teamPut(0u, sums, place, thread);
  finish(place, thread);
}

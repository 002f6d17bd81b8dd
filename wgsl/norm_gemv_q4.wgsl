// norm_gemv_q4: RMSNorm of one token and up to four 4-bit matrices that read it, one behind the other: y = W (x * (mean(x^2) + EPS)^-1/2 * w).
//   x [COLS] f32;  y f32, row r of a matrix at record.a.w + r
//   weights: up to four records, matrix_affine with BITS 4; 32 divides GROUP, GROUP divides COLS; record.b.w is where w [COLS] f32 begins in
//   `parameters`
// Every workgroup finds the norm's scale anew while it copies x * w to its own memory, which costs it less than a dispatch of the norm where
// COLS are few. Which lane takes what is in row_blocks, with one block a team; a unit's ninth quad holds its sums, as in x_staged.
override EPS: f32;
override COUNT: u32 = (UNITS + LANES - 1u) / LANES;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
var<workgroup> tile: array<vec4f, UNITS * 9u>;
var<workgroup> squares: array<f32, THREADS>;
var<workgroup> sixteenths: array<f32, 16>;

/// Copies x * w; the sum of what a thread read of x^2.
fn copyWeighted(thread: u32) -> f32 {
  var sum = vec4f();
  for (var quad = thread; quad < COLS / 4u; quad += THREADS) {
    let value = x[quad];
    sum += value * value;
    tile[quad / 8u * 9u + quad % 8u] = value * parameter4(record.b.w + quad);
  }
  return dot(sum, vec4f(1.0));
}

/// The unit in the tile, with its sums still to be found where they are not.
fn tileUnit(unit: u32) -> Unit {
  let i = unit * 9u;
  let sums = tile[i + 8u];
  return Unit(
    tile[i], tile[i + 1u], tile[i + 2u], tile[i + 3u], tile[i + 4u], tile[i + 5u], tile[i + 6u], tile[i + 7u], sums.x, sums.y);
}

@compute @workgroup_size(THREADS)
fn main(thread: Thread, @builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let place = placeOf(thread.index, wg.y * grid.x + wg.x); // workgroups past 65,535 fold into grid.y
  squares[thread.index] = copyWeighted(thread.index);
  workgroupBarrier();
  for (var unit = thread.index; unit < UNITS; unit += THREADS) {
    tile[unit * 9u + 8u] = vec4f(unitSums(tileUnit(unit)), 0.0, 0.0);
  }
  if (thread.index < 16u) {
    var sum = 0.0;
    for (var i = thread.index; i < THREADS; i += 16u) { sum += squares[i]; }
    sixteenths[thread.index] = sum;
  }
  workgroupBarrier();
  var sums = vec4f();
  for (var t = 0u; t < COUNT; t++) {
    let unit = t * LANES + place.lane;
    if (unit < UNITS) { sums += addRows(readRows(place.row, unit), tileUnit(unit)); }
  }
  var square = 0.0;
  for (var i = 0u; i < 16u; i++) { square += sixteenths[i]; }
  teamPut(0u, sums, place, thread);
  writeRow(teamSum(place, thread) * inverseSqrt(square / f32(COLS) + EPS), place);
}

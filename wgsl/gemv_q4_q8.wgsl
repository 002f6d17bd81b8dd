// gemv_q4_q8: gemv_q4_staged on an x of int8, which rounds x to 1/254 of the largest of 32 neighbours.
//   x [COLS/32] units as quantise_q8 writes them;  y f32, row r of this part at record.a.w + r;  ACCUMULATE adds to y
//   weights: matrix_affine with BITS 4; 32 divides GROUP, GROUP divides COLS
// Two masks and two dot products take eight weights: a third of the instructions of the f32 forms. A unit of x is three reads, so
// it is not staged. Which lane takes what is in row_blocks, with one block a team.
override COUNT: u32 = (UNITS + LANES - 1u) / LANES;
@group(0) @binding(0) var<storage, read> x: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

/// Codes of the even and of the odd columns.
struct Unit { even: vec4u, odd: vec4u, scale: f32, excess: f32, sum: f32 };

fn readUnit(unit: u32) -> Unit {
  let s = bitcast<vec4f>(x[3u * unit + 2u]);
  return Unit(x[3u * unit], x[3u * unit + 1u], s.x, s.y, s.z);
}

fn wordDot(w: u32, even: u32, odd: u32) -> i32 {
  return dot4I8Packed(w & 0x0f0f0f0fu, even) + dot4I8Packed((w >> 4u) & 0x0f0f0f0fu, odd);
}

/// sum(q * x).
fn unitDot(w: vec4u, x: Unit) -> f32 {
  let sum = wordDot(w.x, x.even.x, x.odd.x) + wordDot(w.y, x.even.y, x.odd.y)
    + wordDot(w.z, x.even.z, x.odd.z) + wordDot(w.w, x.even.w, x.odd.w);
  return fma(f32(sum), x.scale, x.excess);
}

@compute @workgroup_size(THREADS)
fn main(thread: Thread, @builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let place = placeOf(thread.index, wg.y * grid.x + wg.x); // workgroups past 65,535 fold into grid.y
  var sums = vec4f();
  for (var t = 0u; t < COUNT; t++) {
    let unit = t * LANES + place.lane;
    if (unit < UNITS) { sums += addRows(readRows(place.row, unit), readUnit(unit)); }
  }
  teamPut(0u, sums, place, thread);
  writeRow(teamSum(place, thread), place);
}

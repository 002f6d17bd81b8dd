// gemv_q4_int: gemv_q4_staged on an x of integers, which rounds x to 1/254 (PLANES 1) or 1/65024 (2) of the largest of 32 neighbours.
//   x [COLS/32] units as emit_int writes them;  y f32, row r of this part at record.a.w + r;  ACCUMULATE adds to y
//   weights: matrix_affine with BITS 4; 32 divides GROUP, GROUP divides COLS
// Two masks and two dot products a plane take eight weights: a third or half of the instructions of the f32 forms. A unit of x is a
// few reads, so it is not staged. Which lane takes what is in row_blocks, with one block a team.
override PLANES: u32;
override COUNT: u32 = (UNITS + LANES - 1u) / LANES;
override STRIDE: u32 = 2u * PLANES + 1u;
@group(0) @binding(0) var<storage, read> x: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

/// Codes of the even and of the odd columns; those of the lower plane.
struct Unit { even: vec4u, odd: vec4u, evenLow: vec4u, oddLow: vec4u, scale: f32, excess: f32, sum: f32 };

fn readUnit(unit: u32) -> Unit {
  let at = STRIDE * unit;
  let s = bitcast<vec4f>(x[at + STRIDE - 1u]);
  if (PLANES == 1u) { return Unit(x[at], x[at + 1u], vec4u(), vec4u(), s.x, s.y, s.z); }
  return Unit(x[at], x[at + 1u], x[at + 2u], x[at + 3u], s.x, s.y, s.z);
}

/// Of eight weights.
fn wordDot(w: u32, even: u32, odd: u32) -> i32 {
  return dot4I8Packed(w & 0x0f0f0f0fu, even) + dot4I8Packed((w >> 4u) & 0x0f0f0f0fu, odd);
}

fn plane(w: vec4u, even: vec4u, odd: vec4u) -> i32 {
  return wordDot(w.x, even.x, odd.x) + wordDot(w.y, even.y, odd.y) + wordDot(w.z, even.z, odd.z) + wordDot(w.w, even.w, odd.w);
}

/// sum(q * x). With two planes the integer stays below 2^24, which f32 holds exactly.
fn unitDot(w: vec4u, x: Unit) -> f32 {
  var sum = plane(w, x.even, x.odd);
  if (PLANES == 2u) { sum = sum * 256 + plane(w, x.evenLow, x.oddLow); }
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

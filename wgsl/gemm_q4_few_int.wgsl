// gemm_q4_few_int: gemm_q4_few on an x of integers: what steps that check drafted tokens could run.
//   x [tokens, COLS/32] units as emit_int writes them;  y, ACCUMULATE, weights, the order of sums: few_rows
// Four dot products for each int8 of a code take 16 columns of a row and a token. The next unit's weights are read before this one's are used.
@group(0) @binding(0) var<storage, read> x: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> step: Step;

/// Words of the four rows of a unit, a struct field for each eight columns: even columns' nibbles, then odd ones'.
struct Codes { e0: vec4u, e1: vec4u, e2: vec4u, e3: vec4u, o0: vec4u, o1: vec4u, o2: vec4u, o3: vec4u };
/// A unit of a token: codes of the even and of the odd columns; those of the lower plane, in `evenLow` where both share one; scale, excess, sum.
struct Unit { even: vec4u, odd: vec4u, evenLow: vec4u, oddLow: vec4u, sums: vec4f };

fn codesOf(r: Rows) -> Codes {
  let mask = vec4u(0x0f0f0f0fu);
  let four = vec4u(4u);
  return Codes(r.w0 & mask, r.w1 & mask, r.w2 & mask, r.w3 & mask,
    (r.w0 >> four) & mask, (r.w1 >> four) & mask, (r.w2 >> four) & mask, (r.w3 >> four) & mask);
}

fn readUnit(token: u32, unit: u32) -> Unit {
  let at = firstPiece(unitAt(token, unit));
  var u = Unit(x[at], x[at + pieceStep], vec4u(), vec4u(), bitcast<vec4f>(x[at + CODE_BYTES * pieceStep]));
  if (CODE_BYTES >= 3u) { u.evenLow = x[at + 2u * pieceStep]; }
  if (CODE_BYTES == 4u) { u.oddLow = x[at + 3u * pieceStep]; }
  return u;
}

/// Of four rows and the same word of x.
fn dots(w: vec4u, word: u32) -> vec4i {
  return vec4i(dot4I8Packed(w.x, word), dot4I8Packed(w.y, word), dot4I8Packed(w.z, word), dot4I8Packed(w.w, word));
}

fn unsignedDots(w: vec4u, word: u32) -> vec4i {
  return vec4i(vec4u(dot4U8Packed(w.x, word), dot4U8Packed(w.y, word), dot4U8Packed(w.z, word), dot4U8Packed(w.w, word)));
}

fn plane(c: Codes, even: vec4u, odd: vec4u) -> vec4i {
  return dots(c.e0, even.x) + dots(c.e1, even.y) + dots(c.e2, even.z) + dots(c.e3, even.w) +
    dots(c.o0, odd.x) + dots(c.o1, odd.y) + dots(c.o2, odd.z) + dots(c.o3, odd.w);
}

/// Bytes of two weights, as they lie, times what their columns share.
fn sharedPlane(r: Rows, low: vec4u) -> vec4i {
  return unsignedDots(r.w0, low.x) + unsignedDots(r.w1, low.y) + unsignedDots(r.w2, low.z) + unsignedDots(r.w3, low.w);
}

/// With one unit of a token added: sum(q * x) * scale + sum(x) * bias. Integers stay below 2^24, which f32 holds exactly.
fn madd(sums: vec4f, u: Unit, c: Codes, r: Rows) -> vec4f {
  var sum = plane(c, u.even, u.odd);
  if (CODE_BYTES == 3u) { sum = (sum << vec4u(8u)) + sharedPlane(r, u.evenLow); }
  if (CODE_BYTES == 4u) { sum = (sum << vec4u(8u)) + plane(c, u.evenLow, u.oddLow); }
  return fma(fma(vec4f(sum), vec4f(u.sums.x), vec4f(u.sums.y)), r.scale, fma(vec4f(u.sums.z), r.bias, sums));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = (wg.z * grid.x + wg.x) * 4u * TEAMS; // row blocks past 65,535 fold into grid.z
  let token = wg.y * TOKENS;
  let rows = fourRows(row + thread % TEAMS * 4u);
  var sums = Sums();
  var next = readRows(rows, min(thread / TEAMS, UNITS - 1u));
  for (var t = 0u; t < STEPS; t++) {
    let unit = t * LANES + thread / TEAMS;
    let r = next;
    next = readRows(rows, min(unit + LANES, UNITS - 1u));
    if (unit < UNITS) {
      let c = codesOf(r);
      sums.t0 = madd(sums.t0, readUnit(token, unit), c, r);
      sums.t1 = madd(sums.t1, readUnit(token + 1u, unit), c, r);
      if (TOKENS > 2u) {
        sums.t2 = madd(sums.t2, readUnit(token + 2u, unit), c, r);
        sums.t3 = madd(sums.t3, readUnit(token + 3u, unit), c, r);
      }
      if (TOKENS > 4u) {
        sums.t4 = madd(sums.t4, readUnit(token + 4u, unit), c, r);
        sums.t5 = madd(sums.t5, readUnit(token + 5u, unit), c, r);
        sums.t6 = madd(sums.t6, readUnit(token + 6u, unit), c, r);
        sums.t7 = madd(sums.t7, readUnit(token + 7u, unit), c, r);
      }
    }
  }
  store(sums, row, token, thread);
}

// gemm_q4_few: Y = X W^T for a few tokens, W in 4-bit affine groups: short prompts.
//   x [tokens, COLS] f32;  y, ACCUMULATE, weights, the order of sums: few_rows
// Four columns of four rows are dequantised at a time and meet all tokens. A nibble is put where a mantissa begins, or behind its
// first four bits, so that two masks and an exponent make floats of a shifted word, 1 + q/16 and 1 + q/256, and one fma weights: conversions,
// or a subtraction of 2^23, would take more. A weight of an even column is rounded to 2^-16 of a scale by it.
@group(0) @binding(0) var<storage, read> x: array<array<vec4f, 8>>; // units: one address serves their eight reads
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> step: Step;

/// Four neighbouring columns of four rows: c<k> holds column k of each row.
struct Columns { c0: vec4f, c1: vec4f, c2: vec4f, c3: vec4f };

/// 1 + q/16 where MASK takes the first four bits of a mantissa, 1 + q/256 where it takes the next four.
fn fraction(words: vec4u, mask: u32) -> vec4f { return bitcast<vec4f>((words & vec4u(mask)) | vec4u(0x3f800000u)); }

/// Of words shifted so that nibbles 1 and 3 of the four begin a mantissa.
fn columns(ones: vec4u, threes: vec4u, r: Rows) -> Columns {
  let odd = r.scale * 16.0;
  let even = r.scale * 256.0;
  let oddBias = r.bias - odd;
  let evenBias = r.bias - even;
  return Columns(fma(fraction(ones, 0x78000u), even, evenBias), fma(fraction(ones, 0x780000u), odd, oddBias),
    fma(fraction(threes, 0x78000u), even, evenBias), fma(fraction(threes, 0x780000u), odd, oddBias));
}

/// Columns 0 to 3 of each word; 4 to 7.
fn low(words: vec4u, r: Rows) -> Columns { return columns(words << vec4u(15u), words << vec4u(7u), r); }
fn high(words: vec4u, r: Rows) -> Columns { return columns(words >> vec4u(1u), words >> vec4u(9u), r); }

/// One chain of multiply-adds a row, so that a row's bits do not depend on its place among four.
fn madd(sums: vec4f, xs: vec4f, w: Columns) -> vec4f {
  return fma(vec4f(xs.w), w.c3, fma(vec4f(xs.z), w.c2, fma(vec4f(xs.y), w.c1, fma(vec4f(xs.x), w.c0, sums))));
}

/// Units of the tokens.
struct At { t0: u32, t1: u32, t2: u32, t3: u32, t4: u32, t5: u32, t6: u32, t7: u32 };

/// Adds quad `quad` of a unit, of every token.
fn addQuad(sums: ptr<function, Sums>, at: At, quad: u32, w: Columns) {
  (*sums).t0 = madd((*sums).t0, x[at.t0][quad], w);
  (*sums).t1 = madd((*sums).t1, x[at.t1][quad], w);
  if (TOKENS > 2u) {
    (*sums).t2 = madd((*sums).t2, x[at.t2][quad], w);
    (*sums).t3 = madd((*sums).t3, x[at.t3][quad], w);
  }
  if (TOKENS > 4u) {
    (*sums).t4 = madd((*sums).t4, x[at.t4][quad], w);
    (*sums).t5 = madd((*sums).t5, x[at.t5][quad], w);
    (*sums).t6 = madd((*sums).t6, x[at.t6][quad], w);
    (*sums).t7 = madd((*sums).t7, x[at.t7][quad], w);
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = (wg.z * grid.x + wg.x) * 4u * TEAMS; // row blocks past 65,535 fold into grid.z
  let token = wg.y * TOKENS;
  let rows = fourRows(row + thread % TEAMS * 4u);
  var sums = Sums();
  for (var t = 0u; t < STEPS; t++) {
    let unit = t * LANES + thread / TEAMS;
    if (unit < UNITS) {
      let r = readRows(rows, unit);
      let at = At(unitAt(token, unit), unitAt(token + 1u, unit), unitAt(token + 2u, unit), unitAt(token + 3u, unit),
        unitAt(token + 4u, unit), unitAt(token + 5u, unit), unitAt(token + 6u, unit), unitAt(token + 7u, unit));
      addQuad(&sums, at, 0u, low(r.w0, r));
      addQuad(&sums, at, 1u, high(r.w0, r));
      addQuad(&sums, at, 2u, low(r.w1, r));
      addQuad(&sums, at, 3u, high(r.w1, r));
      addQuad(&sums, at, 4u, low(r.w2, r));
      addQuad(&sums, at, 5u, high(r.w2, r));
      addQuad(&sums, at, 6u, low(r.w3, r));
      addQuad(&sums, at, 7u, high(r.w3, r));
    }
  }
  store(sums, row, token, thread);
}

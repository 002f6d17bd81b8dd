// gemm_q4_few: Y = X W^T for a few tokens, W in 4-bit affine groups: for steps that check drafted tokens, and a prompt's last few.
//   x [tokens, COLS] f32;  y [tokens, record.b.w] f32, row r of this part at column record.a.w + r
//   ACCUMULATE adds to y (the residual) in place of writing it;  weights: matrix_affine with BITS 4; 32 divides GROUP, GROUP divides COLS
// Weights are read and dequantised once for all tokens; what a lane spends is then one multiply-add per weight and token, and reading x,
// which few_rows shares among teams.
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> step: Step;

/// Four columns of four rows: c<k> holds column k of each row.
struct Columns { c0: vec4f, c1: vec4f, c2: vec4f, c3: vec4f };
/// Scales of the four rows, over 1, 16, 256, 4096: what a nibble counts where it lies in half a word.
struct Scales { s0: vec4f, s1: vec4f, s2: vec4f, s3: vec4f, bias: vec4f };

/// Four q, still where they lie, exactly: in the low mantissa of 2^23. Conversions run at an eighth of the rate on NVIDIA.
fn exact(bits: vec4u) -> vec4f { return bitcast<vec4f>(bits | vec4u(0x4b000000u)) - vec4f(8388608.0); }

/// The low four nibbles of each word.
fn columns(words: vec4u, s: Scales) -> Columns {
  return Columns(fma(exact(words & vec4u(0xfu)), s.s0, s.bias), fma(exact(words & vec4u(0xf0u)), s.s1, s.bias),
    fma(exact(words & vec4u(0xf00u)), s.s2, s.bias), fma(exact(words & vec4u(0xf000u)), s.s3, s.bias));
}

/// One chain of multiply-adds a row, so that a row's bits do not depend on its place among four.
fn madd(sum: vec4f, quad: u32, w: Columns) -> vec4f {
  let xs = x[quad];
  return fma(vec4f(xs.w), w.c3, fma(vec4f(xs.z), w.c2, fma(vec4f(xs.y), w.c1, fma(vec4f(xs.x), w.c0, sum))));
}

/// Where the tokens' quads begin.
struct Tokens { low: vec4u, high: vec4u };

fn addQuad(sums: Sums, w: Columns, quad: u32, at: Tokens) -> Sums {
  var s = sums;
  s.t0 = madd(s.t0, at.low.x + quad, w);
  s.t1 = madd(s.t1, at.low.y + quad, w);
  if (TOKENS > 2u) {
    s.t2 = madd(s.t2, at.low.z + quad, w);
    s.t3 = madd(s.t3, at.low.w + quad, w);
  }
  if (TOKENS > 4u) {
    s.t4 = madd(s.t4, at.high.x + quad, w);
    s.t5 = madd(s.t5, at.high.y + quad, w);
    s.t6 = madd(s.t6, at.high.z + quad, w);
    s.t7 = madd(s.t7, at.high.w + quad, w);
  }
  return s;
}

fn addWords(sums: Sums, words: vec4u, s: Scales, quad: u32, at: Tokens) -> Sums {
  return addQuad(addQuad(sums, columns(words, s), quad, at), columns(words >> vec4u(16u), s), quad + 1u, at);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = (wg.z * grid.x + wg.x) * 4u * TEAMS; // row blocks past 65,535 fold into grid.z
  let token = wg.y * TOKENS;
  let own = row + thread / LANES * 4u;
  let quads = COLS / 4u;
  let at = Tokens(
    vec4u(tokenAt(token), tokenAt(token + 1u), tokenAt(token + 2u), tokenAt(token + 3u)) * quads,
    vec4u(tokenAt(token + 4u), tokenAt(token + 5u), tokenAt(token + 6u), tokenAt(token + 7u)) * quads);
  var sums = Sums();
  for (var t = 0u; t < STEPS; t++) {
    let unit = t * LANES + thread % LANES;
    if (unit < UNITS) {
      let r = readRows(own, unit);
      let s = Scales(r.scale, r.scale * 0.0625, r.scale * 0.00390625, r.scale * 0.000244140625, r.bias);
      sums = addWords(sums, r.w0, s, unit * 8u, at);
      sums = addWords(sums, r.w1, s, unit * 8u + 2u, at);
      sums = addWords(sums, r.w2, s, unit * 8u + 4u, at);
      sums = addWords(sums, r.w3, s, unit * 8u + 6u, at);
    }
  }
  store(sums, row, token, thread);
}

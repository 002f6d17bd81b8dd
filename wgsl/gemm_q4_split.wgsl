// gemm_q4_split: Y = X W^T for few tokens or few rows, W in 4-bit affine groups: the lanes of a workgroup share the columns.
//   x [tokens, COLS] f32;  y [tokens, record.b.w] f32, row r of this part at column record.a.w + r
//   ACCUMULATE adds to y (the residual) in place of writing it;  weights: matrix_affine with BITS 4
// A tile of gemm_q4 walks all columns with one workgroup; a matrix of 48 rows gives it one tile to make. Here a workgroup makes 4 rows
// by TOKENS tokens, and each lane takes every LANESth quad of columns, dequantised once for all tokens. Neighbouring lanes read
// neighbouring quads of x: a read that touches a line per lane costs eight times as much, and reading x is most of the work.
override COLS: u32; override ACCUMULATE: bool;
override LANES: u32; // 32, 64 or 128
override TOKENS: u32; // 2, 4 or 8
override QUADS: u32 = COLS / 4u;
override STEPS: u32 = (QUADS + LANES - 1u) / LANES;
override SEGMENTS: u32 = LANES / TOKENS;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> step: Step;
/// [token][lane], four rows each.
var<workgroup> partials: array<vec4f, TOKENS * LANES>;

/// A quad of columns of four rows: c<k> holds column k of each row.
struct Columns { c0: vec4f, c1: vec4f, c2: vec4f, c3: vec4f };

/// Four q, still where they lie, exactly: in the low mantissa of 2^23. A conversion takes several times as long.
fn exact(bits: vec4u) -> vec4f { return bitcast<vec4f>(bits | vec4u(0x4b000000u)) - vec4f(8388608.0); }

fn columns(rows: vec4u, quad: u32) -> Columns {
  let at = rows * (COLS / 8u) + quad / 2u;
  let groups = rows * (COLS / GROUP) + quad * 4u / GROUP;
  let s0 = scaleBias(groups.x); let s1 = scaleBias(groups.y); let s2 = scaleBias(groups.z); let s3 = scaleBias(groups.w);
  let scale = vec4f(s0.x, s1.x, s2.x, s3.x);
  let bias = vec4f(s0.y, s1.y, s2.y, s3.y);
  let words = vec4u(word(at.x), word(at.y), word(at.z), word(at.w)) >> vec4u(quad % 2u * 16u);
  return Columns(fma(exact(words & vec4u(0xfu)), scale, bias), fma(exact(words & vec4u(0xf0u)), scale * 0.0625, bias),
    fma(exact(words & vec4u(0xf00u)), scale * 0.00390625, bias), fma(exact(words & vec4u(0xf000u)), scale * 0.000244140625, bias));
}

/// One chain of multiply-adds a row, so that a row's bits do not depend on its place among four.
fn madd(sums: vec4f, xs: vec4f, w: Columns) -> vec4f {
  return fma(vec4f(xs.w), w.c3, fma(vec4f(xs.z), w.c2, fma(vec4f(xs.y), w.c1, fma(vec4f(xs.x), w.c0, sums))));
}

/// Where a token's quads begin. Tokens past the end repeat the last one, and their sums are not written.
fn quadsOf(token: u32) -> u32 { return min(token, step.tokens - 1u) * QUADS; }

/// Adds the lanes' sums and writes them: first runs of lanes, side by side, then what they give.
fn store(token: u32, row: u32, lane: u32) {
  workgroupBarrier();
  let own = lane / SEGMENTS * LANES + lane % SEGMENTS;
  var sum = partials[own];
  for (var i = 1u; i < TOKENS; i++) { sum += partials[own + i * SEGMENTS]; }
  partials[own] = sum; // which no other lane reads
  workgroupBarrier();
  let t = lane / 4u;
  let r = lane % 4u;
  if (t < TOKENS && token + t < step.tokens && row + r < record.a.z) {
    var total = partials[t * LANES][r];
    for (var i = 1u; i < SEGMENTS; i++) { total += partials[t * LANES + i][r]; }
    let at = (token + t) * record.b.w + record.a.w + row + r;
    y[at] = total + select(0.0, y[at], ACCUMULATE);
  }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = (wg.z * grid.x + wg.x) * 4u; // row blocks past 65,535 fold into grid.z
  let rows = min(vec4u(row, row + 1u, row + 2u, row + 3u), vec4u(record.a.z - 1u)); // past the end the last repeats, unwritten
  let token = wg.y * TOKENS;
  let at0 = quadsOf(token); let at1 = quadsOf(token + 1u); let at2 = quadsOf(token + 2u); let at3 = quadsOf(token + 3u);
  let at4 = quadsOf(token + 4u); let at5 = quadsOf(token + 5u); let at6 = quadsOf(token + 6u); let at7 = quadsOf(token + 7u);
  var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f();
  var s4 = vec4f(); var s5 = vec4f(); var s6 = vec4f(); var s7 = vec4f();
  for (var t = 0u; t < STEPS; t++) {
    let quad = t * LANES + lane;
    if (quad < QUADS) {
      let w = columns(rows, quad);
      s0 = madd(s0, x[at0 + quad], w);
      s1 = madd(s1, x[at1 + quad], w);
      if (TOKENS > 2u) {
        s2 = madd(s2, x[at2 + quad], w);
        s3 = madd(s3, x[at3 + quad], w);
      }
      if (TOKENS > 4u) {
        s4 = madd(s4, x[at4 + quad], w);
        s5 = madd(s5, x[at5 + quad], w);
        s6 = madd(s6, x[at6 + quad], w);
        s7 = madd(s7, x[at7 + quad], w);
      }
    }
  }
  partials[lane] = s0;
  partials[LANES + lane] = s1;
  if (TOKENS > 2u) {
    partials[2u % TOKENS * LANES + lane] = s2; // remainders only tell the compiler that it is within bounds
    partials[3u % TOKENS * LANES + lane] = s3;
  }
  if (TOKENS > 4u) {
    partials[4u % TOKENS * LANES + lane] = s4;
    partials[5u % TOKENS * LANES + lane] = s5;
    partials[6u % TOKENS * LANES + lane] = s6;
    partials[7u % TOKENS * LANES + lane] = s7;
  }
  store(token, row, lane);
}

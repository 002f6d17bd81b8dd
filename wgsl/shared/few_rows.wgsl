// few_rows: how gemm_q4_few and gemm_q4_few_int share the work, and how they read weights and add up sums.
//   y [tokens, record.b.w] f32, row r of this part at column record.a.w + r;  ACCUMULATE adds to y (the residual) in place of writing it
//   weights: matrix_affine with BITS 4; 32 divides GROUP, GROUP divides COLS
// A unit is 32 neighbouring weights of a row: one vec4u, inside one group. A team of LANES lanes owns four rows: of each a lane
// takes every LANESth unit, and meets TOKENS tokens with the same weights, unpacked once. The TEAMS teams of a workgroup lie side by side, so
// that neighbouring threads read the same x: a read of few lines.
// Every row and token is summed in the same order, wherever it lies and however many there are.
override ACCUMULATE: bool;
override COLS: u32;
override LANES: u32; // a power of two, TOKENS at least
override TEAMS: u32;
override TOKENS: u32; // 2, 4 or 8
override UNITS: u32 = COLS / 32u;
override STEPS: u32 = (UNITS + LANES - 1u) / LANES;
override THREADS: u32 = LANES * TEAMS;
override SEGMENTS: u32 = LANES / TOKENS;
/// [token, lane, team], four rows each.
var<workgroup> partials: array<vec4f, TOKENS * THREADS>;

/// One unit of four rows, component i of row i: words of eight columns, scales and biases.
struct Rows { w0: vec4u, w1: vec4u, w2: vec4u, w3: vec4u, scale: vec4f, bias: vec4f };
/// Of four rows each; tokens past TOKENS are not in use.
struct Sums { t0: vec4f, t1: vec4f, t2: vec4f, t3: vec4f, t4: vec4f, t5: vec4f, t6: vec4f, t7: vec4f };

/// Past the end of a part the last row repeats; its sums are not written.
fn fourRows(row: u32) -> vec4u { return min(vec4u(row, row + 1u, row + 2u, row + 3u), vec4u(record.a.z - 1u)); }

/// Unit `unit` of `rows`.
fn readRows(rows: vec4u, unit: u32) -> Rows {
  let at = rows * UNITS + record.a.x + unit;
  let groups = rows * (COLS / GROUP) + unit * 32u / GROUP;
  let a = slab[at.x]; let b = slab[at.y]; let c = slab[at.z]; let d = slab[at.w];
  let s0 = scaleBias(groups.x); let s1 = scaleBias(groups.y); let s2 = scaleBias(groups.z); let s3 = scaleBias(groups.w);
  return Rows(vec4u(a.x, b.x, c.x, d.x), vec4u(a.y, b.y, c.y, d.y), vec4u(a.z, b.z, c.z, d.z), vec4u(a.w, b.w, c.w, d.w),
    vec4f(s0.x, s1.x, s2.x, s3.x), vec4f(s0.y, s1.y, s2.y, s3.y));
}

/// Tokens past the end repeat the last one; their sums are not written.
fn unitAt(token: u32, unit: u32) -> u32 { return min(token, step.tokens - 1u) * UNITS + unit; }

fn putSum(token: u32, thread: u32, sum: vec4f) {
  if (token < TOKENS) { partials[token * THREADS + thread] = sum; }
}

/// Adds the sums of each team's lanes and writes them: rows from `row` on, which is the first team's first, tokens from `token` on.
fn store(sums: Sums, row: u32, token: u32, thread: u32) {
  putSum(0u, thread, sums.t0); putSum(1u, thread, sums.t1); putSum(2u, thread, sums.t2); putSum(3u, thread, sums.t3);
  putSum(4u, thread, sums.t4); putSum(5u, thread, sums.t5); putSum(6u, thread, sums.t6); putSum(7u, thread, sums.t7);
  workgroupBarrier();
  // A thread adds every SEGMENTSth lane of a team and a token; then what they give, in order.
  let own = thread / (TEAMS * SEGMENTS) * THREADS + thread % (TEAMS * SEGMENTS);
  var sum = partials[own];
  for (var i = 1u; i < TOKENS; i++) { sum += partials[own + i * SEGMENTS * TEAMS]; }
  partials[own] = sum; // which no other thread reads
  workgroupBarrier();
  for (var item = thread; item < 4u * TEAMS * TOKENS; item += THREADS) {
    let r = item % (4u * TEAMS);
    let t = item / (4u * TEAMS);
    if (token + t < step.tokens && row + r < record.a.z) {
      let first = t * THREADS + r / 4u;
      var total = partials[first][r % 4u];
      for (var i = 1u; i < SEGMENTS; i++) { total += partials[first + i * TEAMS][r % 4u]; }
      let at = (token + t) * record.b.w + record.a.w + row + r;
      y[at] = total + select(0.0, y[at], ACCUMULATE);
    }
  }
}

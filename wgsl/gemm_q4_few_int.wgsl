// gemm_q4_few_int: Y = X W^T for a few tokens on an x of integers, W in 4-bit affine groups: what steps that check drafted tokens could run.
//   x [tokens, COLS/32] units as emit_int writes them;  y [tokens, record.b.w] f32, row r of this part at column record.a.w + r
//   ACCUMULATE adds to y (the residual) in place of writing it;  weights: matrix_affine with BITS 4; 32 divides GROUP, GROUP divides COLS
// A unit is 32 neighbouring weights of a row: one vec4u, inside one group. A team of LANES lanes owns four rows: of each a lane takes
// every LANESth unit, and meets TOKENS tokens with the same weights, unpacked once: four dot products a plane take 16 columns of a row
// and a token. A workgroup holds TEAMS teams, which read the same x at the same time.
// Every row and token is summed in the same order, wherever it lies and however many there are.
override ACCUMULATE: bool;
override COLS: u32;
override LANES: u32; // a power of two
override TEAMS: u32;
override TOKENS: u32; // 2, 4 or 8
override THREADS: u32 = LANES * TEAMS;
override UNITS: u32 = COLS / 32u;
override STEPS: u32 = (UNITS + LANES - 1u) / LANES;
override OUTPUTS: u32 = (4u * TEAMS * TOKENS + THREADS - 1u) / THREADS;
@group(0) @binding(0) var<storage, read> x: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> step: Step;
/// [token, thread].
var<workgroup> partials: array<vec4f, TOKENS * THREADS>;

/// One unit of four rows, component i of row i: words of eight columns, scales and biases.
struct Rows { w0: vec4u, w1: vec4u, w2: vec4u, w3: vec4u, scale: vec4f, bias: vec4f };
/// Of four rows each; tokens past TOKENS are not in use.
struct Sums { t0: vec4f, t1: vec4f, t2: vec4f, t3: vec4f, t4: vec4f, t5: vec4f, t6: vec4f, t7: vec4f };

/// Unit `unit` of the rows [row, row + 4).
fn readRows(row: u32, unit: u32) -> Rows {
  let rows = min(vec4u(row, row + 1u, row + 2u, row + 3u), vec4u(record.a.z - 1u)); // past the end the last repeats, unwritten
  let at = rows * UNITS + record.a.x + unit;
  let groups = rows * (COLS / GROUP) + unit * 32u / GROUP;
  let a = slab[at.x]; let b = slab[at.y]; let c = slab[at.z]; let d = slab[at.w];
  let s0 = scaleBias(groups.x); let s1 = scaleBias(groups.y); let s2 = scaleBias(groups.z); let s3 = scaleBias(groups.w);
  return Rows(vec4u(a.x, b.x, c.x, d.x), vec4u(a.y, b.y, c.y, d.y), vec4u(a.z, b.z, c.z, d.z), vec4u(a.w, b.w, c.w, d.w),
    vec4f(s0.x, s1.x, s2.x, s3.x), vec4f(s0.y, s1.y, s2.y, s3.y));
}

/// Tokens past the end repeat the last one; their sums are not written.
fn tokenAt(token: u32) -> u32 { return min(token, step.tokens - 1u); }

fn putSum(token: u32, thread: u32, sum: vec4f) {
  if (token < TOKENS) { partials[token * THREADS + thread] = sum; }
}

/// Adds the sums of each team's lanes and writes them: rows from `row` on, which is the workgroup's first, tokens from `token` on.
fn store(sums: Sums, row: u32, token: u32, thread: u32) {
  putSum(0u, thread, sums.t0); putSum(1u, thread, sums.t1); putSum(2u, thread, sums.t2); putSum(3u, thread, sums.t3);
  putSum(4u, thread, sums.t4); putSum(5u, thread, sums.t5); putSum(6u, thread, sums.t6); putSum(7u, thread, sums.t7);
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (thread % LANES < half) {
      for (var t = 0u; t < TOKENS; t++) { partials[t * THREADS + thread] += partials[t * THREADS + thread + half]; }
    }
  }
  workgroupBarrier();
  for (var i = 0u; i < OUTPUTS; i++) {
    let item = i * THREADS + thread;
    let own = item % (4u * TEAMS);
    let t = item / (4u * TEAMS);
    if (t < TOKENS && token + t < step.tokens && row + own < record.a.z) {
      let at = (token + t) * record.b.w + record.a.w + row + own;
      y[at] = partials[t * THREADS + own / 4u * LANES][own % 4u] + select(0.0, y[at], ACCUMULATE);
    }
  }
}

/// Words of the four rows of a unit, a struct field for each eight columns: even columns' nibbles, then odd ones'.
struct Codes { e0: vec4u, e1: vec4u, e2: vec4u, e3: vec4u, o0: vec4u, o1: vec4u, o2: vec4u, o3: vec4u };

fn codesOf(r: Rows) -> Codes {
  let mask = vec4u(0x0f0f0f0fu);
  let four = vec4u(4u);
  return Codes(r.w0 & mask, r.w1 & mask, r.w2 & mask, r.w3 & mask,
    (r.w0 >> four) & mask, (r.w1 >> four) & mask, (r.w2 >> four) & mask, (r.w3 >> four) & mask);
}

/// Of four rows and the same word of x.
fn dots(w: vec4u, word: u32) -> vec4i {
  return vec4i(dot4I8Packed(w.x, word), dot4I8Packed(w.y, word), dot4I8Packed(w.z, word), dot4I8Packed(w.w, word));
}

fn plane(c: Codes, even: vec4u, odd: vec4u) -> vec4i {
  return dots(c.e0, even.x) + dots(c.e1, even.y) + dots(c.e2, even.z) + dots(c.e3, even.w) +
    dots(c.o0, odd.x) + dots(c.o1, odd.y) + dots(c.o2, odd.z) + dots(c.o3, odd.w);
}

/// With one unit of a token added: sum(q * x) * scale + sum(x) * bias. With two planes integers stay below 2^24, which f32 holds exactly.
fn madd(sums: vec4f, token: u32, unit: u32, c: Codes, r: Rows) -> vec4f {
  let at = firstPiece(tokenAt(token) * UNITS + unit);
  var sum = plane(c, x[at], x[at + pieceStep]);
  if (PLANES == 2u) { sum = sum * 256 + plane(c, x[at + 2u * pieceStep], x[at + 3u * pieceStep]); }
  let s = bitcast<vec4f>(x[at + 2u * PLANES * pieceStep]); // scale, excess, sum
  return fma(fma(vec4f(sum), vec4f(s.x), vec4f(s.y)), r.scale, fma(vec4f(s.z), r.bias, sums));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = (wg.z * grid.x + wg.x) * 4u * TEAMS; // row blocks past 65,535 fold into grid.z
  let token = wg.y * TOKENS;
  let own = row + thread / LANES * 4u;
  var sums = Sums();
  for (var t = 0u; t < STEPS; t++) {
    let unit = t * LANES + thread % LANES;
    if (unit < UNITS) {
      let r = readRows(own, unit);
      let c = codesOf(r);
      sums.t0 = madd(sums.t0, token, unit, c, r);
      sums.t1 = madd(sums.t1, token + 1u, unit, c, r);
      if (TOKENS > 2u) {
        sums.t2 = madd(sums.t2, token + 2u, unit, c, r);
        sums.t3 = madd(sums.t3, token + 3u, unit, c, r);
      }
      if (TOKENS > 4u) {
        sums.t4 = madd(sums.t4, token + 4u, unit, c, r);
        sums.t5 = madd(sums.t5, token + 5u, unit, c, r);
        sums.t6 = madd(sums.t6, token + 6u, unit, c, r);
        sums.t7 = madd(sums.t7, token + 7u, unit, c, r);
      }
    }
  }
  store(sums, row, token, thread);
}

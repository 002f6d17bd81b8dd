// gemm_q4_outer: gemm_q4 with both tiles turned, so that a column at a time is an outer product of tokens and rows.
//   x, y, ACCUMULATE, weights: as gemm_q4, and the same bits
// A workgroup of TX x TY threads makes 8 TY tokens by 4 TX rows (WIDE: 8 TX), K columns at a time. Tiles lie [column][four tokens or rows],
// so what a thread holds of them at once is one column: 12 values (16) where gemm_q4 holds 48 (64), and registers go to sums instead.
// A thread brings four tokens' quad of x, or a word of eight columns of four rows. AHEAD reads the next K columns while it multiplies.
override COLS: u32; override ACCUMULATE: bool;
override TX: u32; override TY: u32; override WIDE: bool; override AHEAD: bool;
override K: u32; // 16 or 32
override THREADS: u32 = TX * TY;
override TOKEN_QUADS: u32 = TY * 2u;
override ROW_QUADS: u32 = TX * select(1u, 2u, WIDE);
override STEPS: u32 = COLS / K;
override X_ITEMS: u32 = TOKEN_QUADS * K / 4u;
override W_ITEMS: u32 = ROW_QUADS * K / 8u;
override X_LOADS: u32 = (X_ITEMS + THREADS - 1u) / THREADS;
override W_LOADS: u32 = (W_ITEMS + THREADS - 1u) / THREADS;
/// The thread that takes the first word of weights: one behind those that bring the last of x.
override W_FIRST: u32 = X_ITEMS % THREADS;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> step: Step;
// Each column's quads are rotated, by its quad of columns (x) or its word (W), so that neighbouring lanes write to different banks.
var<workgroup> tileX: array<vec4f, K * TOKEN_QUADS>;
var<workgroup> tileW: array<vec4f, K * ROW_QUADS>;

/// A quad of columns of four tokens, as it lies.
struct Tokens { x0: vec4f, x1: vec4f, x2: vec4f, x3: vec4f };

fn quadOfX(token: u32, quad: u32) -> vec4f {
  return select(vec4f(), x[min(token, step.tokens - 1u) * (COLS / 4u) + quad], token < step.tokens);
}

fn readX(i: u32, firstToken: u32, t: u32, thread: u32) -> Tokens {
  let item = i * THREADS + thread;
  if (i >= X_LOADS || item >= X_ITEMS) { return Tokens(); }
  let token = firstToken + item / (K / 4u) * 4u;
  let quad = t * (K / 4u) + item % (K / 4u);
  return Tokens(quadOfX(token, quad), quadOfX(token + 1u, quad), quadOfX(token + 2u, quad), quadOfX(token + 3u, quad));
}

fn putX(i: u32, thread: u32, p: Tokens) {
  let item = i * THREADS + thread;
  if (i >= X_LOADS || item >= X_ITEMS) { return; }
  let quad = item % (K / 4u);
  let slot = quad * 4u * TOKEN_QUADS + (item / (K / 4u) + quad) % TOKEN_QUADS;
  let columns = transpose(mat4x4f(p.x0, p.x1, p.x2, p.x3));
  tileX[slot] = columns[0];
  tileX[slot + TOKEN_QUADS] = columns[1];
  tileX[slot + 2u * TOKEN_QUADS] = columns[2];
  tileX[slot + 3u * TOKEN_QUADS] = columns[3];
}

fn itemOfW(i: u32, thread: u32) -> u32 { return i * THREADS + (thread + THREADS - W_FIRST) % THREADS; }

fn readW(i: u32, firstRow: u32, t: u32, thread: u32) -> Rows {
  let item = itemOfW(i, thread);
  if (i >= W_LOADS || item >= W_ITEMS) { return Rows(); }
  let row = firstRow + item / (K / 8u) * 4u;
  let rows = min(vec4u(row, row + 1u, row + 2u, row + 3u), vec4u(record.a.z - 1u)); // past the end the last repeats, unwritten
  let index = t * (K / 8u) + item % (K / 8u);
  return rowsAt(rows, index);
}

fn putW(i: u32, thread: u32, w: Rows) {
  let item = itemOfW(i, thread);
  if (i >= W_LOADS || item >= W_ITEMS) { return; }
  let index = item % (K / 8u);
  let slot = index * 8u * ROW_QUADS + (item / (K / 8u) + index * 4u) % ROW_QUADS;
  putFour(slot, w.words, w);
  putFour(slot + 4u * ROW_QUADS, w.words >> vec4u(16u), w);
}

/// The low four nibbles of each word, dequantised.
fn putFour(slot: u32, words: vec4u, w: Rows) {
  tileW[slot] = fma(exact(words & vec4u(0xfu)), w.scale, w.bias);
  tileW[slot + ROW_QUADS] = fma(exact(words & vec4u(0xf0u)), w.scale * 0.0625, w.bias);
  tileW[slot + 2u * ROW_QUADS] = fma(exact(words & vec4u(0xf00u)), w.scale * 0.00390625, w.bias);
  tileW[slot + 3u * ROW_QUADS] = fma(exact(words & vec4u(0xf000u)), w.scale * 0.000244140625, w.bias);
}

/// What a thread brings of K columns.
struct Part { x0: Tokens, x1: Tokens, w0: Rows, w1: Rows };

fn readPart(firstToken: u32, firstRow: u32, t: u32, thread: u32) -> Part {
  return Part(readX(0u, firstToken, t, thread), readX(1u, firstToken, t, thread),
    readW(0u, firstRow, t, thread), readW(1u, firstRow, t, thread));
}

fn putPart(thread: u32, p: Part) {
  putX(0u, thread, p.x0); putX(1u, thread, p.x1);
  putW(0u, thread, p.w0); putW(1u, thread, p.w1);
}

fn store(token: u32, row: u32, sums: vec4f) {
  if (token >= step.tokens) { return; }
  for (var i = 0u; i < 4u; i++) {
    if (row + i < record.a.z) {
      let at = token * record.b.w + record.a.w + row + i;
      y[at] = sums[i] + select(0.0, y[at], ACCUMULATE);
    }
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) thread: u32) {
  let firstRow = (wg.z * grid.x + wg.x) * ROW_QUADS * 4u; // row tiles past 65,535 fold into grid.z
  let firstToken = wg.y * TOKEN_QUADS * 4u;
  let tx = thread % TX; // rows 4 tx and on, and as far behind the tile's middle
  let ty = thread / TX; // tokens 8 ty and on
  // sums of token t: the first rows in a<t>, the others in b<t>
  var a0 = vec4f(); var a1 = vec4f(); var a2 = vec4f(); var a3 = vec4f();
  var a4 = vec4f(); var a5 = vec4f(); var a6 = vec4f(); var a7 = vec4f();
  var b0 = vec4f(); var b1 = vec4f(); var b2 = vec4f(); var b3 = vec4f();
  var b4 = vec4f(); var b5 = vec4f(); var b6 = vec4f(); var b7 = vec4f();
  var part: Part;
  if (AHEAD) { part = readPart(firstToken, firstRow, 0u, thread); }
  for (var t = 0u; t < STEPS; t++) {
    if (!AHEAD) { part = readPart(firstToken, firstRow, t, thread); }
    workgroupBarrier();
    putPart(thread, part);
    workgroupBarrier();
    if (AHEAD) { part = readPart(firstToken, firstRow, min(t + 1u, STEPS - 1u), thread); }
    for (var quad = 0u; quad < K / 4u; quad++) {
      let slotX = quad * 4u * TOKEN_QUADS;
      let low = slotX + (ty * 2u + quad) % TOKEN_QUADS;
      let high = slotX + (ty * 2u + 1u + quad) % TOKEN_QUADS;
      let slotW = quad * 4u * ROW_QUADS;
      let own = slotW + (tx + quad / 2u * 4u) % ROW_QUADS;
      let other = slotW + (tx + TX + quad / 2u * 4u) % ROW_QUADS;
      for (var k = 0u; k < 4u; k++) {
        let p = tileX[low + k * TOKEN_QUADS];
        let q = tileX[high + k * TOKEN_QUADS];
        let w = tileW[own + k * ROW_QUADS];
        a0 = fma(vec4f(p.x), w, a0); a1 = fma(vec4f(p.y), w, a1); a2 = fma(vec4f(p.z), w, a2); a3 = fma(vec4f(p.w), w, a3);
        a4 = fma(vec4f(q.x), w, a4); a5 = fma(vec4f(q.y), w, a5); a6 = fma(vec4f(q.z), w, a6); a7 = fma(vec4f(q.w), w, a7);
        if (WIDE) {
          let v = tileW[other + k * ROW_QUADS];
          b0 = fma(vec4f(p.x), v, b0); b1 = fma(vec4f(p.y), v, b1); b2 = fma(vec4f(p.z), v, b2); b3 = fma(vec4f(p.w), v, b3);
          b4 = fma(vec4f(q.x), v, b4); b5 = fma(vec4f(q.y), v, b5); b6 = fma(vec4f(q.z), v, b6); b7 = fma(vec4f(q.w), v, b7);
        }
      }
    }
  }
  let token = firstToken + ty * 8u;
  let row = firstRow + tx * 4u;
  store(token, row, a0); store(token + 1u, row, a1); store(token + 2u, row, a2); store(token + 3u, row, a3);
  store(token + 4u, row, a4); store(token + 5u, row, a5); store(token + 6u, row, a6); store(token + 7u, row, a7);
  if (WIDE) {
    let next = row + TX * 4u;
    store(token, next, b0); store(token + 1u, next, b1); store(token + 2u, next, b2); store(token + 3u, next, b3);
    store(token + 4u, next, b4); store(token + 5u, next, b5); store(token + 6u, next, b6); store(token + 7u, next, b7);
  }
}

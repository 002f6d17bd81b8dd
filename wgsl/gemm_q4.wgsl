// gemm_q4: Y = X W^T for a step of several tokens, W in 4-bit affine groups of a multiple of 32 columns.
//   x [tokens, COLS] f32;  y [tokens, record.b.w] f32, row r of this part at column record.a.w + r
//   ACCUMULATE adds to y (the residual) in place of writing it;  weights: matrix_affine with BITS 4
// A workgroup of TX x TY threads makes a tile of 8 TY tokens by 8 TX rows (WIDE) or 4 TX rows, 32 columns at a time. Both operands go
// through workgroup memory, weights dequantised once per tile. A thread keeps 8 tokens by 4 rows in eight vec4f (WIDE: by 8 rows in
// sixteen): 12 loads of vec4 for 128 multiply-adds (16 for 256), and what reads much more from workgroup memory waits for it.
// AHEAD reads the next 32 columns into registers while it multiplies, which hides memory's latency and costs registers.
// Every sum is one chain of multiply-adds over the columns in order, so tiles of any shape give the same bits.
override COLS: u32; override ACCUMULATE: bool;
override TX: u32; override TY: u32; override WIDE: bool; override AHEAD: bool;
override ROWS: u32 = select(4u, 8u, WIDE); // of a thread
override THREADS: u32 = TX * TY;
override TILE_TOKENS: u32 = TY * 8u;
override TILE_ROWS: u32 = TX * ROWS;
override STEPS: u32 = COLS / 32u;
override X_LOADS: u32 = 64u / TX;
override W_LOADS: u32 = (TILE_ROWS + THREADS - 1u) / THREADS;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> step: Step;
// [line][8 quads of columns]. The quads of the lines of one thread are rotated by that thread's number, so that eight threads which
// read the same quad of different lines find it in different banks.
var<workgroup> tileX: array<Tile, TILE_TOKENS * 8u>;
var<workgroup> tileW: array<Tile, TILE_ROWS * 8u>;

/// Four q of a u32, still where they lie (1, 16, 256 and 4096 times their value), exactly: in the low mantissa of 2^23.
fn nibbles(word: u32) -> vec4f {
  let bits = (vec4u(word) & vec4u(0xfu, 0xf0u, 0xf00u, 0xf000u)) | vec4u(0x4b000000u);
  return bitcast<vec4f>(bits) - vec4f(8388608.0);
}

/// The thread's i-th quad of x, of the 32 columns from `firstQuad` on.
fn readX(i: u32, firstToken: u32, firstQuad: u32, thread: u32) -> vec4f {
  let at = i * THREADS + thread;
  let token = firstToken + at / 8u;
  if (i >= X_LOADS || token >= step.tokens) { return vec4f(); }
  return x[token * (COLS / 4u) + firstQuad + at % 8u];
}

fn putX(i: u32, thread: u32, xs: vec4f) {
  if (i >= X_LOADS) { return; }
  let at = i * THREADS + thread;
  let line = at / 8u;
  tileX[line * 8u + (at % 8u + line / 8u) % 8u] = Tile(clamp(xs, vec4f(-TILE_MAX), vec4f(TILE_MAX)));
}

/// 32 columns of one row of W.
struct Weights { words: vec4u, scale: vec2f };

/// The thread's i-th row: rows of neighbouring threads are ROWS apart, because the rotation of lines changes that often.
fn lineOf(i: u32, thread: u32) -> u32 {
  let at = i * THREADS + thread;
  return (at % TX * ROWS + at / TX) % TILE_ROWS;
}

fn readW(i: u32, firstRow: u32, t: u32, thread: u32) -> Weights {
  if (i >= W_LOADS || i * THREADS + thread >= TILE_ROWS) { return Weights(); }
  let row = min(firstRow + lineOf(i, thread), record.a.z - 1u); // rows past the end repeat the last one; their sums are not written
  return Weights(slab[record.a.x + row * STEPS + t], scaleBias(row * (COLS / GROUP) + t * 32u / GROUP));
}

fn putW(i: u32, thread: u32, w: Weights) {
  if (i >= W_LOADS || i * THREADS + thread >= TILE_ROWS) { return; }
  let line = lineOf(i, thread) * 8u;
  let turn = thread % TX;
  let scale = w.scale.x * vec4f(1.0, 0.0625, 0.00390625, 0.000244140625);
  let bias = vec4f(w.scale.y);
  tileW[line + turn % 8u] = Tile(fma(nibbles(w.words.x), scale, bias));
  tileW[line + (turn + 1u) % 8u] = Tile(fma(nibbles(w.words.x >> 16u), scale, bias));
  tileW[line + (turn + 2u) % 8u] = Tile(fma(nibbles(w.words.y), scale, bias));
  tileW[line + (turn + 3u) % 8u] = Tile(fma(nibbles(w.words.y >> 16u), scale, bias));
  tileW[line + (turn + 4u) % 8u] = Tile(fma(nibbles(w.words.z), scale, bias));
  tileW[line + (turn + 5u) % 8u] = Tile(fma(nibbles(w.words.z >> 16u), scale, bias));
  tileW[line + (turn + 6u) % 8u] = Tile(fma(nibbles(w.words.w), scale, bias));
  tileW[line + (turn + 7u) % 8u] = Tile(fma(nibbles(w.words.w >> 16u), scale, bias));
}

/// What a thread brings of 32 columns: up to eight quads of x, up to two rows of W.
struct Part { x0: vec4f, x1: vec4f, x2: vec4f, x3: vec4f, x4: vec4f, x5: vec4f, x6: vec4f, x7: vec4f, w0: Weights, w1: Weights };

fn readPart(firstToken: u32, firstRow: u32, t: u32, thread: u32) -> Part {
  let quad = t * 8u;
  return Part(
    readX(0u, firstToken, quad, thread), readX(1u, firstToken, quad, thread), readX(2u, firstToken, quad, thread),
    readX(3u, firstToken, quad, thread), readX(4u, firstToken, quad, thread), readX(5u, firstToken, quad, thread),
    readX(6u, firstToken, quad, thread), readX(7u, firstToken, quad, thread),
    readW(0u, firstRow, t, thread), readW(1u, firstRow, t, thread));
}

fn putPart(thread: u32, p: Part) {
  putX(0u, thread, p.x0); putX(1u, thread, p.x1); putX(2u, thread, p.x2); putX(3u, thread, p.x3);
  putX(4u, thread, p.x4); putX(5u, thread, p.x5); putX(6u, thread, p.x6); putX(7u, thread, p.x7);
  putW(0u, thread, p.w0); putW(1u, thread, p.w1);
}

/// Columns of four rows -> sums of one token: sum + x . (w0, w1, w2, w3).
fn madd(sum: vec4f, xs: vec4f, w: mat4x4f) -> vec4f {
  return fma(vec4f(xs.w), w[3], fma(vec4f(xs.z), w[2], fma(vec4f(xs.y), w[1], fma(vec4f(xs.x), w[0], sum))));
}

/// Four rows of the tile from `slot` on, transposed: column k of the result holds column k of each row.
fn rows4(slot: u32) -> mat4x4f {
  return transpose(mat4x4f(vec4f(tileW[slot]), vec4f(tileW[slot + 8u]), vec4f(tileW[slot + 16u]), vec4f(tileW[slot + 24u])));
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
  let firstRow = (wg.z * grid.x + wg.x) * TILE_ROWS; // row tiles past 65,535 fold into grid.z
  let firstToken = wg.y * TILE_TOKENS;
  let tx = thread % TX; // rows ROWS tx and on
  let ty = thread / TX; // tokens 8 ty and on
  // sums of token t: rows 0-3 in a<t>, rows 4-7 in b<t>
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
    for (var q = 0u; q < 8u; q++) {
      let slotX = ty * 64u + (q + ty) % 8u;
      let slotW = tx * ROWS * 8u + (q + tx) % 8u;
      let x0 = vec4f(tileX[slotX]); let x1 = vec4f(tileX[slotX + 8u]); let x2 = vec4f(tileX[slotX + 16u]); let x3 = vec4f(tileX[slotX + 24u]);
      let x4 = vec4f(tileX[slotX + 32u]); let x5 = vec4f(tileX[slotX + 40u]); let x6 = vec4f(tileX[slotX + 48u]); let x7 = vec4f(tileX[slotX + 56u]);
      let low = rows4(slotW);
      a0 = madd(a0, x0, low); a1 = madd(a1, x1, low); a2 = madd(a2, x2, low); a3 = madd(a3, x3, low);
      a4 = madd(a4, x4, low); a5 = madd(a5, x5, low); a6 = madd(a6, x6, low); a7 = madd(a7, x7, low);
      if (WIDE) {
        let high = rows4((slotW + 32u) % (TILE_ROWS * 8u)); // the remainder only tells the compiler that it is within bounds
        b0 = madd(b0, x0, high); b1 = madd(b1, x1, high); b2 = madd(b2, x2, high); b3 = madd(b3, x3, high);
        b4 = madd(b4, x4, high); b5 = madd(b5, x5, high); b6 = madd(b6, x6, high); b7 = madd(b7, x7, high);
      }
    }
  }
  let token = firstToken + ty * 8u;
  let row = firstRow + tx * ROWS;
  store(token, row, a0); store(token + 1u, row, a1); store(token + 2u, row, a2); store(token + 3u, row, a3);
  store(token + 4u, row, a4); store(token + 5u, row, a5); store(token + 6u, row, a6); store(token + 7u, row, a7);
  if (WIDE) {
    store(token, row + 4u, b0); store(token + 1u, row + 4u, b1); store(token + 2u, row + 4u, b2); store(token + 3u, row + 4u, b3);
    store(token + 4u, row + 4u, b4); store(token + 5u, row + 4u, b5); store(token + 6u, row + 4u, b6); store(token + 7u, row + 4u, b7);
  }
}

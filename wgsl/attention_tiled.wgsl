// attention_tiled: attention for the many tokens of a prompt: a workgroup takes a tile of query rows and reads keys and values once for all.
//   q, qGate, keys, values, y as in attention
// Row r of a key head is token r / GROUP, query head r % GROUP of those that share it; ROWS of them make a tile, 4 ROWS threads a workgroup.
// Online softmax over blocks of 4 TX keys, each in three steps:
//   scores   Q K^T, 16 dimensions of both at a time through workgroup memory; a thread has 4 rows by 4 keys (WIDE: 8 by 4)
//   weights  largest score and sum of every row by one thread for each four rows; weights go to workgroup memory, [key][row]
//   sums     a thread has 4 dimensions of 16 rows, and reads values as they lie: lanes read neighbours, and no row is read twice
// Every row is summed in the same order wherever it lies in a tile, so chunks of any length give the same bits.
// AHEAD reads the next 16 dimensions while it multiplies. 4 divides HEAD_DIM <= 256; 16 divides ROWS.
override HEADS: u32; override KV_HEADS: u32; override HEAD_DIM: u32;
override ROWS: u32; override WIDE: bool; override AHEAD: bool;
override GROUP: u32 = HEADS / KV_HEADS;
override QUADS: u32 = HEAD_DIM / 4u;
override THREADS: u32 = 4u * ROWS;
override ROW_QUADS: u32 = ROWS / 4u;
override TX: u32 = select(16u, 32u, WIDE);
override BLOCK: u32 = 4u * TX;
override OWN_ROWS: u32 = select(4u, 8u, WIDE);
override STEPS: u32 = (QUADS + 3u) / 4u;
override LOADS: u32 = (BLOCK * 4u + THREADS - 1u) / THREADS;
/// Weights of so many keys are in workgroup memory at a time: all of a block, or half of them.
override TURNS: u32 = select(1u, 2u, BLOCK * ROWS > 2048u);
override TURN: u32 = BLOCK / TURNS;
/// Quads from one line to the next: odd, so that lanes which read the same quad of neighbouring lines find it in different banks.
const PITCH = 5u;
override WEIGHT_PITCH: u32 = ROW_QUADS + 1u;
override QUERIES: u32 = BLOCK * PITCH;
override SHARES: u32 = TURN * WEIGHT_PITCH;
override TILE: u32 = max(QUERIES + ROWS * PITCH, SHARES + TX * ROW_QUADS);
const LOWEST = -3.0e38; // not -inf: compilers may assume that none occurs
@group(0) @binding(0) var<storage, read> q: array<vec4f>;
@group(0) @binding(1) var<storage, read> qGate: array<vec4f>;
@group(0) @binding(2) var<storage, read> keys: array<KvQuad>;
@group(0) @binding(3) var<storage, read> values: array<KvQuad>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(5) var<uniform> step: Step;
/// For the scores keys and, from QUERIES on, queries: [line][PITCH]. Then weights [key][WEIGHT_PITCH] and, from SHARES on, what a
/// thread's keys have of largest scores, then of sums: [thread x][ROW_QUADS].
var<workgroup> tile: array<vec4f, TILE>;
/// Of four rows each.
var<workgroup> mosts: array<vec4f, ROW_QUADS>;
var<workgroup> fades: array<vec4f, ROW_QUADS>;

/// Where a thread finds its part of the work; limits: of four rows, how many keys they see.
struct Place { firstRow: u32, kvHead: u32, lastKey: u32, thread: u32, x: u32, y: u32 };
/// What a thread brings of 16 dimensions: a quad of a query, up to four of keys.
struct Part { query: vec4f, key0: KvQuad, key1: KvQuad, key2: KvQuad, key3: KvQuad };
/// Scores of four keys for four rows: component i belongs to row i.
struct Scores { s0: vec4f, s1: vec4f, s2: vec4f, s3: vec4f };

fn lastRow() -> u32 { return step.tokens * GROUP - 1u; }
/// Rows past the end repeat the last one; they are not written.
fn headRow(row: u32, at: Place) -> u32 {
  let own = min(row, lastRow());
  return own / GROUP * HEADS + at.kvHead * GROUP + own % GROUP;
}
/// How many keys each of four rows sees.
fn limitsOf(row: u32) -> vec4u {
  return min(row + vec4u(0u, 1u, 2u, 3u), vec4u(lastRow())) / GROUP + step.position + 1u;
}

fn readKey(i: u32, first: u32, t: u32, at: Place) -> KvQuad {
  let item = i * THREADS + at.thread;
  if (i >= LOADS) { return KvQuad(); }
  let key = min(first + item / 4u, at.lastKey); // past the end the last repeats; no row sees it
  return keys[(key * KV_HEADS + at.kvHead) * QUADS + min(t * 4u + item % 4u, QUADS - 1u)];
}

fn readPart(first: u32, t: u32, at: Place) -> Part {
  let quad = t * 4u + at.thread % 4u;
  let line = headRow(at.firstRow + at.thread / 4u, at) * QUADS;
  let query = select(vec4f(), q[line + min(quad, QUADS - 1u)], quad < QUADS); // zeros behind a query's end
  return Part(query * inverseSqrt(f32(HEAD_DIM)),
    readKey(0u, first, t, at), readKey(1u, first, t, at), readKey(2u, first, t, at), readKey(3u, first, t, at));
}

fn putKey(i: u32, thread: u32, key: KvQuad) {
  let item = i * THREADS + thread;
  if (i < LOADS && item < BLOCK * 4u) { tile[item / 4u * PITCH + item % 4u] = unpackKv(key); }
}

fn putPart(thread: u32, p: Part) {
  tile[QUERIES + thread / 4u * PITCH + thread % 4u] = p.query;
  putKey(0u, thread, p.key0); putKey(1u, thread, p.key1); putKey(2u, thread, p.key2); putKey(3u, thread, p.key3);
}

/// A quad of four queries, transposed: column k of the result holds dimension k of each.
fn queries(slot: u32) -> mat4x4f {
  return transpose(mat4x4f(tile[slot], tile[slot + PITCH], tile[slot + 2u * PITCH], tile[slot + 3u * PITCH]));
}

fn madd(sum: vec4f, key: vec4f, rows: mat4x4f) -> vec4f {
  return fma(vec4f(key.w), rows[3], fma(vec4f(key.z), rows[2], fma(vec4f(key.y), rows[1], fma(vec4f(key.x), rows[0], sum))));
}

/// Keys that a row does not see score lowest.
fn masked(s: Scores, firstKey: u32, limits: vec4u) -> Scores {
  let low = vec4f(LOWEST);
  return Scores(select(low, s.s0, vec4u(firstKey) < limits), select(low, s.s1, vec4u(firstKey + TX) < limits),
    select(low, s.s2, vec4u(firstKey + 2u * TX) < limits), select(low, s.s3, vec4u(firstKey + 3u * TX) < limits));
}

fn most(s: Scores) -> vec4f { return max(max(s.s0, s.s1), max(s.s2, s.s3)); }

fn weight(score: vec4f, most: vec4f) -> vec4f { return select(exp(score - most), vec4f(), score == vec4f(LOWEST)); }

fn weights(s: Scores, most: vec4f) -> Scores {
  return Scores(weight(s.s0, most), weight(s.s1, most), weight(s.s2, most), weight(s.s3, most));
}

/// Weights of the keys of turn `turn`, for the rows of quad `rowQuad`.
fn putWeights(w: Scores, turn: u32, x: u32, rowQuad: u32) {
  let slot = x * WEIGHT_PITCH + rowQuad;
  if (TURNS == 1u) {
    tile[slot] = w.s0;
    tile[slot + TX * WEIGHT_PITCH] = w.s1;
    tile[(slot + 2u * TX * WEIGHT_PITCH) % TILE] = w.s2; // the remainders only tell the compiler that it is within bounds
    tile[(slot + 3u * TX * WEIGHT_PITCH) % TILE] = w.s3;
  } else {
    tile[slot] = select(w.s2, w.s0, turn == 0u);
    tile[slot + TX * WEIGHT_PITCH] = select(w.s3, w.s1, turn == 0u);
  }
}

/// Sums of four rows with one value added.
fn added(sums: mat4x4f, w: vec4f, value: vec4f) -> mat4x4f {
  return mat4x4f(fma(vec4f(w.x), value, sums[0]), fma(vec4f(w.y), value, sums[1]),
    fma(vec4f(w.z), value, sums[2]), fma(vec4f(w.w), value, sums[3]));
}

fn scaled(sums: mat4x4f, by: vec4f) -> mat4x4f {
  return mat4x4f(sums[0] * by.x, sums[1] * by.y, sums[2] * by.z, sums[3] * by.w);
}

fn store(sums: mat4x4f, row: u32, totals: vec4f, quad: u32, at: Place) {
  for (var i = 0u; i < 4u; i++) {
    if (row + i <= lastRow()) {
      let line = headRow(row + i, at);
      let gate = qGate[(line * 2u + 1u) * QUADS + quad];
      y[line * QUADS + quad] = sums[i] / totals[i] / (1.0 + exp(-gate));
    }
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) thread: u32) {
  let firstRow = (step.firstTile + grid.y - 1u - wg.y) * ROWS; // the longest first
  if (firstRow > lastRow()) { return; }
  let lastKey = step.position + min(firstRow + ROWS - 1u, lastRow()) / GROUP;
  let at = Place(firstRow, wg.x, lastKey, thread, thread % TX, thread / TX);
  let rowQuad = at.y * (OWN_ROWS / 4u);
  let limits = limitsOf(firstRow + rowQuad * 4u);
  let highLimits = limitsOf(firstRow + rowQuad * 4u + 4u);
  // What the thread sums: dimensions of quad `quad`, four rows a matrix.
  let quad = thread % 64u;
  let summedQuad = thread / 64u * 4u;
  var sums0 = mat4x4f(); var sums1 = mat4x4f(); var sums2 = mat4x4f(); var sums3 = mat4x4f();
  // Of four rows, in a thread for each.
  var ownMost = vec4f(LOWEST);
  var ownTotal = vec4f();
  var part: Part;
  for (var first = 0u; first <= lastKey; first += BLOCK) {
    var low = Scores(); var high = Scores();
    if (AHEAD) { part = readPart(first, 0u, at); }
    for (var t = 0u; t < STEPS; t++) {
      if (!AHEAD) { part = readPart(first, t, at); }
      workgroupBarrier();
      putPart(thread, part);
      workgroupBarrier();
      if (AHEAD) { part = readPart(first, min(t + 1u, STEPS - 1u), at); }
      for (var d = 0u; d < 4u; d++) {
        let slot = at.x * PITCH + d;
        let k0 = tile[slot]; let k1 = tile[slot + TX * PITCH]; let k2 = tile[slot + 2u * TX * PITCH]; let k3 = tile[slot + 3u * TX * PITCH];
        let rows = queries(QUERIES + at.y * OWN_ROWS * PITCH + d);
        low = Scores(madd(low.s0, k0, rows), madd(low.s1, k1, rows), madd(low.s2, k2, rows), madd(low.s3, k3, rows));
        if (WIDE) {
          let others = queries((QUERIES + (at.y * OWN_ROWS + 4u) * PITCH + d) % TILE);
          high = Scores(madd(high.s0, k0, others), madd(high.s1, k1, others), madd(high.s2, k2, others), madd(high.s3, k3, others));
        }
      }
    }
    low = masked(low, first + at.x, limits);
    if (WIDE) { high = masked(high, first + at.x, highLimits); }
    workgroupBarrier(); // keys and queries have been read
    let share = SHARES + at.x * ROW_QUADS + rowQuad;
    tile[share] = most(low);
    if (WIDE) { tile[(share + 1u) % TILE] = most(high); }
    workgroupBarrier();
    if (thread < ROW_QUADS) {
      let before = ownMost;
      for (var x = 0u; x < TX; x++) { ownMost = max(ownMost, tile[SHARES + x * ROW_QUADS + thread]); }
      mosts[thread] = ownMost;
      fades[thread] = exp(before - ownMost);
    }
    workgroupBarrier();
    low = weights(low, mosts[rowQuad]);
    tile[share] = (low.s0 + low.s1) + (low.s2 + low.s3);
    if (WIDE) {
      high = weights(high, mosts[(rowQuad + 1u) % ROW_QUADS]);
      tile[(share + 1u) % TILE] = (high.s0 + high.s1) + (high.s2 + high.s3);
    }
    sums0 = scaled(sums0, fades[summedQuad]); sums1 = scaled(sums1, fades[summedQuad + 1u]);
    sums2 = scaled(sums2, fades[summedQuad + 2u]); sums3 = scaled(sums3, fades[summedQuad + 3u]);
    for (var turn = 0u; turn < TURNS; turn++) {
      if (turn > 0u) { workgroupBarrier(); } // the weights of the turn before have been read
      putWeights(low, turn, at.x, rowQuad);
      if (WIDE) { putWeights(high, turn, at.x, rowQuad + 1u); }
      workgroupBarrier();
      if (turn == 0u && thread < ROW_QUADS) {
        var total = vec4f();
        for (var x = 0u; x < TX; x++) { total += tile[SHARES + x * ROW_QUADS + thread]; }
        ownTotal = fma(ownTotal, fades[thread], total);
      }
      let begin = first + turn * TURN;
      if (quad < QUADS) {
        for (var j = 0u; j < TURN && begin + j <= lastKey; j += 4u) {
          // Four at a time, before what uses them. Keys past the end weigh nothing.
          let places = (min(begin + j + vec4u(0u, 1u, 2u, 3u), vec4u(lastKey)) * KV_HEADS + at.kvHead) * QUADS + quad;
          let v0 = values[places.x]; let v1 = values[places.y]; let v2 = values[places.z]; let v3 = values[places.w];
          var slot = j * WEIGHT_PITCH + summedQuad;
          let a = unpackKv(v0);
          sums0 = added(sums0, tile[slot], a); sums1 = added(sums1, tile[slot + 1u], a);
          sums2 = added(sums2, tile[slot + 2u], a); sums3 = added(sums3, tile[slot + 3u], a);
          slot += WEIGHT_PITCH;
          let b = unpackKv(v1);
          sums0 = added(sums0, tile[slot], b); sums1 = added(sums1, tile[slot + 1u], b);
          sums2 = added(sums2, tile[slot + 2u], b); sums3 = added(sums3, tile[slot + 3u], b);
          slot += WEIGHT_PITCH;
          let c = unpackKv(v2);
          sums0 = added(sums0, tile[slot], c); sums1 = added(sums1, tile[slot + 1u], c);
          sums2 = added(sums2, tile[slot + 2u], c); sums3 = added(sums3, tile[slot + 3u], c);
          slot += WEIGHT_PITCH;
          let d = unpackKv(v3);
          sums0 = added(sums0, tile[slot], d); sums1 = added(sums1, tile[slot + 1u], d);
          sums2 = added(sums2, tile[slot + 2u], d); sums3 = added(sums3, tile[slot + 3u], d);
        }
      }
    }
  }
  workgroupBarrier(); // fades have been read
  if (thread < ROW_QUADS) { fades[thread] = ownTotal; }
  workgroupBarrier();
  if (quad >= QUADS) { return; }
  let row = firstRow + summedQuad * 4u;
  store(sums0, row, fades[summedQuad], quad, at); store(sums1, row + 4u, fades[summedQuad + 1u], quad, at);
  store(sums2, row + 8u, fades[summedQuad + 2u], quad, at); store(sums3, row + 12u, fades[summedQuad + 3u], quad, at);
}

// attention_split: what one token's attention adds up over one part of the context; attention_combine puts the parts together.
//   q [HEADS, HEAD_DIM] f32;  keys, values [capacity, KV_HEADS, HEAD_DIM] KvQuad
//   sums [PARTS, HEADS, HEAD_DIM] f32: sum of e^(score - most) v;  stats [PARTS, HEADS] f32: most, sum of e^(score - most)
// One workgroup per (GROUP query heads that share a key head, part): a key and a value are read once for all of them, and parts
// run side by side where one workgroup would wait for memory block after block. Online softmax over blocks of 64 keys:
//   scores   four lanes a key, two keys a lane, so that lanes read neighbouring quads and a query read from the tile serves twice
//   weights  a lane a key
//   sums     128 / QUADS teams, four dimensions a lane; a team takes every so-manieth key
// Queries go in quartets: a quad of each is a mat4x4f, which times a quad of a key gives four products in a vec4f.
// Reads come four at a time, before what uses them: a lane alone cannot hide the memory's latency.
// GROUP <= 8; 4 divides HEAD_DIM <= 256.
override HEADS: u32; override KV_HEADS: u32; override HEAD_DIM: u32; override GROUP: u32;
override TWO: bool = GROUP > 4u;
override QUARTETS: u32 = (GROUP + 3u) / 4u;
override QUADS: u32 = HEAD_DIM / 4u;
override STEPS: u32 = (QUADS + 7u) / 8u;
override STRIDE: u32 = STEPS * 8u; // of a query in the tile: zeros behind its end
override LOADS: u32 = (GROUP * QUADS + 127u) / 128u;
override TEAMS: u32 = 128u / QUADS;
override ROUNDS: u32 = (BLOCK + 4u * TEAMS - 1u) / (4u * TEAMS);
override WRITES: u32 = (4u * QUADS + 127u) / 128u;
@group(0) @binding(0) var<storage, read> q: array<vec4f>;
@group(0) @binding(1) var<storage, read> keys: array<KvQuad>;
@group(0) @binding(2) var<storage, read> values: array<KvQuad>;
@group(0) @binding(3) var<storage, read_write> sums: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2f>;
@group(0) @binding(5) var<uniform> step: Step;
/// The queries, [query, STRIDE]; at the end the sums of one quartet, [query, thread].
var<workgroup> tile: array<vec4f, 512>;
/// What the lanes of a key have of one quartet's scores, [key, lane].
var<workgroup> products: array<vec4f, 256>;
/// [quartet, key]: scores, then weights.
var<workgroup> scores: array<vec4f, 128>;
/// [quartet, eighth of a block].
var<workgroup> mosts: array<vec4f, 16>;

/// A softmax under way, for one quartet: column or component i belongs to its query i.
struct Running { most: vec4f, total: vec4f, sums: mat4x4f };

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let length = step.position + 1u;
  let start = wg.y * partLength(length);
  if (start >= length) { return; }
  let end = min(start + partLength(length), length);
  let firstHead = wg.x * GROUP;
  let kvHead = firstHead / (HEADS / KV_HEADS);
  stageQueries(firstHead, thread);
  var low = Running(vec4f(LOWEST), vec4f(), mat4x4f());
  var high = low;
  for (var first = start; first < end; first += BLOCK) {
    scoreBlock(first, end - 1u, kvHead, thread);
    shareMosts(thread);
    low = faded(low, 0u);
    if (TWO) { high = faded(high, 1u); }
    weigh(first, end, select(low.most, high.most, thread >= BLOCK), thread);
    for (var i = 0u; i < ROUNDS; i++) {
      let j = i * 4u * TEAMS + thread / QUADS + TEAMS * vec4u(0u, 1u, 2u, 3u);
      let at = quadsOf(first + j, end - 1u, kvHead) + thread % QUADS;
      let v = mat4x4f(unpackKv(values[at.x]), unpackKv(values[at.y]), unpackKv(values[at.z]), unpackKv(values[at.w]));
      low = added(low, j, v, 0u);
      if (TWO) { high = added(high, j, v, 1u); }
    }
  }
  writeQuartet(low, 0u, wg.y * HEADS + firstHead, thread);
  if (TWO) { writeQuartet(high, 1u, wg.y * HEADS + firstHead, thread); }
}

fn stageQueries(firstHead: u32, thread: u32) {
  for (var i = 0u; i < LOADS; i++) {
    let item = i * 128u + thread;
    if (item < GROUP * QUADS) {
      tile[item / QUADS * STRIDE + item % QUADS] = q[firstHead * QUADS + item] * inverseSqrt(f32(HEAD_DIM));
    }
  }
  workgroupBarrier();
}

/// Where keys (or values) begin. Past `last` it repeats the last: such keys get no weight, and scores like its are no new maximum.
fn quadsOf(positions: vec4u, last: u32, kvHead: u32) -> vec4u {
  return (min(positions, vec4u(last)) * KV_HEADS + kvHead) * QUADS;
}

/// Scores of the keys [first, first + 64).
fn scoreBlock(first: u32, last: u32, kvHead: u32, thread: u32) {
  let rows = quadsOf(first + thread / 4u + vec4u(0u, 32u, 0u, 32u), last, kvHead);
  var lowA = vec4f(); var lowB = vec4f(); var highA = vec4f(); var highB = vec4f();
  for (var i = 0u; i < STEPS; i++) {
    let quads = i * 8u + thread % 4u + vec4u(0u, 0u, 4u, 4u);
    let at = rows + min(quads, vec4u(QUADS - 1u)); // behind a query's end are zeros
    let a0 = unpackKv(keys[at.x]);
    let b0 = unpackKv(keys[at.y]);
    let a1 = unpackKv(keys[at.z]);
    let b1 = unpackKv(keys[at.w]);
    let low0 = queries(0u, quads.x);
    let low1 = queries(0u, quads.z);
    lowA += a0 * low0 + a1 * low1;
    lowB += b0 * low0 + b1 * low1;
    if (TWO) {
      let high0 = queries(4u, quads.x);
      let high1 = queries(4u, quads.z);
      highA += a0 * high0 + a1 * high1;
      highB += b0 * high0 + b1 * high1;
    }
  }
  addProducts(0u, lowA, lowB, thread);
  if (TWO) { addProducts(1u, highA, highB, thread); }
}

/// One quad of four queries, a column each.
fn queries(first: u32, quad: u32) -> mat4x4f {
  let i = first * STRIDE + quad;
  return mat4x4f(tile[i], tile[i + STRIDE], tile[i + 2u * STRIDE], tile[i + 3u * STRIDE]);
}

fn addProducts(quartet: u32, a: vec4f, b: vec4f, thread: u32) {
  products[thread] = a;
  products[128u + thread] = b;
  workgroupBarrier();
  if (thread < BLOCK) {
    let i = thread * 4u;
    scores[quartet * BLOCK + thread] = (products[i] + products[i + 1u]) + (products[i + 2u] + products[i + 3u]);
  }
  workgroupBarrier();
}

/// The largest scores of each eighth of the block.
fn shareMosts(thread: u32) {
  if (thread < 8u * QUARTETS) {
    var most = scores[thread * 8u];
    for (var i = 1u; i < 8u; i++) { most = max(most, scores[thread * 8u + i]); }
    mosts[thread] = most;
  }
  workgroupBarrier();
}

/// Ready for what the block adds: relative to its largest scores, where they are larger.
fn faded(r: Running, quartet: u32) -> Running {
  var most = r.most;
  for (var i = 0u; i < 8u; i++) { most = max(most, mosts[quartet * 8u + i]); }
  let fade = exp(r.most - most);
  let sums = mat4x4f(r.sums[0] * fade.x, r.sums[1] * fade.y, r.sums[2] * fade.z, r.sums[3] * fade.w);
  return Running(most, r.total * fade, sums);
}

/// Scores become weights; `most` is that of this thread's quartet.
fn weigh(first: u32, end: u32, most: vec4f, thread: u32) {
  if (thread < QUARTETS * BLOCK) {
    let inside = first + thread % BLOCK < end;
    scores[thread] = select(vec4f(), exp(scores[thread] - most), inside);
  }
  workgroupBarrier();
}

/// With four values of keys `j` of the block added.
fn added(r: Running, j: vec4u, v: mat4x4f, quartet: u32) -> Running {
  let w = mat4x4f(weights(quartet, j.x), weights(quartet, j.y), weights(quartet, j.z), weights(quartet, j.w));
  return Running(r.most, r.total + (w[0] + w[1] + w[2] + w[3]), r.sums + v * transpose(w));
}

fn weights(quartet: u32, j: u32) -> vec4f {
  if (BLOCK % (4u * TEAMS) != 0u && j >= BLOCK) { return vec4f(); }
  return scores[quartet * BLOCK + j];
}

/// Adds the teams up. `row` is the group's first of the part.
fn writeQuartet(r: Running, quartet: u32, row: u32, thread: u32) {
  workgroupBarrier(); // the tile still serves the quartet before
  tile[thread] = r.sums[0];
  tile[128u + thread] = r.sums[1];
  tile[256u + thread] = r.sums[2];
  tile[384u + thread] = r.sums[3];
  products[thread] = r.total;
  workgroupBarrier();
  for (var i = 0u; i < WRITES; i++) {
    let item = i * 128u + thread;
    let query = item / QUADS;
    if (query < min(4u, GROUP - 4u * quartet)) {
      sums[(row + 4u * quartet) * QUADS + item] = teamSum(query, item % QUADS);
    }
  }
  if (thread < min(4u, GROUP - 4u * quartet)) {
    var total = 0.0;
    for (var t = 0u; t < TEAMS; t++) { total += products[t * QUADS][thread]; }
    stats[row + 4u * quartet + thread] = vec2f(r.most[thread], total);
  }
}

fn teamSum(query: u32, quad: u32) -> vec4f {
  var sum = tile[query * 128u + quad];
  for (var t = 1u; t < TEAMS; t++) { sum += tile[query * 128u + t * QUADS + quad]; }
  return sum;
}

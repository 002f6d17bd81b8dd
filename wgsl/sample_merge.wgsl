// sample_merge: a draw from the lists of sample_top_k, which holds top-p and min-p to what top-k leaves.
//   blocks [BLOCKS] Block;  lists [BLOCKS, 128] (key, id);  draws [RING] f32: u of token t at t % RING
//   history, ids, emitted, state: see sample_emit
// For any j the ceil(topK / j)-th best of the lists' j-th entries bounds the topK-th best of all from below, since so many lists
// have j entries at least as good. The best of these bounds for j = 1, 2, 4, … leaves topK * (1 + log2 topK) entries at most, that
// is 1,024 for 128; up to 32, j = 1 alone leaves no more than topK * topK. Of those left, each counts how many are better.
// One workgroup.
@group(0) @binding(0) var<storage, read> blocks: array<Block>;
@group(0) @binding(1) var<storage, read> lists: array<vec2u>;
@group(0) @binding(2) var<storage, read> draws: array<f32>;
@group(0) @binding(3) var<storage, read_write> history: array<u32>;
@group(0) @binding(4) var<storage, read_write> ids: array<u32>;
@group(0) @binding(5) var<storage, read_write> emitted: array<u32>;
@group(0) @binding(6) var<storage, read_write> state: State;
@group(0) @binding(7) var<uniform> params: Params;
var<workgroup> entries: array<vec2u, 128>;
var<workgroup> bound: vec2u;
var<workgroup> found: array<vec2u, 1024>;
var<workgroup> count: atomic<u32>;
var<workgroup> sorted: array<vec2u, 128>;
var<workgroup> weights: array<f32, 128>;
var<workgroup> kept: u32;
var<workgroup> orderedIds: array<u32, 128>;
var<workgroup> orderedWeights: array<f32, 128>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
  startFault(lane);
  let mostDepth = select(1u, params.topK, params.topK > 32u);
  for (var depth = 1u; depth <= mostDepth; depth *= 2u) {
    if (lane < BLOCKS) { entries[lane] = lists[lane * 128u + depth - 1u]; }
    workgroupBarrier();
    raiseBound(depth, lane);
    workgroupBarrier();
  }
  loadFault(lane);
  for (var i = lane; i < BLOCKS * params.topK; i += 256u) {
    let entry = lists[i / params.topK * 128u + i % params.topK];
    if (entry.x > 0u && !better(bound, entry)) { found[atomicAdd(&count, 1u)] = entry; }
  }
  workgroupBarrier();
  sort(lane);
  workgroupBarrier();
  let have = min(params.topK, atomicLoad(&count));
  if (lane < have) { weights[lane] = weightOf(sorted[lane].x, sorted[0].x); }
  workgroupBarrier();
  if (lane == 0u) { kept = filtered(have); }
  workgroupBarrier();
  if (lane < kept) {
    var place = 0u;
    for (var i = 0u; i < kept; i++) { place += select(0u, 1u, sorted[i].y < sorted[lane].y); }
    orderedIds[place] = sorted[lane].y;
    orderedWeights[place] = weights[lane];
  }
  workgroupBarrier();
  if (lane == 0u) { emit(drawn()); }
}

fn raiseBound(depth: u32, lane: u32) {
  if (lane >= BLOCKS) { return; }
  let own = entries[lane];
  var rank = 0u;
  for (var i = 0u; i < BLOCKS; i++) { rank += select(0u, 1u, better(entries[i], own)); }
  let needed = (params.topK + depth - 1u) / depth;
  if (own.x > 0u && rank == needed - 1u && better(own, bound)) { bound = own; }
}

fn sort(lane: u32) {
  let total = atomicLoad(&count);
  for (var c = lane; c < total; c += 256u) {
    var rank = 0u;
    for (var i = 0u; i < total; i++) { rank += select(0u, 1u, better(found[i], found[c])); }
    if (rank < params.topK) { sorted[rank] = found[c]; }
  }
}

/// How many of the first `have` in `sorted` top-p and min-p leave.
fn filtered(have: u32) -> u32 {
  var left = have;
  if (params.nucleus == 1u) {
    var total = 0.0;
    for (var i = 0u; i < have; i++) { total += weights[i]; }
    var reached = 0.0;
    for (left = 0u; left < have && (left == 0u || reached < params.topP * total); left++) { reached += weights[left]; }
  }
  while (left > 1u && weights[left - 1u] < params.minP && sorted[left - 1u].x != sorted[0].x) { left--; }
  return left;
}

/// The first in order of id whose cumulated weight exceeds u of the total.
fn drawn() -> u32 {
  if (kept == 0u) { return NONE; }
  var total = 0.0;
  for (var i = 0u; i < kept; i++) { total += orderedWeights[i]; }
  let share = draws[state.drawn % RING] * total;
  var reached = 0.0;
  var i = 0u;
  for (; i < kept - 1u; i++) {
    reached += orderedWeights[i];
    if (reached > share) { break; }
  }
  return orderedIds[i];
}

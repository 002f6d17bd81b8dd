// sample_top_k: the topK best of every block, best first. The first dispatch where top-k is on and small.
//   logits, history: see sample_logits;  blocks [BLOCKS] Block: badId, badBits
//   lists [BLOCKS, 128] (key, id), of which topK are written; where a block has fewer, (0, NONE)
// The topK-th best of the threads' own best bounds the block's topK-th best from below, and few lie above it; of those, each counts
// how many are better. At most topK * PER do, which must not exceed 1,024. One workgroup per block.
@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(0) @binding(1) var<storage, read> history: array<u32>;
@group(0) @binding(2) var<storage, read_write> blocks: array<Block>;
@group(0) @binding(3) var<storage, read_write> lists: array<vec2u>;
@group(0) @binding(4) var<uniform> params: Params;
var<workgroup> best: array<vec2u, 256>;
var<workgroup> bound: vec2u;
var<workgroup> found: array<vec2u, 1024>;
var<workgroup> count: atomic<u32>;
var<workgroup> badId: atomic<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) lane: u32) {
  let block = wg.x;
  let first = (block * 256u + lane) * PER;
  if (lane == 0u) { atomicStore(&badId, NONE); }
  var keys: array<u32, PER>;
  var own = vec2u(0u, NONE);
  var bad = NONE;
  for (var i = 0u; i < PER; i++) {
    if (first + i < VOCAB) {
      keys[i] = keyAt(first + i);
      if (keys[i] > own.x) { own = vec2u(keys[i], first + i); }
      if (!isFinite(logits[first + i])) { bad = min(bad, first + i); }
    }
  }
  best[lane] = own;
  workgroupBarrier();
  if (bad != NONE) { atomicMin(&badId, bad); }
  var rank = 0u;
  for (var i = 0u; i < 256u; i++) { rank += select(0u, 1u, better(best[i], own)); }
  if (own.x > 0u && rank == params.topK - 1u) { bound = own; } // else 0, which all are better than
  workgroupBarrier();
  if (!better(bound, own)) {
    for (var i = 0u; i < PER; i++) {
      let each = vec2u(keys[i], first + i);
      if (each.x > 0u && !better(bound, each)) { found[atomicAdd(&count, 1u)] = each; }
    }
  }
  workgroupBarrier();
  let total = atomicLoad(&count);
  for (var c = lane; c < total; c += 256u) {
    rank = 0u;
    for (var i = 0u; i < total; i++) { rank += select(0u, 1u, better(found[i], found[c])); }
    if (rank < params.topK) { lists[block * 128u + rank] = found[c]; }
  }
  for (var rest = total + lane; rest < params.topK; rest += 256u) { lists[block * 128u + rest] = vec2u(0u, NONE); }
  if (lane > 0u) { return; }
  let firstBad = atomicLoad(&badId);
  blocks[block].badId = firstBad;
  if (firstBad != NONE) { blocks[block].badBits = logits[firstBad]; }
}

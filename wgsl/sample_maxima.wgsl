// sample_maxima: the largest logit of every block, and whether all are finite. The first dispatch where no list of candidates is made.
//   logits, history: see sample_logits;  blocks [BLOCKS] Block: key, id, badId, badBits
//   histogram [8, 256, 2] u32 is cleared for the passes that may follow.
// One workgroup per block.
@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(0) @binding(1) var<storage, read> history: array<u32>;
@group(0) @binding(2) var<storage, read_write> blocks: array<Block>;
@group(0) @binding(3) var<storage, read_write> histogram: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;
var<workgroup> largest: atomic<u32>;
var<workgroup> largestId: atomic<u32>;
var<workgroup> badId: atomic<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) lane: u32) {
  let block = wg.x;
  if (lane == 0u) { atomicStore(&largestId, NONE); atomicStore(&badId, NONE); }
  for (var i = block * 256u + lane; i < 4096u; i += BLOCKS * 256u) { histogram[i] = 0u; }
  var own = vec2u(0u, NONE);
  var bad = NONE;
  for (var i = 0u; i < PER; i++) {
    let id = (block * 256u + lane) * PER + i;
    if (id < VOCAB) {
      let key = keyAt(id);
      if (key > own.x) { own = vec2u(key, id); }
      if (!isFinite(logits[id])) { bad = min(bad, id); }
    }
  }
  atomicMax(&largest, own.x);
  workgroupBarrier();
  if (own.x == atomicLoad(&largest)) { atomicMin(&largestId, own.y); }
  if (bad != NONE) { atomicMin(&badId, bad); }
  workgroupBarrier();
  if (lane > 0u) { return; }
  let first = atomicLoad(&badId);
  var bits = 0u;
  if (first != NONE) { bits = logits[first]; }
  blocks[block] = Block(atomicLoad(&largest), atomicLoad(&largestId), first, bits, 0.0, 0u);
}

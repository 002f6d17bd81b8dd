// sample_greedy: the token of the largest logit, ties to the lowest id. The last dispatch at temperature 0, after sample_maxima.
//   blocks [BLOCKS] Block;  history, ids, emitted, state: see sample_emit
// One workgroup.
@group(0) @binding(0) var<storage, read> blocks: array<Block>;
@group(0) @binding(1) var<storage, read_write> history: array<u32>;
@group(0) @binding(2) var<storage, read_write> ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> emitted: array<u32>;
@group(0) @binding(4) var<storage, read_write> state: State;
@group(0) @binding(5) var<uniform> params: Params;
var<workgroup> largest: atomic<u32>;
var<workgroup> largestId: atomic<u32>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
  if (lane == 0u) { atomicStore(&largestId, NONE); }
  startFault(lane);
  if (lane < BLOCKS) { atomicMax(&largest, blocks[lane].key); }
  workgroupBarrier();
  loadFault(lane);
  if (lane < BLOCKS) {
    if (blocks[lane].key == atomicLoad(&largest)) { atomicMin(&largestId, blocks[lane].id); }
  }
  workgroupBarrier();
  if (lane == 0u) { emit(atomicLoad(&largestId)); }
}

// sample_sums: what is left of every block after top-k, top-p and min-p: the weights above the cut, and how many keys lie on it.
//   logits, history: see sample_logits;  blocks [BLOCKS] Block: key in, sum and ties out;  histogram, cuts: see sample_cut
// Without passes before it the cut is below every key. One workgroup per block.
@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(0) @binding(1) var<storage, read> history: array<u32>;
@group(0) @binding(2) var<storage, read_write> blocks: array<Block>;
@group(0) @binding(3) var<storage, read_write> histogram: array<atomic<u32>>;
@group(0) @binding(4) var<storage, read_write> cuts: array<Cut>;
@group(0) @binding(5) var<uniform> params: Params;
@group(0) @binding(6) var<uniform> turn: Turn;
var<workgroup> sums: array<f32, 256>;
var<workgroup> ties: atomic<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) lane: u32) {
  loadLargest(lane);
  resolve(turn.index, lane);
  workgroupBarrier();
  if (wg.x == 0u && lane == 0u) { cuts[turn.index] = cut; }
  let most = atomicLoad(&largest);
  var sum = 0.0;
  var own = 0u;
  for (var i = 0u; i < PER; i++) {
    let id = (wg.x * 256u + lane) * PER + i;
    if (id < VOCAB) {
      let key = keyAt(id);
      if (key == cut.key) { own += 1u; }
      if (key > cut.key) {
        let weight = weightOf(key, most);
        if (weight >= params.minP || key == most) { sum += weight; }
      }
    }
  }
  sums[lane] = sum;
  if (own > 0u) { atomicAdd(&ties, own); }
  workgroupBarrier();
  if (lane < 16u) {
    for (var i = 1u; i < 16u; i++) { sum += sums[lane + i * 16u]; }
  }
  workgroupBarrier();
  if (lane < 16u) { sums[lane] = sum; }
  workgroupBarrier();
  if (lane > 0u) { return; }
  for (var i = 1u; i < 16u; i++) { sum += sums[i]; }
  blocks[wg.x].sum = sum;
  blocks[wg.x].ties = atomicLoad(&ties);
}

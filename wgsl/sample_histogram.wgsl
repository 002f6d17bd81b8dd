// sample_histogram: one pass of radix select over the keys: see sample_cut, which says what the passes are.
//   logits, history: see sample_logits;  blocks [BLOCKS] Block: key;  histogram, cuts: see sample_cut
// A pass over weights looks at what top-k left: keys above its cut, and once, in the first block, those on it.
// One workgroup per block.
@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(0) @binding(1) var<storage, read> history: array<u32>;
@group(0) @binding(2) var<storage, read> blocks: array<Block>;
@group(0) @binding(3) var<storage, read_write> histogram: array<atomic<u32>>;
@group(0) @binding(4) var<storage, read_write> cuts: array<Cut>;
@group(0) @binding(5) var<uniform> params: Params;
@group(0) @binding(6) var<uniform> turn: Turn;
var<workgroup> low: array<atomic<u32>, 256>;
var<workgroup> high: array<atomic<u32>, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) lane: u32) {
  loadLargest(lane);
  resolve(turn.index, lane);
  workgroupBarrier();
  if (wg.x == 0u && lane == 0u) { cuts[turn.index] = cut; }
  let byCount = turn.index < 4u;
  let isLimited = !byCount && params.limited == 1u;
  for (var i = 0u; i < PER; i++) {
    let id = (wg.x * 256u + lane) * PER + i;
    if (id < VOCAB) {
      let key = keyAt(id);
      if (byCount) { count(key, vec2u(1u, 0u)); }
      else if (!isLimited || key > topK.key) { count(key, fixed(weightOf(key, atomicLoad(&largest)))); }
    }
  }
  if (isLimited && wg.x == 0u && lane == 0u) {
    count(topK.key, times64(fixed(weightOf(topK.key, atomicLoad(&largest))), topK.ties));
  }
  workgroupBarrier();
  let own = vec2u(atomicLoad(&low[lane]), atomicLoad(&high[lane]));
  if (all(own == vec2u())) { return; }
  let at = (turn.index * 256u + lane) * 2u;
  let carry = select(0u, 1u, atomicAdd(&histogram[at], own.x) + own.x < own.x);
  if (own.y + carry > 0u) { atomicAdd(&histogram[at + 1u], own.y + carry); }
}

/// Adds to the bin of the key's next byte if the bytes before it are those of the cut.
fn count(key: u32, amount: vec2u) {
  let level = turn.index % 4u;
  if (level > 0u) {
    if (key >> (32u - 8u * level) != cut.key) { return; }
  }
  if (all(amount == vec2u())) { return; }
  let bin = (key >> (24u - 8u * level)) & 255u;
  let carry = select(0u, 1u, atomicAdd(&low[bin], amount.x) + amount.x < amount.x);
  if (amount.y + carry > 0u) { atomicAdd(&high[bin], amount.y + carry); }
}

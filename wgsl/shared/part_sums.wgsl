// part_sums: the parts that attention_split summed, put together as one softmax with a sigmoid output gate, behind context_parts and reduce_*.
//   sums [PARTS, HEADS, HEAD_DIM], stats [PARTS, HEADS] (most, sum of e^(score - most)) f32: parts past the length are not read
//   qGate [HEADS, 2, HEAD_DIM] f32 (the gate is the second half of each head)
// A part's sums count e^(its most - the largest most). One workgroup per (eight quads, head), which makes as many workgroups as
// there are to share the reading; each works out the weights of all parts again, a part a lane. Then eight teams of eight lanes
// take every eighth part.
override HEADS: u32; override HEAD_DIM: u32;
override QUADS: u32 = HEAD_DIM / 4u;
override STEPS: u32 = (PARTS + 63u) / 64u;
override ROUNDS: u32 = (PARTS + 7u) / 8u;
@group(0) @binding(1) var<storage, read> sums: array<vec4f>;
@group(0) @binding(2) var<storage, read> stats: array<vec2f>;
@group(0) @binding(3) var<storage, read> qGate: array<vec4f>;
@group(0) @binding(4) var<uniform> step: Step;
var<workgroup> weights: array<f32, PARTS>;
var<workgroup> teamSums: array<vec4f, 64>;

/// Quad `first + lane` of a head, in the first eight lanes.
fn combined(first: u32, head: u32, lane: Lane) -> vec4f {
  let length = step.position + 1u;
  let parts = (length + partLength(length) - 1u) / partLength(length);
  let quad = first + lane.index % 8u;
  let total = weighParts(parts, head, lane);
  var sum = vec4f();
  for (var i = 0u; i < ROUNDS; i++) {
    let part = i * 8u + lane.index / 8u;
    if (part < parts && quad < QUADS) { sum += weights[part] * sums[(part * HEADS + head) * QUADS + quad]; }
  }
  teamSums[lane.index] = sum;
  workgroupBarrier();
  if (lane.index >= 8u || quad >= QUADS) { return vec4f(); }
  for (var t = 1u; t < 8u; t++) { sum += teamSums[t * 8u + lane.index]; }
  let gate = qGate[(head * 2u + 1u) * QUADS + quad];
  return sum / total / (1.0 + exp(-gate));
}

/// Fills `weights`; the sum of e^(score - largest) over all keys.
fn weighParts(parts: u32, head: u32, lane: Lane) -> f32 {
  var most = LOWEST;
  for (var i = 0u; i < STEPS; i++) {
    let part = i * 64u + lane.index;
    if (part < parts) { most = max(most, stats[part * HEADS + head].x); }
  }
  most = reduceMax(most, lane);
  var total = 0.0;
  for (var i = 0u; i < STEPS; i++) {
    let part = i * 64u + lane.index;
    if (part < parts) {
      let stat = stats[part * HEADS + head];
      weights[part] = exp(stat.x - most);
      total += stat.y * weights[part];
    }
  }
  total = reduceAdd(vec4f(total, 0.0, 0.0, 0.0), lane).x;
  workgroupBarrier(); // weights are read by other lanes
  return total;
}

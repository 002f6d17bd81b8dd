// attention: causal softmax(q k^T / sqrt(HEAD_DIM)) v with a sigmoid output gate, for a step of one or more tokens.
//   q [tokens, HEADS, HEAD_DIM] f32;  qGate [tokens, HEADS, 2, HEAD_DIM] f32 (the gate is the second half of each head)
//   keys, values [capacity, KV_HEADS, HEAD_DIM] KvQuad;  y [tokens, HEADS * HEAD_DIM] f32
// One workgroup per (query head, token), online softmax over blocks of 64 keys: a lane scores one key, then the lanes split
// into 64 / QUADS teams that each sum every so-manieth value, four dimensions a lane. HEAD_DIM <= 256.
override HEADS: u32; override KV_HEADS: u32; override HEAD_DIM: u32;
override QUADS: u32 = HEAD_DIM / 4u;
override TEAMS: u32 = 64u / QUADS;
const LOWEST = -3.0e38; // not -inf: compilers may assume that none occurs
@group(0) @binding(0) var<storage, read> q: array<vec4f>;
@group(0) @binding(1) var<storage, read> qGate: array<vec4f>;
@group(0) @binding(2) var<storage, read> keys: array<KvQuad>;
@group(0) @binding(3) var<storage, read> values: array<KvQuad>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(5) var<uniform> step: Step;
var<workgroup> query: array<vec4f, 64>;
var<workgroup> weights: array<f32, 64>;
var<workgroup> teamSums: array<vec4f, 64>;

@compute @workgroup_size(64)
fn main(lane: Lane, @builtin(workgroup_id) wg: vec3u) {
  let head = wg.x;
  let token = wg.y;
  let kvHead = head / (HEADS / KV_HEADS);
  let length = step.position + token + 1u;
  let quad = lane.index % QUADS;
  let team = lane.index / QUADS;
  if (lane.index < QUADS) { query[lane.index] = q[(token * HEADS + head) * QUADS + lane.index] * inverseSqrt(f32(HEAD_DIM)); }
  var most = LOWEST; var total = 0.0; var sum = vec4f();
  for (var first = 0u; first < length; first += 64u) {
    workgroupBarrier();
    let score = scoreKey(first + lane.index, length, kvHead);
    let newMost = max(most, reduceMax(score, lane));
    let weight = select(0.0, exp(score - newMost), first + lane.index < length);
    weights[lane.index] = weight;
    let blockTotal = reduceAdd(vec4f(weight, 0.0, 0.0, 0.0), lane).x;
    workgroupBarrier(); // weights are read by other lanes
    let fade = exp(most - newMost);
    total = total * fade + blockTotal;
    sum *= fade;
    let count = min(64u, length - first);
    if (team < TEAMS) {
      for (var j = team; j < count; j += TEAMS) {
        sum += weights[j] * unpackKv(values[((first + j) * KV_HEADS + kvHead) * QUADS + quad]);
      }
    }
    most = newMost;
  }
  teamSums[lane.index] = sum;
  workgroupBarrier();
  if (lane.index >= QUADS) { return; }
  for (var t = 1u; t < TEAMS; t++) { sum += teamSums[t * QUADS + quad]; }
  let gate = qGate[((token * HEADS + head) * 2u + 1u) * QUADS + quad];
  y[(token * HEADS + head) * QUADS + quad] = sum / total / (1.0 + exp(-gate));
}

fn scoreKey(position: u32, length: u32, kvHead: u32) -> f32 {
  if (position >= length) { return LOWEST; }
  var score = vec4f();
  for (var i = 0u; i < QUADS; i++) { score += query[i] * unpackKv(keys[(position * KV_HEADS + kvHead) * QUADS + i]); }
  return dot(score, vec4f(1.0));
}

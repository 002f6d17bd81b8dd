// attention_direct: attention without workgroup memory or barriers, for CPU adapters (see gemv_direct).
//   q, qGate, keys, values, y as in attention
// One thread per (query head, token), online softmax key by key. The running sum is an array in private memory: on a GPU
// that would spill, on a CPU it is a stack frame. HEAD_DIM <= 256.
override HEADS: u32; override KV_HEADS: u32; override HEAD_DIM: u32;
override QUADS: u32 = HEAD_DIM / 4u;
@group(0) @binding(0) var<storage, read> q: array<vec4f>;
@group(0) @binding(1) var<storage, read> qGate: array<vec4f>;
@group(0) @binding(2) var<storage, read> keys: array<KvQuad>;
@group(0) @binding(3) var<storage, read> values: array<KvQuad>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(5) var<uniform> step: Step;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let token = id.x / HEADS;
  let head = id.x % HEADS;
  if (token >= step.tokens) { return; }
  let kvHead = head / (HEADS / KV_HEADS);
  let length = step.position + token + 1u;
  let scale = inverseSqrt(f32(HEAD_DIM));
  var sum: array<vec4f, 64>;
  var most = -3.0e38; // not -inf: compilers may assume that none occurs
  var total = 0.0;
  for (var position = 0u; position < length; position++) {
    let at = (position * KV_HEADS + kvHead) * QUADS;
    var products = vec4f();
    for (var i = 0u; i < QUADS; i++) { products += q[id.x * QUADS + i] * unpackKv(keys[at + i]); }
    let score = dot(products, vec4f(scale));
    if (score > most) { // rare after the first few keys
      let fade = exp(most - score);
      for (var i = 0u; i < QUADS; i++) { sum[i] *= fade; }
      total *= fade;
      most = score;
    }
    let weight = exp(score - most);
    total += weight;
    for (var i = 0u; i < QUADS; i++) { sum[i] += weight * unpackKv(values[at + i]); }
  }
  for (var i = 0u; i < QUADS; i++) {
    let gate = qGate[(id.x * 2u + 1u) * QUADS + i];
    y[id.x * QUADS + i] = sum[i] / total / (1.0 + exp(-gate));
  }
}

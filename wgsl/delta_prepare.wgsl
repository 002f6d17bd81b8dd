// delta_prepare: what comes before the delta rule of one token, in one dispatch: causal depthwise convolution over time (kernel 4)
// and SiLU as conv1d_silu; the L2 norms of query and key heads as delta_qk_norm; the gates as delta_gates.
//   x [CHANNELS] f32: KEY_HEADS q heads, KEY_HEADS k heads of KEY_DIM each, then VALUE_HEADS v heads of VALUE_DIM each
//   a, b [VALUE_HEADS] f32;  qkv [CHANNELS] f32;  gates [VALUE_HEADS] (g, beta) f32
//   state [slots, 3, CHANNELS] f32, the last three inputs, oldest first: moves from step.sourceSlot to step.targetSlot
//   weights: record.a = (conv w [CHANNELS, 4], -exp(A_log) [VALUE_HEADS], dt_bias [VALUE_HEADS]) f32
// One workgroup per head, a lane per four channels. A step of no tokens leaves the state as it is. 4 divides both dims.
override KEY_HEADS: u32; override VALUE_HEADS: u32; override KEY_DIM: u32; override VALUE_DIM: u32;
override CHANNELS: u32 = 2u * KEY_HEADS * KEY_DIM + VALUE_HEADS * VALUE_DIM;
override STEPS: u32 = (max(KEY_DIM, VALUE_DIM) / 4u + LANES - 1u) / LANES;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> qkv: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> gates: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> state: array<vec4f>;
@group(0) @binding(6) var<uniform> step: Step;

/// The convolved quad, before its norm; the window moves on.
fn convolved(quad: u32) -> vec4f {
  let row = CHANNELS / 4u;
  let source = step.sourceSlot * 3u * row + quad;
  let goal = step.targetSlot * 3u * row + quad;
  let s0 = state[source];
  let s1 = state[source + row];
  let s2 = state[source + 2u * row];
  let now = x[quad];
  let w = record.a.x + quad * 4u;
  let taps = transpose(mat4x4f(parameter4(w), parameter4(w + 1u), parameter4(w + 2u), parameter4(w + 3u)));
  let sum = taps[0] * s0 + taps[1] * s1 + taps[2] * s2 + taps[3] * now;
  let moves = step.tokens > 0u;
  state[goal] = select(s0, s1, moves);
  state[goal + row] = select(s1, s2, moves);
  state[goal + 2u * row] = select(s2, now, moves);
  return sum / (1.0 + exp(-sum));
}

fn gate(head: u32) {
  let negExpA = parameter4(record.a.y + head / 4u)[head % 4u];
  let dtBias = parameter4(record.a.z + head / 4u)[head % 4u];
  gates[head] = vec2f(negExpA * softplus(a[head] + dtBias), 1.0 / (1.0 + exp(-b[head])));
}

@compute @workgroup_size(LANES)
fn main(lane: Lane, @builtin(workgroup_id) wg: vec3u) {
  let isValue = wg.x >= 2u * KEY_HEADS;
  let head = wg.x - 2u * KEY_HEADS; // of values
  let quads = select(KEY_DIM, VALUE_DIM, isValue) / 4u;
  let base = select(wg.x * KEY_DIM, 2u * KEY_HEADS * KEY_DIM + head * VALUE_DIM, isValue) / 4u;
  if (isValue) {
    for (var t = 0u; t < STEPS; t++) {
      let quad = t * LANES + lane.index;
      if (quad < quads) { qkv[base + quad] = convolved(base + quad); }
    }
    if (lane.index == 0u) { gate(head); }
    return;
  }
  var own = vec4f(); // KEY_DIM <= 256: a lane has one quad
  if (lane.index < quads) { own = convolved(base + lane.index); }
  let squares = reduceAdd(own * own, lane);
  let scale = inverseSqrt(dot(squares, vec4f(1.0)) + 1e-6) * select(1.0, inverseSqrt(f32(KEY_DIM)), wg.x < KEY_HEADS);
  if (lane.index < quads) { qkv[base + lane.index] = own * scale; }
}

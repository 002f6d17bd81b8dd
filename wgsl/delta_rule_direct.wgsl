// delta_rule_direct: the gated delta rule, token by token, without workgroup memory or barriers, for CPU adapters (see gemv_direct).
// Per value head, with key head h / (VALUE_HEADS / KEY_HEADS):  S <- e^g S;  d = beta (v - S^T k);  S <- S + k d^T;  o = S^T q
//   qkv [tokens, CHANNELS] f32 after delta_qk_norm;  gates [tokens, VALUE_HEADS] (g, beta) f32
//   o [tokens, VALUE_HEADS, VALUE_DIM] f32;  state [slots, VALUE_HEADS, KEY_DIM, VALUE_DIM] f32
// One thread per four columns of one head's S, which no other thread touches, so S stays in the state buffer.
// 4 divides KEY_DIM and VALUE_DIM.
override KEY_HEADS: u32; override VALUE_HEADS: u32; override KEY_DIM: u32; override VALUE_DIM: u32;
override CHANNELS: u32 = 2u * KEY_HEADS * KEY_DIM + VALUE_HEADS * VALUE_DIM;
override VALUE_QUADS: u32 = VALUE_DIM / 4u;
@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> gates: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> o: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> state: array<vec4f>;
@group(0) @binding(4) var<uniform> step: Step;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let head = id.x / VALUE_QUADS;
  let quad = id.x % VALUE_QUADS;
  if (head >= VALUE_HEADS) { return; }
  let keyHead = head / (VALUE_HEADS / KEY_HEADS);
  let goal = (step.targetSlot * VALUE_HEADS + head) * KEY_DIM * VALUE_QUADS + quad;
  var source = (step.sourceSlot * VALUE_HEADS + head) * KEY_DIM * VALUE_QUADS + quad;
  for (var token = 0u; token < step.tokens; token++) {
    let base = token * CHANNELS / 4u;
    let queryAt = base + keyHead * KEY_DIM / 4u;
    let keyAt = base + (KEY_HEADS + keyHead) * KEY_DIM / 4u;
    let gate = gates[token * VALUE_HEADS + head];
    let decay = exp(gate.x);
    var predicted = vec4f();
    for (var row = 0u; row < KEY_DIM; row += 4u) {
      let k = qkv[keyAt + row / 4u];
      predicted += k.x * state[source + row * VALUE_QUADS] + k.y * state[source + (row + 1u) * VALUE_QUADS]
        + k.z * state[source + (row + 2u) * VALUE_QUADS] + k.w * state[source + (row + 3u) * VALUE_QUADS];
    }
    let v = qkv[base + KEY_HEADS * KEY_DIM / 2u + head * VALUE_QUADS + quad];
    let d = gate.y * (v - decay * predicted);
    var out = vec4f();
    for (var row = 0u; row < KEY_DIM; row += 4u) {
      let k = qkv[keyAt + row / 4u];
      let q = qkv[queryAt + row / 4u];
      for (var i = 0u; i < 4u; i++) {
        let s = decay * state[source + (row + i) * VALUE_QUADS] + k[i] * d;
        state[goal + (row + i) * VALUE_QUADS] = s;
        out += q[i] * s;
      }
    }
    o[(token * VALUE_HEADS + head) * VALUE_QUADS + quad] = out;
    source = goal;
  }
}

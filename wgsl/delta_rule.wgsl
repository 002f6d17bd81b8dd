// delta_rule: the gated delta rule, token by token. Per value head, with key head h / (VALUE_HEADS / KEY_HEADS):
//   S <- e^g S;  d = beta (v - S^T k);  S <- S + k d^T;  o = S^T q
//   qkv [tokens, CHANNELS] f32 after delta_qk_norm;  gates [tokens, VALUE_HEADS] (g, beta) f32
//   o [tokens, VALUE_HEADS, VALUE_DIM] f32;  state [slots, VALUE_HEADS, KEY_DIM, VALUE_DIM] f32
// One workgroup per (value head, 16 columns of S): columns are independent. Its tile of S stays in workgroup memory
// (8 KiB at KEY_DIM 128) and is read and written once; 16 parts of the key dimension by four column quads make 64 lanes.
// Needs no weights, so advancing by the first j of a step's tokens can be replayed from its qkv and gates alone.
// 4 divides KEY_DIM <= 128; 16 divides VALUE_DIM.
override KEY_HEADS: u32; override VALUE_HEADS: u32; override KEY_DIM: u32; override VALUE_DIM: u32;
override CHANNELS: u32 = 2u * KEY_HEADS * KEY_DIM + VALUE_HEADS * VALUE_DIM;
@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> gates: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> o: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> state: array<vec4f>;
@group(0) @binding(4) var<uniform> step: Step;
var<workgroup> tile: array<vec4f, 512>; // [KEY_DIM][4 quads]
var<workgroup> key: array<f32, 128>;
var<workgroup> query: array<f32, 128>;
var<workgroup> parts: array<vec4f, 64>; // [16 parts][4 quads]

/// The sum over the 16 parts of one column quad, in every lane of that quad.
fn sumParts(value: vec4f, thread: u32) -> vec4f {
  workgroupBarrier();
  parts[thread] = value;
  workgroupBarrier();
  var sum = vec4f();
  for (var part = 0u; part < 16u; part++) { sum += parts[part * 4u + thread % 4u]; }
  return sum;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let head = wg.y;
  let keyHead = head / (VALUE_HEADS / KEY_HEADS);
  let quad = thread % 4u;
  let part = thread / 4u;
  let columnQuad = wg.x * 4u + quad; // of VALUE_DIM / 4
  let stride = VALUE_DIM / 4u;
  let source = (step.sourceSlot * VALUE_HEADS + head) * KEY_DIM * stride + columnQuad;
  for (var row = part; row < KEY_DIM; row += 16u) { tile[row * 4u + quad] = state[source + row * stride]; }
  for (var token = 0u; token < step.tokens; token++) {
    workgroupBarrier();
    for (var i = thread; i < KEY_DIM; i += 64u) {
      query[i] = qkv[token * CHANNELS + keyHead * KEY_DIM + i];
      key[i] = qkv[token * CHANNELS + (KEY_HEADS + keyHead) * KEY_DIM + i];
    }
    workgroupBarrier();
    let gate = gates[token * VALUE_HEADS + head];
    let decay = exp(gate.x);
    var predicted = vec4f();
    for (var row = part; row < KEY_DIM; row += 16u) {
      let s = tile[row * 4u + quad] * decay;
      tile[row * 4u + quad] = s;
      predicted += key[row] * s;
    }
    predicted = sumParts(predicted, thread);
    let at = token * CHANNELS + 2u * KEY_HEADS * KEY_DIM + head * VALUE_DIM + columnQuad * 4u;
    let d = gate.y * (vec4f(qkv[at], qkv[at + 1u], qkv[at + 2u], qkv[at + 3u]) - predicted);
    var out = vec4f();
    for (var row = part; row < KEY_DIM; row += 16u) {
      let s = tile[row * 4u + quad] + key[row] * d;
      tile[row * 4u + quad] = s;
      out += query[row] * s;
    }
    out = sumParts(out, thread);
    if (part == 0u) { o[(token * VALUE_HEADS + head) * stride + columnQuad] = out; }
  }
  let goal = (step.targetSlot * VALUE_HEADS + head) * KEY_DIM * stride + columnQuad;
  for (var row = part; row < KEY_DIM; row += 16u) { state[goal + row * stride] = tile[row * 4u + quad]; }
}

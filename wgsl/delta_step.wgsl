// delta_step: the gated delta rule for one token, and the output norm behind it. Per value head, with key head
// h / (VALUE_HEADS / KEY_HEADS):  S <- e^g S;  d = beta (v - S^T k);  S <- S + k d^T;  o = S^T q
//   y = o * (mean(o^2) + EPS)^-1/2 * w * silu(z)
//   qkv [CHANNELS] f32 and (g, beta) of a head from heads_*;  z [VALUE_HEADS, VALUE_DIM] f32
//   units: y [VALUE_HEADS * VALUE_DIM] as emit_* writes it;  weights: record.a.x = w [VALUE_DIM] f32, plain
//   state [slots, VALUE_HEADS, KEY_DIM, VALUE_DIM] f32 moves from step.sourceSlot to step.targetSlot; a step of no tokens leaves it
// One workgroup per value head: VALUE_DIM / 4 column quads by as many parts of the key dimension as make 256 threads. The state is
// read from memory once, and once more from a cache, which is cheaper than keeping it in registers that an index may spill.
// 4 divides KEY_DIM <= 128; VALUE_DIM is 32, 64, 128, 256, 512 or 1024.
override KEY_HEADS: u32; override VALUE_HEADS: u32; override KEY_DIM: u32; override VALUE_DIM: u32; override EPS: f32;
override CHANNELS: u32 = 2u * KEY_HEADS * KEY_DIM + VALUE_HEADS * VALUE_DIM;
override QUADS: u32 = VALUE_DIM / 4u;
override PARTS: u32 = 256u / QUADS;
override ROWS: u32 = (KEY_DIM + PARTS - 1u) / PARTS;
@group(0) @binding(0) var<storage, read_write> units: array<Emitted>;
@group(0) @binding(3) var<storage, read> z: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> state: array<vec4f>;
@group(0) @binding(5) var<uniform> step: Step;
var<workgroup> key: array<f32, 128>;
var<workgroup> query: array<f32, 128>;
var<workgroup> parts: array<vec4f, 256>; // [part, quad], then o
var<workgroup> squares: array<f32, 256>;

/// The sum over the parts of one column quad, in every thread of that quad.
fn sumParts(value: vec4f, thread: u32) -> vec4f {
  workgroupBarrier();
  parts[thread] = value;
  workgroupBarrier();
  var sum = vec4f();
  for (var part = 0u; part < PARTS; part++) { sum += parts[part * QUADS + thread % QUADS]; }
  return sum;
}

fn value(quad: u32, at: u32, scale: f32) -> vec4f {
  let gate = z[at + quad];
  return parts[quad] * scale * parameter4(record.a.x + quad) * gate / (1.0 + exp(-gate));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let head = wg.x;
  let keyHead = head / (VALUE_HEADS / KEY_HEADS);
  let quad = thread % QUADS;
  let part = thread / QUADS;
  loadKey(keyHead, thread);
  workgroupBarrier();
  let gate = gateOf(head);
  let moves = step.tokens > 0u;
  let decay = select(1.0, exp(gate.x), moves);
  let beta = select(0.0, gate.y, moves);
  let source = (step.sourceSlot * VALUE_HEADS + head) * KEY_DIM * QUADS + quad;
  let goal = (step.targetSlot * VALUE_HEADS + head) * KEY_DIM * QUADS + quad;
  var predicted = vec4f();
  for (var i = 0u; i < ROWS; i++) {
    let row = i * PARTS + part;
    if (row < KEY_DIM) { predicted += key[row] * (state[source + row * QUADS] * decay); }
  }
  predicted = sumParts(predicted, thread);
  let at = 2u * KEY_HEADS * KEY_DIM + head * VALUE_DIM + quad * 4u;
  let d = beta * (vec4f(qkv[at], qkv[at + 1u], qkv[at + 2u], qkv[at + 3u]) - predicted);
  var out = vec4f();
  for (var i = 0u; i < ROWS; i++) {
    let row = i * PARTS + part;
    if (row < KEY_DIM) {
      let s = state[source + row * QUADS] * decay + key[row] * d;
      state[goal + row * QUADS] = s;
      out += query[row] * s;
    }
  }
  out = sumParts(out, thread);
  workgroupBarrier();
  if (thread < QUADS) {
    parts[thread] = out;
    squares[thread] = dot(out, out);
  }
  workgroupBarrier();
  if (thread >= QUADS / 8u) { return; }
  var sum = 0.0;
  for (var i = 0u; i < QUADS; i++) { sum += squares[i]; }
  let scale = inverseSqrt(sum / f32(VALUE_DIM) + EPS);
  let own = thread * 8u;
  let first = head * QUADS;
  emit(head * (QUADS / 8u) + thread, Values(
    value(own, first, scale), value(own + 1u, first, scale), value(own + 2u, first, scale), value(own + 3u, first, scale),
    value(own + 4u, first, scale), value(own + 5u, first, scale), value(own + 6u, first, scale), value(own + 7u, first, scale)));
}

// delta_step: the gated delta rule for one token, and the output norm behind it, for products that read f32. Per value head, with key head
// h / (VALUE_HEADS / KEY_HEADS):  S <- e^g S;  d = beta (v - S^T k);  S <- S + k d^T;  o = S^T q
//   y = o * (mean(o^2) + EPS)^-1/2 * w * silu(z)
//   qkv [CHANNELS] f32 and (g, beta) of a head from heads_*;  z [VALUE_HEADS, VALUE_DIM] f32
//   y [VALUE_HEADS, VALUE_DIM] f32;  weights: record.a.x = w [VALUE_DIM] f32, plain
//   state [slots, VALUE_HEADS, KEY_DIM, VALUE_DIM] f32 moves from step.sourceSlot to step.targetSlot; a step of no tokens leaves it
// One workgroup per value head: VALUE_DIM / 4 column quads by as many parts of the key dimension as make 256 threads. A thread asks for its
// rows of the state before it finds out anything else, sixteen at a time; where it has no more, which VALUE_DIM <= 128 gives, they stay in
// registers, else they are read once more.
// How it reads and writes them is in state_rows. 4 divides KEY_DIM <= 128; VALUE_DIM is 32, 64, 128, 256, 512 or 1024.
override KEY_HEADS: u32; override VALUE_HEADS: u32; override KEY_DIM: u32; override VALUE_DIM: u32; override EPS: f32;
override CHANNELS: u32 = 2u * KEY_HEADS * KEY_DIM + VALUE_HEADS * VALUE_DIM;
override QUADS: u32 = VALUE_DIM / 4u;
override PARTS: u32 = 256u / QUADS;
override WHOLE: bool = KEY_DIM % (16u * PARTS) == 0u;
override CHUNKS: u32 = (KEY_DIM + 16u * PARTS - 1u) / (16u * PARTS);
@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<storage, read> z: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> state: array<vec4f>;
@group(0) @binding(5) var<uniform> step: Step;
/// Zero past the end.
var<workgroup> key: array<f32, 16u * CHUNKS * PARTS>;
var<workgroup> query: array<f32, 16u * CHUNKS * PARTS>;
var<workgroup> parts: array<vec4f, 256>; // [part, quad]
var<workgroup> squares: array<f32, 256>;

/// Sixteen rows of one column quad, every PARTSth of the state: a column of a matrix each.
struct Sixteen { a: mat4x4f, b: mat4x4f, c: mat4x4f, d: mat4x4f };

fn sixteenRows(begin: u32, row: u32) -> Sixteen {
  return Sixteen(fourRows(begin, row), fourRows(begin, row + 4u * PARTS), fourRows(begin, row + 8u * PARTS), fourRows(begin, row + 12u * PARTS));
}

/// S^T k of sixteen rows.
fn predict(s: Sixteen, row: u32) -> vec4f {
  return (s.a * fourKeys(row) + s.b * fourKeys(row + 4u * PARTS)) + (s.c * fourKeys(row + 8u * PARTS) + s.d * fourKeys(row + 12u * PARTS));
}

/// The sum over the parts of one column quad, in every thread of that quad.
fn sumParts(value: vec4f, thread: u32) -> vec4f {
  workgroupBarrier();
  parts[thread] = value;
  workgroupBarrier();
  var sum = vec4f();
  for (var part = 0u; part < PARTS; part++) { sum += parts[part * QUADS + thread % QUADS]; }
  return sum;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let head = wg.x;
  let keyHead = head / (VALUE_HEADS / KEY_HEADS);
  let quad = thread % QUADS;
  let part = thread / QUADS;
  let source = (step.sourceSlot * VALUE_HEADS + head) * KEY_DIM * QUADS + quad;
  let goal = (step.targetSlot * VALUE_HEADS + head) * KEY_DIM * QUADS + quad;
  var s = sixteenRows(source, part);
  loadKey(keyHead, thread);
  workgroupBarrier();
  let gate = gateOf(head);
  let moves = step.tokens > 0u;
  let decay = select(1.0, exp(gate.x), moves);
  let beta = select(0.0, gate.y, moves);
  var predicted = predict(s, part);
  for (var i = 1u; i < CHUNKS; i++) {
    let row = i * 16u * PARTS + part;
    predicted += predict(sixteenRows(source, row), row);
  }
  predicted = sumParts(predicted * decay, thread);
  let at = 2u * KEY_HEADS * KEY_DIM + head * VALUE_DIM + quad * 4u;
  let d = beta * (vec4f(qkv[at], qkv[at + 1u], qkv[at + 2u], qkv[at + 3u]) - predicted);
  var out = vec4f();
  for (var i = 0u; i < CHUNKS; i++) {
    let row = i * 16u * PARTS + part;
    if (i > 0u) { s = sixteenRows(source, row); }
    out += moveFour(s.a, goal, row, decay, d) + moveFour(s.b, goal, row + 4u * PARTS, decay, d) +
      moveFour(s.c, goal, row + 8u * PARTS, decay, d) + moveFour(s.d, goal, row + 12u * PARTS, decay, d);
  }
  out = sumParts(out, thread);
  workgroupBarrier();
  if (thread < QUADS) { squares[thread] = dot(out, out); }
  workgroupBarrier();
  if (thread < QUADS) {
    var sum = 0.0;
    for (var i = 0u; i < QUADS; i++) { sum += squares[i]; }
    let scale = inverseSqrt(sum / f32(VALUE_DIM) + EPS);
    let gate = z[head * QUADS + thread];
    y[head * QUADS + thread] = out * scale * parameter4(record.a.x + thread) * gate / (1.0 + exp(-gate));
  }
}

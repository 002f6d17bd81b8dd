// delta_step_units: the gated delta rule for one token as delta_step, and of the output norm behind it what needs no sum over the head.
// Per value head, with key head h / (VALUE_HEADS / KEY_HEADS):  S <- e^g S;  d = beta (v - S^T k);  S <- S + k d^T;  o = S^T q
//   qkv [CHANNELS] f32 and (g, beta) of a head from heads_*;  z [VALUE_HEADS, VALUE_DIM] f32
//   units: o * w * silu(z) [VALUE_HEADS * VALUE_DIM] as emit_* writes it;  squares [VALUE_HEADS * VALUE_DIM / 32] f32: sum(o^2) of each unit
//   weights: record.a.x = w [VALUE_DIM] f32, plain
//   state [slots, VALUE_HEADS, KEY_DIM, VALUE_DIM] f32 moves from step.sourceSlot to step.targetSlot; a step of no tokens leaves it
// One workgroup per 32 columns of S, a unit of y: columns do not meet but in the norm, and 16 to 48 heads are too few workgroups for a large
// GPU. So the norm's scale is left to the product that reads the units, which multiplies what each of them gives by it (scale_heads). Finding it
// here would take a dispatch of its own, or all of a head in one place again.
// A workgroup is 8 column quads by PARTS parts of the key dimension. A thread asks for its eight rows of the state before it finds out anything
// else; they stay in registers (state_rows). What concerns a column alone, a thread for each column does.
// 4 divides KEY_DIM <= 128; 32 divides VALUE_DIM.
override KEY_HEADS: u32; override VALUE_HEADS: u32; override KEY_DIM: u32; override VALUE_DIM: u32;
override QUADS: u32 = VALUE_DIM / 4u;
override HEAD_UNITS: u32 = VALUE_DIM / 32u;
override WHOLE: bool = KEY_DIM == 128u;
const PARTS = 16u;
const EMITTERS = 4u;
@group(0) @binding(0) var<storage, read_write> units: array<Emitted>;
@group(0) @binding(3) var<storage, read> z: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> state: array<vec4f>;
@group(0) @binding(5) var<uniform> step: Step;
@group(0) @binding(6) var<storage, read_write> squares: array<f32>;
/// Zero past the end.
var<workgroup> key: array<f32, 128>;
var<workgroup> query: array<f32, 128>;
var<workgroup> parts: array<vec4f, 128>; // [part, quad]
var<workgroup> columns: array<f32, 32>;

/// The sum over the parts of one column.
fn sumParts(column: u32) -> f32 {
  var sum = 0.0;
  for (var part = 0u; part < PARTS; part++) { sum += parts[part * 8u + column / 4u][column % 4u]; }
  return sum;
}

fn columnQuad(quad: u32) -> vec4f {
  return vec4f(columns[4u * quad], columns[4u * quad + 1u], columns[4u * quad + 2u], columns[4u * quad + 3u]);
}

fn silu(x: vec4f) -> vec4f { return x / (1.0 + exp(-x)); }

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let unit = wg.x;
  let head = unit / HEAD_UNITS;
  let quad = thread % 8u;
  let part = thread / 8u;
  let first = unit % HEAD_UNITS * 8u + quad;
  let source = (step.sourceSlot * VALUE_HEADS + head) * KEY_DIM * QUADS + first;
  let goal = (step.targetSlot * VALUE_HEADS + head) * KEY_DIM * QUADS + first;
  let low = fourRows(source, part);
  let high = fourRows(source, part + 4u * PARTS);
  let column = thread < 32u;
  let emits = thread < EMITTERS;
  var v = 0.0;
  if (column) { v = qkv[2u * KEY_HEADS * KEY_DIM + unit * 32u + thread]; }
  var w = Quarter();
  var zs = Quarter();
  if (emits) {
    w = ownWeights(record.a.x, unit % HEAD_UNITS, thread);
    zs = Quarter(z[unit * 8u + 2u * thread], z[unit * 8u + 2u * thread + 1u]);
  }
  let gate = gateOf(head);
  loadKey(head / (VALUE_HEADS / KEY_HEADS), thread);
  if (emits) { w = Quarter(w.a * silu(zs.a), w.b * silu(zs.b)); }
  workgroupBarrier();
  let moves = step.tokens > 0u;
  let decay = select(1.0, exp(gate.x), moves);
  let beta = select(0.0, gate.y, moves);
  parts[thread] = low * fourKeys(part) + high * fourKeys(part + 4u * PARTS);
  workgroupBarrier();
  if (column) { columns[thread] = beta * (v - sumParts(thread) * decay); }
  workgroupBarrier();
  let d = columnQuad(quad);
  parts[thread] = moveFour(low, goal, part, decay, d) + moveFour(high, goal, part + 4u * PARTS, decay, d);
  workgroupBarrier();
  if (column) { columns[thread] = sumParts(thread); }
  workgroupBarrier();
  let own = thread % EMITTERS * 2u;
  weigh(unit, thread, emits, Quarter(columnQuad(own), columnQuad(own + 1u)), w);
}

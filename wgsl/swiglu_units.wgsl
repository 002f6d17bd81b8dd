// swiglu_units: swiglu of one token: y = silu(gate) * up.
//   gate, up [COLS] f32;  units: y [COLS] as emit_* writes it. Four threads a unit of 32 values. 32 divides COLS.
// Values pass through workgroup memory as those of gate_up_q4_units do, so that a compiler can no more fuse the last product with what emit
// adds up, and both give the same bits.
override COLS: u32;
const EMITTERS = 64u;
@group(0) @binding(0) var<storage, read_write> units: array<Emitted>;
@group(0) @binding(1) var<storage, read> gate: array<vec4f>;
@group(0) @binding(2) var<storage, read> up: array<vec4f>;
var<workgroup> y: array<vec4f, 128>;

fn value(i: u32) -> vec4f { return gate[i] / (1.0 + exp(-gate[i])) * up[i]; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let unit = wg.x * 16u + thread / 4u;
  for (var i = thread; i < 128u; i += 64u) {
    if (wg.x * 128u + i < COLS / 4u) { y[i] = value(wg.x * 128u + i); }
  }
  workgroupBarrier();
  emit(unit, thread, unit < COLS / 32u, y[2u * thread], y[2u * thread + 1u]);
}

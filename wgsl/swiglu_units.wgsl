// swiglu_units: swiglu of one token: y = silu(gate) * up.
//   gate, up [COLS] f32;  units: y [COLS] as emit_* writes it. One thread per unit of 32 values. 32 divides COLS.
// Values pass through workgroup memory as those of gate_up_q4_units do, so that a compiler can no more fuse the last product with what emit
// adds up, and both give the same bits.
override COLS: u32;
@group(0) @binding(0) var<storage, read_write> units: array<Emitted>;
@group(0) @binding(1) var<storage, read> gate: array<vec4f>;
@group(0) @binding(2) var<storage, read> up: array<vec4f>;
var<workgroup> y: array<vec4f, 512>;

fn value(i: u32) -> vec4f { return gate[i] / (1.0 + exp(-gate[i])) * up[i]; }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let unit = wg.x * 64u + thread;
  for (var i = thread; i < 512u; i += 64u) {
    if (wg.x * 512u + i < COLS / 4u) { y[i] = value(wg.x * 512u + i); }
  }
  workgroupBarrier();
  if (unit >= COLS / 32u) { return; }
  let at = thread * 8u;
  emit(unit, Values(y[at], y[at + 1u], y[at + 2u], y[at + 3u], y[at + 4u], y[at + 5u], y[at + 6u], y[at + 7u]));
}

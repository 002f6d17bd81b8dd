// quantise: x in units of 32 values for gemv_q4_units and gemm_q4_few_int: see emit_*, which comes first.
//   x [tokens, COLS] f32;  units [tokens, COLS/32]. Four threads a unit.
override COLS: u32;
const EMITTERS = 64u;
@group(0) @binding(0) var<storage, read_write> units: array<Emitted>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<uniform> step: Step;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let unit = wg.x * 16u + thread / 4u;
  let at = unit * 8u + thread % 4u * 2u;
  emit(unit, thread, unit < COLS / 32u * step.tokens, x[at], x[at + 1u]);
}

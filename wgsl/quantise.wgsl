// quantise: x in units of 32 values for gemv_q4_units and gemm_q4_few_int: see emit_*, which comes first.
//   x [tokens, COLS] f32;  units [tokens, COLS/32]. One thread per unit.
override COLS: u32;
@group(0) @binding(0) var<storage, read_write> units: array<Emitted>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<uniform> step: Step;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let unit = id.x;
  if (unit >= COLS / 32u * step.tokens) { return; }
  let at = unit * 8u;
  emit(unit, Values(x[at], x[at + 1u], x[at + 2u], x[at + 3u], x[at + 4u], x[at + 5u], x[at + 6u], x[at + 7u]));
}

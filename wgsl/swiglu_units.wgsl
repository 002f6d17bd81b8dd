// swiglu_units: swiglu of one token: y = silu(gate) * up.
//   gate, up [COLS] f32;  units: y [COLS] as emit_f32 or emit_int writes it. One thread per unit of 32 values. 32 divides COLS.
override COLS: u32;
@group(0) @binding(0) var<storage, read_write> units: array<Emitted>;
@group(0) @binding(1) var<storage, read> gate: array<vec4f>;
@group(0) @binding(2) var<storage, read> up: array<vec4f>;

fn value(i: u32) -> vec4f { return gate[i] / (1.0 + exp(-gate[i])) * up[i]; }

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let unit = id.x;
  if (unit >= COLS / 32u) { return; }
  let at = unit * 8u;
  emit(unit, Values(
    value(at), value(at + 1u), value(at + 2u), value(at + 3u), value(at + 4u), value(at + 5u), value(at + 6u), value(at + 7u)));
}

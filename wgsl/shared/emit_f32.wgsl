// emit_f32: a unit of 32 neighbouring activations, written as f32. y [COLS].
@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;

struct Values { v0: vec4f, v1: vec4f, v2: vec4f, v3: vec4f, v4: vec4f, v5: vec4f, v6: vec4f, v7: vec4f };

fn emit(unit: u32, v: Values) {
  let at = unit * 8u;
  y[at] = v.v0; y[at + 1u] = v.v1; y[at + 2u] = v.v2; y[at + 3u] = v.v3;
  y[at + 4u] = v.v4; y[at + 5u] = v.v5; y[at + 6u] = v.v6; y[at + 7u] = v.v7;
}

// emit_f32: a unit of 32 neighbouring activations, written as f32 into `units`, which whoever writes declares: [COLS].
alias Emitted = vec4f;

struct Values { v0: vec4f, v1: vec4f, v2: vec4f, v3: vec4f, v4: vec4f, v5: vec4f, v6: vec4f, v7: vec4f };

fn emit(unit: u32, v: Values) {
  let at = unit * 8u;
  units[at] = v.v0; units[at + 1u] = v.v1; units[at + 2u] = v.v2; units[at + 3u] = v.v3;
  units[at + 4u] = v.v4; units[at + 5u] = v.v5; units[at + 6u] = v.v6; units[at + 7u] = v.v7;
}

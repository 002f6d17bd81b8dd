// emit_f32x32: a unit of 32 neighbouring activations, written as f32 for gemv_q4_units.
//   units [COLS/32], which whoever writes declares, of 9 vec4f, which lie as unit_layout says: its values; then the sum of these eight
alias Emitted = vec4f;

struct Values { v0: vec4f, v1: vec4f, v2: vec4f, v3: vec4f, v4: vec4f, v5: vec4f, v6: vec4f, v7: vec4f };

fn emit(unit: u32, v: Values) {
  let at = firstPiece(unit);
  units[at] = v.v0;
  units[at + pieceStep] = v.v1;
  units[at + 2u * pieceStep] = v.v2;
  units[at + 3u * pieceStep] = v.v3;
  units[at + 4u * pieceStep] = v.v4;
  units[at + 5u * pieceStep] = v.v5;
  units[at + 6u * pieceStep] = v.v6;
  units[at + 7u * pieceStep] = v.v7;
  units[at + 8u * pieceStep] = (v.v0 + v.v1 + v.v2 + v.v3) + (v.v4 + v.v5 + v.v6 + v.v7);
}

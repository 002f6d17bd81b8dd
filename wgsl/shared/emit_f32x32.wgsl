// emit_f32x32: a unit of 32 neighbouring activations, written as f32 for gemv_q4_units.
//   units [COLS/32], which whoever writes declares, of 9 vec4f, which lie as unit_layout says: its values; then the sum of these eight
// Four threads share a unit, of which a workgroup writes EMITTERS / 4.
alias Emitted = vec4f;
var<workgroup> quarterSums: array<vec4f, EMITTERS>;

/// Columns [8 * (thread % 4), + 8) of a unit, where the thread `writes` some: one below EMITTERS. All threads of a workgroup call it.
fn emit(unit: u32, thread: u32, writes: bool, a: vec4f, b: vec4f) {
  let quarter = thread % 4u;
  let at = firstPiece(unit);
  if (writes) {
    units[at + 2u * quarter * pieceStep] = a;
    units[at + (2u * quarter + 1u) * pieceStep] = b;
    quarterSums[thread] = a + b;
  }
  workgroupBarrier();
  if (!writes || quarter > 0u) { return; }
  units[at + 8u * pieceStep] =
    (quarterSums[thread] + quarterSums[thread + 1u]) + (quarterSums[thread + 2u] + quarterSums[thread + 3u]);
}

// emit_f32: a unit of 32 neighbouring activations, written as f32 into `units`, which whoever writes declares: [COLS].
alias Emitted = vec4f;

/// Columns [8 * (thread % 4), + 8) of a unit, where the thread `writes` some. All threads of a workgroup call it.
fn emit(unit: u32, thread: u32, writes: bool, a: vec4f, b: vec4f) {
  if (!writes) { return; }
  let at = unit * 8u + thread % 4u * 2u;
  units[at] = a;
  units[at + 1u] = b;
}

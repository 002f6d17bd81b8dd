// weigh: what of an RMSNorm each unit of x can have before all of x is there: x * w as emit_* writes it, and the sum of its
// squares. What reads it multiplies its results by the scale that the squares of all units give (norm_scale).
//   squares [units] f32
var<workgroup> quarterSquares: array<f32, EMITTERS>;

/// Eight neighbouring values.
struct Quarter { a: vec4f, b: vec4f };

/// Those of w, which begins at `first` in `parameters`, that thread `thread` of a unit meets.
fn ownWeights(first: u32, unit: u32, thread: u32) -> Quarter {
  let at = first + unit * 8u + thread % 4u * 2u;
  return Quarter(parameter4(at), parameter4(at + 1u));
}

/// Of the columns that emit would have of the thread. All threads of a workgroup call it.
fn weigh(unit: u32, thread: u32, writes: bool, x: Quarter, w: Quarter) {
  if (writes) { quarterSquares[thread] = dot(x.a * x.a + x.b * x.b, vec4f(1.0)); }
  workgroupBarrier();
  if (writes && thread % 4u == 0u) {
    squares[unit] =
      (quarterSquares[thread] + quarterSquares[thread + 1u]) + (quarterSquares[thread + 2u] + quarterSquares[thread + 3u]);
  }
  emit(unit, thread, writes, x.a * w.a, x.b * w.b);
}

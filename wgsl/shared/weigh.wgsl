// weigh: what of an RMSNorm each unit of x can have before all of x is there: x * w as emit_* writes it, and the sum of its
// squares. What reads it multiplies its results by the scale that the squares of all units give (norm_scale).
//   squares [units] f32;  `first`: where w begins in `parameters`

fn squaresOf(v: Values) -> f32 {
  let sum = (v.v0 * v.v0 + v.v1 * v.v1 + v.v2 * v.v2 + v.v3 * v.v3) + (v.v4 * v.v4 + v.v5 * v.v5 + v.v6 * v.v6 + v.v7 * v.v7);
  return dot(sum, vec4f(1.0));
}

fn weigh(unit: u32, first: u32, v: Values) {
  let w = first + unit * 8u;
  squares[unit] = squaresOf(v);
  emit(unit, Values(
    v.v0 * parameter4(w), v.v1 * parameter4(w + 1u), v.v2 * parameter4(w + 2u), v.v3 * parameter4(w + 3u),
    v.v4 * parameter4(w + 4u), v.v5 * parameter4(w + 5u), v.v6 * parameter4(w + 6u), v.v7 * parameter4(w + 7u)));
}

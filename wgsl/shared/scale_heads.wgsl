// scale_heads: x comes from delta_step_units: of an RMSNorm over each head of HEAD_UNITS units the scale is still to come, and what a unit gives
// is multiplied by it. Every lane finds it for each unit, from a vec4f that its neighbours read too, on its way while the weights are; finding
// all heads' first would let the weights wait for a barrier.
//   headSquares [COLS/32] f32, sum(o^2) of each unit, which whoever writes declares
// HEAD_UNITS is 1, 2, or a multiple of 4.
override HEAD_UNITS: u32; override HEAD_EPS: f32;
override HEAD_QUADS: u32 = (HEAD_UNITS + 3u) / 4u;

fn unitScale(unit: u32) -> f32 {
  let first = unit / HEAD_UNITS * HEAD_UNITS;
  // Of a head of one or two units: the quad has its neighbours' too.
  let own = vec4u(0u, 1u, 2u, 3u) / HEAD_UNITS == vec4u(first % 4u / HEAD_UNITS);
  var sum = vec4f();
  for (var i = 0u; i < HEAD_QUADS; i++) { sum += select(vec4f(), headSquares[first / 4u + i], own); }
  return inverseSqrt(dot(sum, vec4f(1.0)) / f32(HEAD_UNITS * 32u) + HEAD_EPS);
}

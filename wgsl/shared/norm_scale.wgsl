// norm_scale: the scale of an RMSNorm whose x came as x * w, unscaled: see weigh. A matrix commutes with a number, so the scale of a
// product's result does as well. Every team adds the squares up by itself, as one more block of sums.
//   squares [COLS/32] f32
override EPS: f32;
override SQUARES: u32 = (UNITS + LANES - 1u) / LANES;

/// This lane's share of sum(x^2), for teamPut.
fn ownSquares(place: Place) -> vec4f {
  var sum = 0.0;
  for (var t = 0u; t < SQUARES; t++) {
    let unit = t * LANES + place.lane;
    if (unit < UNITS) { sum += squares[unit]; }
  }
  return vec4f(sum, 0.0, 0.0, 0.0);
}

fn normScale(sum: f32) -> f32 { return inverseSqrt(sum / f32(COLS) + EPS); }

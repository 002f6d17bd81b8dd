// softplus: of the gates of the delta rule.
/// log(1 + e^x) without log(): 1 + tiny loses the tiny. log1p(e) = 2 atanh(e / (2 + e)), and e^-|x| <= 1 makes that argument <= 1/3.
fn softplus(x: f32) -> f32 {
  let e = exp(-abs(x));
  let s = e / (2.0 + e);
  let t = s * s;
  let series = 1.0 + t * (1.0 / 3.0 + t * (1.0 / 5.0 + t * (1.0 / 7.0 + t * (1.0 / 9.0 + t * (1.0 / 11.0 + t / 13.0)))));
  return max(x, 0.0) + 2.0 * s * series;
}

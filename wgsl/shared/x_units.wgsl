// x_units: units of an x of f32 as they are needed, for kernels with many rows a team, which read each of them once.
/// Unit `unit` of x.
fn readUnit(unit: u32) -> Unit {
  let i = unit * 8u;
  var u = Unit(x[i], x[i + 1u], x[i + 2u], x[i + 3u], x[i + 4u], x[i + 5u], x[i + 6u], x[i + 7u], 0.0, 0.0);
  let sums = unitSums(u);
  u.sum = sums.x;
  u.excess = sums.y;
  return u;
}

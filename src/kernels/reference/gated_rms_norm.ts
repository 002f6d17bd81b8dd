/** o, z [.., dim], w [dim] -> y [.., dim] = o * (mean(o^2) + eps)^-1/2 * w * silu(z). */
export function gatedRmsNormReference(
  o: ArrayLike<number>,
  z: ArrayLike<number>,
  w: ArrayLike<number>,
  eps: number,
): Float64Array {
  const dim = w.length;
  const y = new Float64Array(o.length);
  for (let head = 0; head < o.length / dim; head++) {
    let squares = 0;
    for (let i = 0; i < dim; i++) squares += o[head * dim + i]! ** 2;
    const scale = 1 / Math.sqrt(squares / dim + eps);
    for (let i = 0; i < dim; i++) {
      const gate = z[head * dim + i]!;
      y[head * dim + i] = o[head * dim + i]! * scale * w[i]! * (gate / (1 + Math.exp(-gate)));
    }
  }
  return y;
}

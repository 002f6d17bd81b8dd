/** x [tokens, cols], w [cols] -> y [tokens, cols] = x * (mean(x^2) + eps)^-1/2 * w. */
export function rmsNormReference(x: ArrayLike<number>, w: ArrayLike<number>, eps: number): Float64Array {
  const cols = w.length;
  const y = new Float64Array(x.length);
  for (let t = 0; t < x.length / cols; t++) {
    let squares = 0;
    for (let c = 0; c < cols; c++) squares += x[t * cols + c]! ** 2;
    for (let c = 0; c < cols; c++) y[t * cols + c] = (x[t * cols + c]! / Math.sqrt(squares / cols + eps)) * w[c]!;
  }
  return y;
}

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

/** The half of it that needs no sum over all of x [cols]: x * w, and the sum of squares of every 32 values [cols/32]. */
export function weighReference(x: ArrayLike<number>, w: ArrayLike<number>): { weighed: Float64Array; squares: Float64Array } {
  const squares = new Float64Array(x.length / 32);
  for (let i = 0; i < x.length; i++) squares[Math.floor(i / 32)]! += x[i]! ** 2;
  return { weighed: Float64Array.from(x, (value, i) => value * w[i]!), squares };
}

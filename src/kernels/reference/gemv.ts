/** x [tokens, cols], w [rows, cols] -> y [tokens, rows] = X W^T, for one token (GEMV) or several (GEMM). */
export function gemmReference(
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  { tokens, rows, cols }: { tokens: number; rows: number; cols: number },
): Float64Array {
  const y = new Float64Array(tokens * rows);
  for (let t = 0; t < tokens; t++) {
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let c = 0; c < cols; c++) sum += w[r * cols + c]! * x[t * cols + c]!;
      y[t * rows + r] = sum;
    }
  }
  return y;
}

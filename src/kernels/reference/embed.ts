/** ids [tokens], w [rows, cols] -> y [tokens, cols]: row ids[t] of w. */
export function embedReference(ids: ArrayLike<number>, w: ArrayLike<number>, cols: number): Float64Array {
  const y = new Float64Array(ids.length * cols);
  for (let t = 0; t < ids.length; t++) {
    for (let c = 0; c < cols; c++) y[t * cols + c] = w[ids[t]! * cols + c]!;
  }
  return y;
}

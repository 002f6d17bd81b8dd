/**
 * x [tokens, channels], w [channels, 4], state [3, channels] (the inputs before x, oldest first)
 * -> y [tokens, channels] = silu(sum over j of w[c, j] * x[t - 3 + j, c]), state [3, channels] after x.
 */
export function conv1dSiluReference(
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  state: ArrayLike<number>,
  channels: number,
): { y: Float64Array; state: Float64Array } {
  const tokens = x.length / channels;
  const input = (t: number, c: number) => (t < 0 ? state[(t + 3) * channels + c]! : x[t * channels + c]!);
  const y = new Float64Array(tokens * channels);
  const after = new Float64Array(3 * channels);
  for (let c = 0; c < channels; c++) {
    for (let t = 0; t < tokens; t++) {
      let sum = 0;
      for (let j = 0; j < 4; j++) sum += w[c * 4 + j]! * input(t - 3 + j, c);
      y[t * channels + c] = sum / (1 + Math.exp(-sum));
    }
    for (let j = 0; j < 3; j++) after[j * channels + c] = input(tokens - 3 + j, c);
  }
  return { y, state: after };
}

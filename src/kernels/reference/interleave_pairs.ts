/** Scales and biases [count] as unsigned integers of `bytes` bytes -> the little-endian words of s0 b0 s1 b1 … */
export function interleavePairsReference(scales: ArrayLike<number>, biases: ArrayLike<number>, bytes: 2 | 4): Float64Array {
  const words = new Float64Array((scales.length * 2 * bytes) / 4);
  for (let i = 0; i < scales.length; i++) {
    if (bytes === 2) words[i] = scales[i]! + biases[i]! * 2 ** 16;
    else words.set([scales[i]!, biases[i]!], 2 * i);
  }
  return words;
}

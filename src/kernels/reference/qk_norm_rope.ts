export type QkNormRopeInputs = {
  /** [tokens, heads, 2, headDim]: per head the query, then its output gate. */
  qGate: ArrayLike<number>;
  /** [tokens, kvHeads, headDim] */
  k: ArrayLike<number>;
  /** [headDim] */
  qNorm: ArrayLike<number>;
  kNorm: ArrayLike<number>;
  /** (cos, sin) by position: [capacity, rotary / 2, 2] */
  rope: ArrayLike<number>;
};

export type QkNormRopeStep = {
  tokens: number;
  position: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  rotary: number;
  eps: number;
};

/** -> q [tokens, heads, headDim], keys [tokens, kvHeads, headDim]: RMSNorm per head, then pairs (i, i + rotary / 2) turned. */
export function qkNormRopeReference(
  { qGate, k, qNorm, kNorm, rope }: QkNormRopeInputs,
  { tokens, position, heads, kvHeads, headDim, rotary, eps }: QkNormRopeStep,
): { q: Float64Array; keys: Float64Array } {
  const q = new Float64Array(tokens * heads * headDim);
  const keys = new Float64Array(tokens * kvHeads * headDim);
  const one = (from: ArrayLike<number>, start: number, norm: ArrayLike<number>, token: number): number[] => {
    let squares = 0;
    for (let i = 0; i < headDim; i++) squares += from[start + i]! ** 2;
    const x: number[] = [];
    for (let i = 0; i < headDim; i++) x.push((from[start + i]! / Math.sqrt(squares / headDim + eps)) * norm[i]!);
    const pairs = rotary / 2;
    for (let i = 0; i < pairs; i++) {
      const at = ((position + token) * pairs + i) * 2;
      const cos = rope[at]!;
      const sin = rope[at + 1]!;
      const a = x[i]!;
      const b = x[i + pairs]!;
      x[i] = a * cos - b * sin;
      x[i + pairs] = b * cos + a * sin;
    }
    return x;
  };
  for (let t = 0; t < tokens; t++) {
    for (let h = 0; h < heads; h++) q.set(one(qGate, (t * heads + h) * 2 * headDim, qNorm, t), (t * heads + h) * headDim);
    for (let h = 0; h < kvHeads; h++) keys.set(one(k, (t * kvHeads + h) * headDim, kNorm, t), (t * kvHeads + h) * headDim);
  }
  return { q, keys };
}

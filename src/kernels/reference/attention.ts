export type AttentionInputs = {
  /** [tokens, heads, headDim] */
  q: ArrayLike<number>;
  /** [tokens, heads, 2, headDim]: the gate is the second half of each head. */
  qGate: ArrayLike<number>;
  /** [position + tokens, kvHeads, headDim] */
  keys: ArrayLike<number>;
  values: ArrayLike<number>;
};

export type AttentionStep = { tokens: number; position: number; heads: number; kvHeads: number; headDim: number };

/** Causal softmax(q k^T / sqrt(headDim)) v * sigmoid(gate) -> y [tokens, heads * headDim]. */
export function attentionReference(
  { q, qGate, keys, values }: AttentionInputs,
  { tokens, position, heads, kvHeads, headDim }: AttentionStep,
): Float64Array {
  const y = new Float64Array(tokens * heads * headDim);
  for (let t = 0; t < tokens; t++) {
    for (let h = 0; h < heads; h++) {
      const kvHead = Math.floor(h / (heads / kvHeads));
      const scores: number[] = [];
      for (let p = 0; p <= position + t; p++) {
        let score = 0;
        for (let i = 0; i < headDim; i++)
          score += q[(t * heads + h) * headDim + i]! * keys[(p * kvHeads + kvHead) * headDim + i]!;
        scores.push(score / Math.sqrt(headDim));
      }
      const most = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - most));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      for (let i = 0; i < headDim; i++) {
        let sum = 0;
        for (let p = 0; p < weights.length; p++) sum += weights[p]! * values[(p * kvHeads + kvHead) * headDim + i]!;
        const gate = qGate[((t * heads + h) * 2 + 1) * headDim + i]!;
        y[(t * heads + h) * headDim + i] = sum / total / (1 + Math.exp(-gate));
      }
    }
  }
  return y;
}

/**
 * The first `used` parts of a context put together as one softmax, gated: sums [parts, heads, headDim], stats [parts, heads] (largest score,
 * sum of e^(score - largest)), qGate [heads, 2, headDim] -> [heads, headDim].
 */
export function combineReference(
  { sums, stats, qGate }: Record<'sums' | 'stats' | 'qGate', ArrayLike<number>>,
  { heads, headDim, used }: { heads: number; headDim: number; used: number },
): Float64Array {
  return Float64Array.from({ length: heads * headDim }, (_, i) => {
    const head = Math.floor(i / headDim);
    let [sum, total] = [0, 0];
    for (let part = 0; part < used; part++) {
      const weight = Math.exp(stats[2 * (part * heads + head)]!);
      sum += weight * sums[part * heads * headDim + i]!;
      total += weight * stats[2 * (part * heads + head) + 1]!;
    }
    return sum / total / (1 + Math.exp(-qGate[(2 * head + 1) * headDim + (i % headDim)]!));
  });
}

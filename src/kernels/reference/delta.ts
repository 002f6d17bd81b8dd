/** GatedDeltaNet (Yang et al., 2024), as the paper's recurrence writes it. */
import type { DeltaShape } from '../delta';

const channelsOf = ({ keyHeads, valueHeads, keyDim, valueDim }: DeltaShape) => 2 * keyHeads * keyDim + valueHeads * valueDim;

/** qkv [tokens, channels] with each q head scaled to length keyDim^-1/2 and each k head to length 1; v as it was. */
export function deltaQkNormReference(qkv: ArrayLike<number>, shape: DeltaShape): Float64Array {
  const { keyHeads, keyDim } = shape;
  const channels = channelsOf(shape);
  const y = Float64Array.from(qkv);
  for (let t = 0; t < qkv.length / channels; t++) {
    for (let head = 0; head < 2 * keyHeads; head++) {
      const base = t * channels + head * keyDim;
      let squares = 0;
      for (let i = 0; i < keyDim; i++) squares += qkv[base + i]! ** 2;
      const length = Math.sqrt(squares + 1e-6);
      for (let i = 0; i < keyDim; i++) y[base + i] = qkv[base + i]! / length / (head < keyHeads ? Math.sqrt(keyDim) : 1);
    }
  }
  return y;
}

/** a, b [tokens, heads], negExpA, dtBias [heads] -> [tokens, heads, 2]: g = negExpA * softplus(a + dtBias), beta = sigmoid(b). */
export function deltaGatesReference(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  negExpA: ArrayLike<number>,
  dtBias: ArrayLike<number>,
): Float64Array {
  const gates = new Float64Array(2 * a.length);
  for (let i = 0; i < a.length; i++) {
    const head = i % negExpA.length;
    const x = a[i]! + dtBias[head]!;
    const softplus = Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
    gates[2 * i] = negExpA[head]! * softplus;
    gates[2 * i + 1] = 1 / (1 + Math.exp(-b[i]!));
  }
  return gates;
}

/**
 * qkv [.., channels] (normalised), gates [.., valueHeads, 2], state [valueHeads, keyDim, valueDim]
 * -> o [tokens, valueHeads, valueDim] and the state after the first `tokens` of them. Per token and value head:
 * S <- e^g S;  d = beta (v - S^T k);  S <- S + k d^T;  o = S^T q.
 */
export function deltaRuleReference(
  qkv: ArrayLike<number>,
  gates: ArrayLike<number>,
  state: ArrayLike<number>,
  shape: DeltaShape,
  tokens: number,
): { o: Float64Array; state: Float64Array } {
  const { keyHeads, valueHeads, keyDim, valueDim } = shape;
  const channels = channelsOf(shape);
  const s = Float64Array.from(state);
  const o = new Float64Array(tokens * valueHeads * valueDim);
  for (let t = 0; t < tokens; t++) {
    for (let head = 0; head < valueHeads; head++) {
      const keyHead = Math.floor(head / (valueHeads / keyHeads));
      const q = (i: number) => qkv[t * channels + keyHead * keyDim + i]!;
      const k = (i: number) => qkv[t * channels + (keyHeads + keyHead) * keyDim + i]!;
      const v = (j: number) => qkv[t * channels + 2 * keyHeads * keyDim + head * valueDim + j]!;
      const decay = Math.exp(gates[(t * valueHeads + head) * 2]!);
      const beta = gates[(t * valueHeads + head) * 2 + 1]!;
      for (let j = 0; j < valueDim; j++) {
        const at = (i: number) => (head * keyDim + i) * valueDim + j;
        let predicted = 0;
        for (let i = 0; i < keyDim; i++) {
          s[at(i)]! *= decay;
          predicted += s[at(i)]! * k(i);
        }
        const d = beta * (v(j) - predicted);
        let out = 0;
        for (let i = 0; i < keyDim; i++) {
          s[at(i)]! += k(i) * d;
          out += s[at(i)]! * q(i);
        }
        o[(t * valueHeads + head) * valueDim + j] = out;
      }
    }
  }
  return { o, state: s };
}

/**
 * The state-independent half of the chunked form, chunks of `chunk` tokens, with c = cumulative sum of g in the chunk:
 *   u_i = beta_i (v_i - sum over j < i of e^(c_i - c_j) (k_i . k_j) u_j)
 *   w_i = beta_i (e^c_i k_i - sum over j < i of e^(c_i - c_j) (k_i . k_j) w_j)
 *   p_ij = e^(c_i - c_j) (q_i . k_j) for j <= i, else 0
 * -> u [chunks * chunk, valueHeads, valueDim], w [chunks * chunk, valueHeads, keyDim], p [chunks, valueHeads, chunk, chunk];
 * what lies past the last token is zero.
 */
export function deltaChunkPrepareReference(
  qkv: ArrayLike<number>,
  gates: ArrayLike<number>,
  shape: DeltaShape,
  tokens: number,
  chunk: number,
): { u: Float64Array; w: Float64Array; p: Float64Array } {
  const { keyHeads, valueHeads, keyDim, valueDim } = shape;
  const channels = channelsOf(shape);
  const chunks = Math.ceil(tokens / chunk);
  const u = new Float64Array(chunks * chunk * valueHeads * valueDim);
  const w = new Float64Array(chunks * chunk * valueHeads * keyDim);
  const p = new Float64Array(chunks * valueHeads * chunk * chunk);
  for (let first = 0; first < tokens; first += chunk) {
    for (let head = 0; head < valueHeads; head++) {
      const keyHead = Math.floor(head / (valueHeads / keyHeads));
      const q = (t: number, i: number) => qkv[t * channels + keyHead * keyDim + i]!;
      const k = (t: number, i: number) => qkv[t * channels + (keyHeads + keyHead) * keyDim + i]!;
      const v = (t: number, j: number) => qkv[t * channels + 2 * keyHeads * keyDim + head * valueDim + j]!;
      let sum = 0;
      const c: number[] = [];
      for (let i = first; i < Math.min(first + chunk, tokens); i++) {
        sum += gates[(i * valueHeads + head) * 2]!;
        c.push(sum);
        const beta = gates[(i * valueHeads + head) * 2 + 1]!;
        const uAt = (t: number, d: number) => (t * valueHeads + head) * valueDim + d;
        const wAt = (t: number, d: number) => (t * valueHeads + head) * keyDim + d;
        for (let d = 0; d < valueDim; d++) u[uAt(i, d)] = beta * v(i, d);
        for (let d = 0; d < keyDim; d++) w[wAt(i, d)] = beta * Math.exp(sum) * k(i, d);
        for (let j = first; j <= i; j++) {
          let kk = 0;
          let qk = 0;
          for (let d = 0; d < keyDim; d++) {
            kk += k(i, d) * k(j, d);
            qk += q(i, d) * k(j, d);
          }
          const decay = Math.exp(sum - c[j - first]!);
          p[(((first / chunk) * valueHeads + head) * chunk + i - first) * chunk + j - first] = qk * decay;
          if (j === i) continue;
          for (let d = 0; d < valueDim; d++) u[uAt(i, d)]! -= beta * kk * decay * u[uAt(j, d)]!;
          for (let d = 0; d < keyDim; d++) w[wAt(i, d)]! -= beta * kk * decay * w[wAt(j, d)]!;
        }
      }
    }
  }
  return { u, w, p };
}

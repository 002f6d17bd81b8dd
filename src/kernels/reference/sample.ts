import type { SampleParams } from '../sample';

export type SampleInputs = {
  /** [vocab] */
  logits: ArrayLike<number>;
  /** [vocab]: bit 31 = in the prompt, below it the count in the reply. */
  history: ArrayLike<number>;
};

/** Logits after the penalties. -> [vocab] */
export function penalisedReference({ logits, history }: SampleInputs, params: SampleParams): Float64Array {
  return Float64Array.from({ length: logits.length }, (_, id) => {
    const [logit, past] = [logits[id]!, history[id]!];
    if (past === 0) return logit;
    const count = past % 2 ** 31;
    const repeated = logit > 0 ? logit / params.repetitionPenalty : logit * params.repetitionPenalty;
    return repeated - (count > 0 ? params.presencePenalty : 0) - count * params.frequencyPenalty;
  });
}

/** The `count` largest of each block of neighbours, largest first, ties to the lower id: (logit, id). -> [blocks, count, 2] */
export function blockLargestReference(logits: ArrayLike<number>, block: number, count: number): Float64Array {
  const blocks = Math.ceil(logits.length / block);
  const all = Array.from({ length: blocks }, (_, b) => {
    const ids = Array.from({ length: Math.min(block, logits.length - b * block) }, (_, i) => b * block + i);
    const best = ids.sort((x, y) => logits[y]! - logits[x]! || x - y).slice(0, count);
    return best.map((id) => [logits[id]!, id]);
  });
  return Float64Array.from(all.flat(2));
}

/** exp((logit - largest) / temperature). -> [vocab] */
export function weightsReference(logits: ArrayLike<number>, temperature: number): Float64Array {
  const all = Array.from(logits);
  const most = all.reduce((a, b) => Math.max(a, b));
  return Float64Array.from(all, (logit) => Math.exp((logit - most) / temperature));
}

/** Sums of weights per value of `keys`, of 256. -> [256] */
export function binsReference(keys: ArrayLike<number>, weights: ArrayLike<number>): Float64Array {
  const sums = new Float64Array(256);
  for (let i = 0; i < keys.length; i++) sums[keys[i]!]! += weights[i]!;
  return sums;
}

/** Sums of neighbours. -> [blocks] */
export function blockSumsReference(weights: ArrayLike<number>, block: number): Float64Array {
  const sums = new Float64Array(Math.ceil(weights.length / block));
  for (let i = 0; i < weights.length; i++) sums[Math.floor(i / block)]! += weights[i]!;
  return sums;
}

/** What temperature, top-k, top-p and min-p leave of the softmax, each renormalised; 0 where nothing is left. -> [vocab] */
export function probabilitiesReference(logits: ArrayLike<number>, params: SampleParams): Float64Array {
  const { temperature, topK, topP, minP } = params;
  const order = Array.from(logits, (_, id) => id).sort((a, b) => logits[b]! - logits[a]! || a - b);
  let p = normalised(weightsReference(logits, temperature));
  if (topK > 0) p = normalised(p.map((value, id) => (order.indexOf(id) < topK ? value : 0)));
  let before = 0;
  const nucleus = new Float64Array(p.length);
  for (const id of order) {
    if (before < topP) nucleus[id] = p[id]!;
    before += p[id]!;
  }
  p = normalised(nucleus);
  const most = p[order[0]!]!;
  return normalised(p.map((value) => (value >= minP * most ? value : 0)));
}

function normalised(weights: Float64Array): Float64Array {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

/** The tokens whose shares of [0, 1), laid end to end in order of id, hold each of `draws`. -> [draws] */
export function drawnReference(probabilities: ArrayLike<number>, draws: ArrayLike<number>): Float64Array {
  return Float64Array.from(draws, (u) => {
    let reached = 0;
    let last = 0;
    for (let id = 0; id < probabilities.length; id++) {
      reached += probabilities[id]!;
      if (reached > u) return id;
      if (probabilities[id]! > 0) last = id;
    }
    return last;
  });
}

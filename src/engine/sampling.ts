/**
 * From logits to a token, on the CPU. Order: penalties, temperature, top-k, top-p, min-p, each on the distribution that the
 * one before left, renormalised (as transformers' logits processors do).
 */
import { EngineError } from '../errors';
import type { Random } from './random';

export type SamplingParams = {
  /** 0 is greedy. */
  temperature: number;
  /** 0: off. */
  topK: number;
  /** 1: off. */
  topP: number;
  /** 0: off. */
  minP: number;
  /** 1: off; over prompt and reply (Keskar et al., 2019). */
  repetitionPenalty: number;
  /** Subtracted once from every token of the reply. */
  presencePenalty: number;
  /** Subtracted once per occurrence in the reply. */
  frequencyPenalty: number;
};

/** What the penalties need to know: tokens of the prompt, and counts over the reply. */
export class TokenHistory {
  readonly seen: Set<number>;
  readonly replyCounts = new Map<number, number>();

  constructor(prompt: Iterable<number>) {
    this.seen = new Set(prompt);
  }

  add(token: number): void {
    this.seen.add(token);
    this.replyCounts.set(token, (this.replyCounts.get(token) ?? 0) + 1);
  }
}

/** Changes `logits` in place. */
export function applyPenalties(logits: Float32Array, history: TokenHistory, params: SamplingParams): void {
  if (params.repetitionPenalty !== 1) {
    for (const token of history.seen) {
      const logit = logits[token]!;
      logits[token] = logit > 0 ? logit / params.repetitionPenalty : logit * params.repetitionPenalty;
    }
  }
  if (params.presencePenalty === 0 && params.frequencyPenalty === 0) return;
  for (const [token, count] of history.replyCounts) logits[token]! -= params.presencePenalty + count * params.frequencyPenalty;
}

export type Candidate = { token: number; probability: number };

/**
 * Draws a token. `logits` [vocab] is changed in place; tokens from `vocab` on (padding rows) are never drawn.
 * @throws EngineError 'non-finite' if a logit is NaN or infinite.
 */
export function sample(
  logits: Float32Array,
  vocab: number,
  history: TokenHistory,
  params: SamplingParams,
  random: Random,
): number {
  checkFinite(logits, vocab);
  applyPenalties(logits, history, params);
  if (params.temperature === 0) return argmax(logits, vocab);
  const left = logits.subarray(0, vocab);
  const all = params.topK === 0 && params.topP === 1 && params.minP === 0;
  return all ? drawFromAll(left, params.temperature, random) : draw(distribution(left, params), random);
}

function draw(candidates: readonly Candidate[], random: Random): number {
  let left = random.next();
  for (const { token, probability } of candidates) {
    left -= probability;
    if (left < 0) return token;
  }
  return candidates[0]!.token; // rounding left a crumb
}

/** A draw from the whole softmax needs no order, and sorting a quarter of a million logits takes a quarter of a second. */
function drawFromAll(logits: Float32Array, temperature: number, random: Random): number {
  const weights = softmaxWeights(logits, temperature);
  let left = random.next() * totalOf(weights);
  for (let token = 0; token < weights.length; token++) {
    left -= weights[token]!;
    if (left < 0) return token;
  }
  return argmax(logits);
}

/** exp((logit - largest) / temperature), f64. */
function softmaxWeights(logits: Float32Array, temperature: number): Float64Array {
  const most = logits[argmax(logits)]!;
  const weights = new Float64Array(logits.length);
  for (let i = 0; i < logits.length; i++) weights[i] = Math.exp((logits[i]! - most) / temperature);
  return weights;
}

/** The lowest id among the largest logits. */
export function argmax(logits: Float32Array, vocab = logits.length): number {
  let best = 0;
  for (let i = 1; i < vocab; i++) if (logits[i]! > logits[best]!) best = i;
  return best;
}

function checkFinite(logits: Float32Array, vocab: number): void {
  for (let i = 0; i < vocab; i++) {
    if (!Number.isFinite(logits[i])) {
      throw new EngineError(
        'non-finite',
        `The model produced a logit of ${logits[i]} for token ${i}. Its weights may be damaged or its precision too low on this device.`,
      );
    }
  }
}

/** What is left after temperature, top-k, top-p and min-p: probabilities that sum to 1, largest first, ties to the lower id. */
export function distribution(logits: Float32Array, params: SamplingParams): Candidate[] {
  // top-p is a share of what top-k left
  let left: Candidate[];
  if (params.topK > 0 && params.topK < logits.length) {
    const tokens = largest(logits, params.topK);
    const weights = softmaxWeights(
      Float32Array.from(tokens, (token) => logits[token]!),
      params.temperature,
    );
    left = tokens.map((token, i) => ({ token, probability: weights[i]! }));
    if (params.topP < 1) left = nucleus(left, params.topP * totalOf(weights));
  } else {
    const weights = softmaxWeights(logits, params.temperature);
    const share = params.topP < 1 ? params.topP * totalOf(weights) : Number.POSITIVE_INFINITY;
    left = nucleus(
      heaviest(weights, share).map((token) => ({ token, probability: weights[token]! })),
      share,
    );
  }
  if (params.minP > 0) {
    const least = params.minP * left[0]!.probability;
    left = left.filter(({ probability }) => probability >= least);
  }
  const all = left.reduce((sum, { probability }) => sum + probability, 0);
  return left.map(({ token, probability }) => ({ token, probability: probability / all }));
}

/**
 * Tokens whose weights reach `share` together, largest first, with few beyond them: those above a threshold that falls until
 * they suffice, because sorting the whole vocabulary for a few hundred takes most of a decode step.
 */
function heaviest(weights: Float64Array, share: number): number[] {
  for (let threshold = 0.1; threshold > 1e-12; threshold /= 8) {
    let reached = 0;
    for (const weight of weights) if (weight >= threshold) reached += weight;
    if (reached >= share) return above(weights, threshold);
  }
  return above(weights, 0);
}

/** Tokens of at least this weight, largest first, ties to the lower id. */
function above(weights: Float64Array, threshold: number): number[] {
  const tokens: number[] = [];
  for (let i = 0; i < weights.length; i++) if (weights[i]! >= threshold) tokens.push(i);
  return tokens.sort((a, b) => weights[b]! - weights[a]! || a - b);
}

function totalOf(weights: Float64Array): number {
  let total = 0;
  for (const weight of weights) total += weight;
  return total;
}

/** The fewest candidates whose weights reach `share`; always at least one. */
function nucleus(candidates: Candidate[], share: number): Candidate[] {
  let reached = 0;
  const end = candidates.findIndex(({ probability }) => {
    reached += probability;
    return reached >= share;
  });
  return end < 0 ? candidates : candidates.slice(0, end + 1);
}

/** The `count` largest, largest first, ties to the lower id. One pass, against a threshold that rises as better ones are found. */
function largest(logits: Float32Array, count: number): number[] {
  const better = (a: number, b: number) => logits[b]! - logits[a]! || a - b;
  let kept: number[] = [];
  let threshold = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) {
    if (logits[i]! <= threshold) continue; // a tie with the threshold has the higher id
    kept.push(i);
    if (kept.length < 2 * count) continue;
    kept = kept.sort(better).slice(0, count);
    threshold = logits[kept.at(-1)!]!;
  }
  return kept.sort(better).slice(0, count);
}

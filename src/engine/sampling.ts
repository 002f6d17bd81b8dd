/**
 * From logits to a token, on the CPU. Order: repetition, presence and frequency penalty, bias, mask, temperature, top-k, top-p,
 * min-p, each on the distribution that the one before left, renormalised (as transformers' logits processors do).
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
  /** Added to the logits of these tokens. Default: none. */
  logitBias?: ReadonlyMap<number, number>;
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
    const penalty = Math.fround(params.repetitionPenalty);
    const inverse = Math.fround(1 / penalty); // a product, because WGSL's quotient may be off by 2.5 ULP
    for (const token of history.seen) logits[token]! *= logits[token]! > 0 ? inverse : penalty;
  }
  if (params.presencePenalty === 0 && params.frequencyPenalty === 0) return;
  const [presence, frequency] = [Math.fround(params.presencePenalty), Math.fround(params.frequencyPenalty)];
  for (const [token, count] of history.replyCounts) logits[token]! -= presence + count * frequency;
}

function applyBias(logits: Float32Array, bias: ReadonlyMap<number, number>): void {
  for (const [token, value] of bias) logits[token]! += value;
}

/**
 * Copies the logits of the tokens that the mask allows; the others' become -Infinity, which nothing that is added or multiplied later
 * changes. Where few are allowed those are copied, else the others are cleared: a third of what looking at each token takes.
 * @throws EngineError 'invalid-request' if it forbids all.
 */
function copyAllowed(target: Float32Array, logits: Float32Array, mask: Uint32Array): void {
  const words = Math.ceil(logits.length / 32);
  const wordsInUse = countWordsInUse(mask, logits.length);
  if (wordsInUse === 0) {
    throw new EngineError(
      'invalid-request',
      'No token of the vocabulary may follow here: the grammar or schema has no continuation that the tokenizer can spell. Loosen it.',
    );
  }
  const copy = wordsInUse < words / 2 ? copyFew : copyMost;
  copy(target, logits, mask, words);
}

type CopyAllowed = (target: Float32Array, logits: Float32Array, mask: Uint32Array, words: number) => void;

const copyFew: CopyAllowed = (target, logits, mask, words) => {
  target.fill(Number.NEGATIVE_INFINITY);
  for (let i = 0; i < words; i++) {
    for (let bits = mask[i]! | 0; bits !== 0; bits &= bits - 1) {
      const token = 32 * i + lowestBit(bits);
      if (token < logits.length) target[token] = logits[token]!;
    }
  }
};

const copyMost: CopyAllowed = (target, logits, mask, words) => {
  target.set(logits);
  for (let i = 0; i < words; i++) {
    const allowed = mask[i]! | 0; // a word that is missing allows nothing
    if (allowed === 0) target.fill(Number.NEGATIVE_INFINITY, 32 * i, 32 * i + 32);
    for (let bits = allowed === 0 ? 0 : ~allowed; bits !== 0; bits &= bits - 1) {
      const token = 32 * i + lowestBit(bits);
      if (token < logits.length) target[token] = Number.NEGATIVE_INFINITY;
    }
  }
};

/** Words of the mask that allow a token of the vocabulary. */
function countWordsInUse(mask: Uint32Array, vocab: number): number {
  const [whole, rest] = [vocab >> 5, vocab & 31];
  let count = 0;
  for (let i = 0; i < whole; i++) if (mask[i]! | 0) count++;
  return rest > 0 && mask[whole]! & (2 ** rest - 1) ? count + 1 : count;
}

const lowestBit = (bits: number): number => 31 - Math.clz32(bits & -bits);

/**
 * Draws a token. `logits` [vocab or more] stays as it is; tokens from `vocab` on (padding rows) are never drawn. `mask`: token i
 * is allowed where bit (i & 31) of mask[i >> 5] is set. One number is taken from `random` unless temperature is 0.
 * @throws EngineError 'non-finite' if a logit is NaN or infinite, 'invalid-request' if the mask allows nothing.
 */
export function sample(
  logits: Float32Array,
  vocab: number,
  history: TokenHistory,
  params: SamplingParams,
  random: Pick<Random, 'next'>,
  mask?: Uint32Array,
): number {
  checkFinite(logits, vocab);
  const adjusted = adjust(logits.subarray(0, vocab), history, params, mask);
  return params.temperature === 0 ? argmax(adjusted) : draw(distribution(adjusted, params), random);
}

/** Kept from token to token: a fresh megabyte each time costs 0.6 ms. */
let copy = new Float32Array(0);

/**
 * Penalties, bias and mask, on a copy where there are any; it is valid until the next call. The mask comes with the copy, first and not
 * last: what it forbids stays forbidden, and the rest is computed alike.
 */
export function adjust(
  logits: Float32Array,
  history: TokenHistory,
  params: SamplingParams,
  mask: Uint32Array | undefined,
): Float32Array {
  const { repetitionPenalty, presencePenalty, frequencyPenalty, logitBias } = params;
  const penalised = repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0;
  if (!penalised && !logitBias?.size && !mask) return logits;
  if (copy.length !== logits.length) copy = new Float32Array(logits.length);
  const adjusted = copy;
  if (mask) copyAllowed(adjusted, logits, mask);
  else adjusted.set(logits);
  applyPenalties(adjusted, history, params);
  if (logitBias) applyBias(adjusted, logitBias);
  return adjusted;
}

/** The lowest id among the largest logits. */
export function argmax(logits: Float32Array, vocab = logits.length): number {
  let best = 0;
  for (let i = 1; i < vocab; i++) if (logits[i]! > logits[best]!) best = i;
  return best;
}

/** What a logit that is not finite ends a reply with, wherever it was noticed. */
export function nonFinite(logit: number, token: number): EngineError {
  return new EngineError(
    'non-finite',
    `The model produced a logit of ${logit} for token ${token}. Its weights may be damaged or its precision too low on this device.`,
  );
}

/** @throws EngineError 'non-finite' */
function checkFinite(logits: Float32Array, vocab: number): void {
  const sums = [0, 0, 0, 0]; // four chains of additions run side by side; anything not finite times 0 is NaN
  let i = 0;
  for (; i + 3 < vocab; i += 4) {
    sums[0]! += logits[i]! * 0;
    sums[1]! += logits[i + 1]! * 0;
    sums[2]! += logits[i + 2]! * 0;
    sums[3]! += logits[i + 3]! * 0;
  }
  for (; i < vocab; i++) sums[0]! += logits[i]! * 0;
  if (sums.every((sum) => sum === 0)) return;
  const token = logits.findIndex((logit) => !Number.isFinite(logit));
  throw nonFinite(logits[token]!, token);
}

/** Tokens that may be drawn, in order of id, and their weights, not normalised. Without `tokens`: every one. */
export type Candidates = { tokens?: readonly number[]; weights: Float64Array };

/**
 * The first candidate in order of id whose cumulated weight exceeds u of the total. The order is that of ids, not of weights,
 * because a GPU then draws the same token without sorting.
 */
function draw({ tokens, weights }: Candidates, random: Pick<Random, 'next'>): number {
  const share = random.next() * totalOf(weights);
  let reached = 0;
  let i = 0;
  while (i < weights.length - 1) {
    reached += weights[i]!;
    if (reached > share) break;
    i++;
  }
  return tokens ? tokens[i]! : i;
}

/** What temperature, top-k, top-p and min-p leave. A logit of -Infinity has weight 0. */
export function distribution(logits: Float32Array, params: SamplingParams): Candidates {
  const { temperature, topK, topP, minP } = params;
  let left: Candidates;
  if (topK > 0 && topK < logits.length) {
    const tokens = largest(logits, topK).sort((a, b) => a - b);
    const kept = Float32Array.from(tokens, (token) => logits[token]!);
    left = { tokens, weights: softmaxWeights(kept, temperature) };
  } else left = { weights: softmaxWeights(logits, temperature) };
  if (topP < 1) left = choose(left, nucleus(left.weights, topP));
  if (minP > 0) left = choose(left, atLeast(left.weights, minP)); // the largest weight is 1
  return left;
}

function choose({ tokens, weights }: Candidates, indices: readonly number[]): Candidates {
  return {
    tokens: tokens ? indices.map((i) => tokens[i]!) : indices,
    weights: Float64Array.from(indices, (i) => weights[i]!),
  };
}

/** exp((logit - largest) / temperature), f64. */
function softmaxWeights(logits: Float32Array, temperature: number): Float64Array {
  const most = logits[argmax(logits)]!;
  const weights = new Float64Array(logits.length);
  for (let i = 0; i < logits.length; i++) weights[i] = Math.exp((logits[i]! - most) / temperature);
  return weights;
}

/** The fewest indices, in ascending order, whose weights reach `topP` of the total, ties to the lower one; always at least one. */
function nucleus(weights: Float64Array, topP: number): number[] {
  const share = topP * totalOf(weights);
  const indices = heaviest(weights, share).sort((a, b) => weights[b]! - weights[a]! || a - b);
  let reached = 0;
  const end = indices.findIndex((i) => {
    reached += weights[i]!;
    return reached >= share;
  });
  return (end < 0 ? indices : indices.slice(0, end + 1)).sort((a, b) => a - b);
}

/**
 * Indices whose weights reach `share` together, with few beyond the heaviest that do: those above a threshold that falls until
 * they suffice, because sorting the whole vocabulary for a few hundred takes most of a decode step.
 */
function heaviest(weights: Float64Array, share: number): number[] {
  for (let threshold = 0.1; threshold > 1e-12; threshold /= 8) {
    let reached = 0;
    for (const weight of weights) if (weight >= threshold) reached += weight;
    if (reached >= share) return atLeast(weights, threshold);
  }
  return atLeast(weights, Number.MIN_VALUE);
}

function atLeast(weights: Float64Array, threshold: number): number[] {
  const indices: number[] = [];
  for (let i = 0; i < weights.length; i++) if (weights[i]! >= threshold) indices.push(i);
  return indices;
}

function totalOf(weights: Float64Array): number {
  let total = 0;
  for (const weight of weights) total += weight;
  return total;
}

/**
 * The `count` largest above -Infinity, largest first, ties to the lower id. One pass, against a threshold that rises as better
 * ones are found.
 */
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

/** Natural logarithm of a token's probability, and the likeliest tokens with theirs, largest first. */
export type TokenLogprobs = { logprob: number; top: { token: number; logprob: number }[] };

/**
 * Of the unmodified distribution: softmax over `logits` [vocab or more] without padding rows, in f64. `top` is how many of the
 * likeliest to list, 0 to 20, ties to the lower id.
 * @throws EngineError 'non-finite' if a logit is NaN or infinite.
 */
export function tokenLogprobs(logits: Float32Array, vocab: number, token: number, top: number): TokenLogprobs {
  checkFinite(logits, vocab);
  const left = logits.subarray(0, vocab);
  const most = left[argmax(left)]!;
  const logTotal = most + Math.log(totalOf(softmaxWeights(left, 1)));
  const logprob = (id: number) => left[id]! - logTotal;
  const likeliest = top > 0 ? largest(left, top) : [];
  return { logprob: logprob(token), top: likeliest.map((id) => ({ token: id, logprob: logprob(id) })) };
}

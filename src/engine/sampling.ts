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
  const candidates = distribution(logits.subarray(0, vocab), params);
  let left = random.next();
  for (const { token, probability } of candidates) {
    left -= probability;
    if (left < 0) return token;
  }
  return candidates[0]!.token; // rounding left a crumb
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
  const wanted = params.topK > 0 ? Math.min(params.topK, logits.length) : logits.length;
  const tokens = wanted < logits.length ? largest(logits, wanted) : sorted(logits);
  const most = logits[tokens[0]!]!;
  let candidates = normalise(
    tokens.map((token) => ({ token, probability: Math.exp((logits[token]! - most) / params.temperature) })),
  );
  if (params.topP < 1) candidates = normalise(nucleus(candidates, params.topP));
  if (params.minP > 0) {
    const least = params.minP * candidates[0]!.probability;
    candidates = normalise(candidates.filter(({ probability }) => probability >= least));
  }
  return candidates;
}

function normalise(candidates: Candidate[]): Candidate[] {
  const total = candidates.reduce((sum, { probability }) => sum + probability, 0);
  return candidates.map(({ token, probability }) => ({ token, probability: probability / total }));
}

/** The fewest candidates whose probabilities reach `topP`; always at least one. */
function nucleus(candidates: Candidate[], topP: number): Candidate[] {
  let sum = 0;
  const end = candidates.findIndex(({ probability }) => {
    sum += probability;
    return sum >= topP;
  });
  return end < 0 ? candidates : candidates.slice(0, end + 1);
}

function sorted(logits: Float32Array): number[] {
  return Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
}

/** The `count` largest, largest first. The threshold is found on a sorted copy: typed arrays sort fast. */
function largest(logits: Float32Array, count: number): number[] {
  const threshold = logits.slice().sort()[logits.length - count]!;
  const above: number[] = [];
  const equal: number[] = [];
  for (let i = 0; i < logits.length; i++) {
    if (logits[i]! > threshold) above.push(i);
    else if (logits[i] === threshold) equal.push(i);
  }
  return [...above, ...equal].slice(0, count).sort((a, b) => logits[b]! - logits[a]! || a - b);
}

/** 100,000 draws for every combination of parameters, against probabilities from the definitions alone. */
import { expect, test } from 'vitest';
import { Random } from '../../src/engine/random';
import { type SamplingParams, sample, TokenHistory } from '../../src/engine/sampling';
import { chiSquaredP } from './chi_squared';

const logits = Float32Array.of(1.3, 0.2, -0.9, 2.1, 1.3, -1.7, 0.6, 2.4, -0.3, 1.8, 0.2, 1.1, 9, 9); // the last two are padding
const vocab = 12;
const prompt = [3, 5, 5, 9];
const reply = [7, 2, 7, 11, 7];
const mask = Uint32Array.of(0b1101_1110_1111);
const logitBias = new Map([
  [1, 1.25],
  [4, -0.75],
]);
const draws = 100_000;

const isLong = process.env.SLUICE_LONG === '1';

type Penalties = Pick<SamplingParams, 'repetitionPenalty' | 'presencePenalty' | 'frequencyPenalty'>;
const none: Penalties = { repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0 };
const all: Penalties = { repetitionPenalty: 1.3, presencePenalty: 0.4, frequencyPenalty: 0.2 };
const alone = (Object.keys(all) as (keyof Penalties)[]).map((name) => ({ ...none, [name]: all[name] }));

type Row = { params: SamplingParams; mask: Uint32Array | undefined };
const combinations: Row[] = [0.7, 1.5].flatMap((temperature) =>
  [0, 5].flatMap((topK) =>
    [1, 0.85].flatMap((topP) =>
      [0, 0.2].flatMap((minP) =>
        [none, all, ...alone].flatMap((penalties) =>
          [false, true].map((steered) => ({
            params: {
              temperature,
              topK,
              topP,
              minP,
              ...penalties,
              ...(steered ? { logitBias } : {}),
            },
            mask: steered ? mask : undefined,
          })),
        ),
      ),
    ),
  ),
);

/** A penalty alone takes part in every combination where there is time, else beside nothing and beside everything. */
const rows = combinations.filter(({ params, mask }) => {
  const { temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty } = params;
  const penalties = [repetitionPenalty !== 1, presencePenalty !== 0, frequencyPenalty !== 0].filter(Boolean).length;
  const others = [temperature === 1.5, topK > 0, topP < 1, minP > 0, mask !== undefined];
  return isLong || penalties !== 1 || new Set(others).size === 1;
});

const normalised = (weights: readonly number[]): number[] => {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
};

/** Every step as its definition says it, over the whole vocabulary, f64. */
function probabilities({ params, mask }: Row): number[] {
  const adjusted = [...logits.subarray(0, vocab)].map((value, id) => {
    let logit = value;
    if (prompt.includes(id) || reply.includes(id))
      logit = logit > 0 ? logit / params.repetitionPenalty : logit * params.repetitionPenalty;
    const count = reply.filter((token) => token === id).length;
    if (count > 0) logit -= params.presencePenalty;
    logit -= count * params.frequencyPenalty;
    return logit + (params.logitBias?.get(id) ?? 0);
  });
  const allowed = (id: number) => !mask || ((mask[0]! >> id) & 1) === 1;
  let p = normalised(adjusted.map((logit, id) => (allowed(id) ? Math.exp(logit / params.temperature) : 0)));
  const before = (id: number) => p.flatMap((other, i) => (other > p[id]! || (other === p[id]! && i < id) ? [other] : []));
  if (params.topK > 0) p = normalised(p.map((value, id) => (before(id).length < params.topK ? value : 0)));
  p = normalised(p.map((value, id) => (before(id).reduce((sum, other) => sum + other, 0) < params.topP ? value : 0)));
  return normalised(p.map((value) => (value >= params.minP * Math.max(...p) ? value : 0)));
}

function history(): TokenHistory {
  const tokens = new TokenHistory(prompt);
  for (const token of reply) tokens.add(token);
  return tokens;
}

test(`${rows.length} combinations: chi-squared, p > 0.001 after Bonferroni`, () => {
  const known = history();
  const p = rows.map((row, seed) => {
    const random = new Random(seed);
    const counts = new Array<number>(vocab).fill(0);
    for (let i = 0; i < draws; i++) counts[sample(logits, vocab, known, row.params, random, row.mask)]!++;
    return { ...row, p: chiSquaredP(counts, probabilities(row)) };
  });
  expect(p.filter((row) => row.p < 0.001 / rows.length)).toEqual([]);
  // The p-values of a true hypothesis are uniform: a test that compares nothing would give ones.
  const mean = p.reduce((sum, row) => sum + row.p, 0) / p.length;
  expect(Math.abs(mean - 0.5)).toBeLessThan(4 / Math.sqrt(12 * p.length));
});

test('the test notices a hundredth of the draws going to the wrong token', () => {
  const counts = probabilities(rows[0]!).map((value) => Math.round(value * draws));
  expect(chiSquaredP(counts, probabilities(rows[0]!))).toBeGreaterThan(0.99);
  const off = counts.map((count, id) => count + (id === 7 ? draws / 100 : id === 3 ? -draws / 100 : 0));
  expect(chiSquaredP(off, probabilities(rows[0]!))).toBeLessThan(1e-5);
});

test('the same seed gives the same tokens, another one others', () => {
  const tokens = (seed: number) => {
    const random = new Random(seed);
    return Array.from({ length: 200 }, () => sample(logits, vocab, history(), rows[0]!.params, random));
  };
  expect(tokens(5)).toEqual(tokens(5));
  expect(tokens(5)).not.toEqual(tokens(6));
});

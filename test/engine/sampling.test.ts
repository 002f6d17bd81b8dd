import { describe, expect, test } from 'vitest';
import { Random } from '../../src/engine/random';
import { applyPenalties, argmax, distribution, type SamplingParams, sample, TokenHistory } from '../../src/engine/sampling';

const off: SamplingParams = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
};
const logits = () => Float32Array.of(1, 3, 2, -1, 3, 0);

/** The obvious softmax over the tokens that are left, in float64. */
function softmax(values: readonly number[], temperature: number): number[] {
  const weights = values.map((value) => Math.exp((value - Math.max(...values)) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

describe('distribution', () => {
  test.each([
    { params: {}, tokens: [1, 4, 2, 0, 5, 3], why: 'everything, largest first, ties to the lower id' },
    { params: { topK: 2 }, tokens: [1, 4], why: 'top-k' },
    { params: { topK: 1 }, tokens: [1], why: 'a tie at the edge goes to the lower id' },
    { params: { topK: 100 }, tokens: [1, 4, 2, 0, 5, 3], why: 'top-k beyond the vocabulary' },
    { params: { topP: 0.7 }, tokens: [1, 4], why: 'top-p: 0.40 + 0.40 reach 0.7' },
    { params: { topP: 1e-6 }, tokens: [1], why: 'top-p keeps at least one' },
    { params: { minP: 0.3 }, tokens: [1, 4, 2], why: 'min-p: at least 0.3 of the largest; e^-1 is 0.37' },
    { params: { topK: 3, topP: 0.9, minP: 0.4 }, tokens: [1, 4], why: 'all three, in this order' },
  ])('$why', ({ params, tokens }) => {
    const left = distribution(logits(), { ...off, ...params });
    expect(left.map(({ token }) => token)).toEqual(tokens);
    const expected = softmax(
      tokens.map((token) => logits()[token]!),
      1,
    );
    for (const [i, { probability }] of left.entries()) expect(probability).toBeCloseTo(expected[i]!, 12);
  });

  test('temperature sharpens', () => {
    const expected = softmax([3, 3, 2, 1, 0, -1], 0.5);
    for (const [i, { probability }] of distribution(logits(), { ...off, temperature: 0.5 }).entries())
      expect(probability).toBeCloseTo(expected[i]!, 12);
  });
});

test('draws follow the distribution: chi-squared over 20,000 draws, 5 degrees of freedom, p > 0.001', () => {
  const random = new Random(7);
  const counts = new Map<number, number>();
  const draws = 20_000;
  for (let i = 0; i < draws; i++) {
    const token = sample(logits(), 6, new TokenHistory([]), off, random);
    counts.set(token, (counts.get(token) ?? 0) + 1);
  }
  const statistic = distribution(logits(), off).reduce(
    (sum, { token, probability }) => sum + ((counts.get(token) ?? 0) - draws * probability) ** 2 / (draws * probability),
    0,
  );
  expect(statistic).toBeLessThan(20.52);
});

describe('penalties', () => {
  const history = new TokenHistory([0, 3]);
  history.add(1);
  history.add(1);
  test.each([
    { params: { repetitionPenalty: 2 }, expected: [0.5, 1.5, 2, -2, 3, 0], why: 'repetition: prompt and reply, away from zero' },
    { params: { presencePenalty: 0.5 }, expected: [1, 2.5, 2, -1, 3, 0], why: 'presence: once per token of the reply' },
    { params: { frequencyPenalty: 0.5 }, expected: [1, 2, 2, -1, 3, 0], why: 'frequency: per occurrence in the reply' },
  ])('$why', ({ params, expected }) => {
    const changed = logits();
    applyPenalties(changed, history, { ...off, ...params });
    expect([...changed]).toEqual(expected);
  });
});

test('greedy takes the lowest id among the largest, and never a padding row', () => {
  expect(argmax(logits())).toBe(1);
  expect(sample(Float32Array.of(1, 2, 9), 2, new TokenHistory([]), { ...off, temperature: 0 }, new Random(1))).toBe(1);
});

test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('a logit of %s is an error that says so', (value) => {
  const bad = logits();
  bad[2] = value;
  expect(() => sample(bad, 6, new TokenHistory([]), off, new Random(1))).toThrow(expect.objectContaining({ code: 'non-finite' }));
});

describe('Random', () => {
  test('the same seed gives the same draws, another one others', () => {
    const draws = (seed: number) => {
      const random = new Random(seed);
      return Array.from({ length: 8 }, () => random.next());
    };
    expect(draws(42)).toEqual(draws(42));
    expect(draws(42)).not.toEqual(draws(43));
    expect(draws(0)).not.toEqual(draws(-1));
  });

  test('draws lie in [0, 1) with mean 1/2 and variance 1/12', () => {
    const random = new Random(3);
    const draws = Array.from({ length: 50_000 }, () => random.next());
    const mean = draws.reduce((a, b) => a + b) / draws.length;
    const variance = draws.reduce((sum, x) => sum + (x - mean) ** 2, 0) / draws.length;
    expect(Math.min(...draws)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...draws)).toBeLessThan(1);
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.005); // four standard errors
    expect(Math.abs(variance - 1 / 12)).toBeLessThan(0.002);
  });
});

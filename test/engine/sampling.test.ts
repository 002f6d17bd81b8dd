import { describe, expect, test } from 'vitest';
import { Random } from '../../src/engine/random';
import { samplingParams } from '../../src/engine/reply';
import {
  adjust,
  applyPenalties,
  argmax,
  distribution,
  type SamplingParams,
  sample,
  TokenHistory,
  tokenLogprobs,
} from '../../src/engine/sampling';

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
    { params: {}, tokens: [0, 1, 2, 3, 4, 5], why: 'everything, in order of id' },
    { params: { topK: 2 }, tokens: [1, 4], why: 'top-k' },
    { params: { topK: 1 }, tokens: [1], why: 'a tie at the edge goes to the lower id' },
    { params: { topK: 100 }, tokens: [0, 1, 2, 3, 4, 5], why: 'top-k beyond the vocabulary' },
    { params: { topP: 0.7 }, tokens: [1, 4], why: 'top-p: 0.40 + 0.40 reach 0.7' },
    { params: { topP: 0.3 }, tokens: [1], why: 'a tie at the edge of top-p goes to the lower id' },
    { params: { topP: 1e-6 }, tokens: [1], why: 'top-p keeps at least one' },
    { params: { minP: 0.3 }, tokens: [1, 2, 4], why: 'min-p: at least 0.3 of the largest; e^-1 is 0.37' },
    { params: { topK: 3, topP: 0.9, minP: 0.4 }, tokens: [1, 4], why: 'all three, in this order' },
    { params: { topK: 3, topP: 0.85 }, tokens: [1, 2, 4], why: 'top-p is a share of what top-k left: 0.42 + 0.42 are too few' },
  ])('$why', ({ params, tokens }) => {
    const left = distribution(logits(), { ...off, ...params });
    expect(left.tokens ?? tokens).toEqual(tokens);
    const expected = softmax(
      tokens.map((token) => logits()[token]!),
      1,
    );
    const total = left.weights.reduce((sum, weight) => sum + weight, 0);
    expect(left.weights.length).toBe(tokens.length);
    for (const [i, weight] of left.weights.entries()) expect(weight / total).toBeCloseTo(expected[i]!, 12);
  });

  test('temperature sharpens', () => {
    const expected = softmax([...logits()], 0.5);
    const { weights } = distribution(logits(), { ...off, temperature: 0.5 });
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (const [i, weight] of weights.entries()) expect(weight / total).toBeCloseTo(expected[i]!, 12);
  });
});

describe('a draw', () => {
  const next = (u: number) => ({ next: () => u });
  const none = new TokenHistory([]);

  // weights 1, 2, 1, 4 of a total of 8
  const values = Float32Array.of(0, Math.log(2), 0, Math.log(4));
  test.each([
    { u: 0, token: 0 },
    { u: 0.124, token: 0 },
    { u: 0.126, token: 1 },
    { u: 0.374, token: 1 },
    { u: 0.376, token: 2 },
    { u: 0.501, token: 3 },
    { u: 1 - 2 ** -53, token: 3 },
  ])('at $u of the total, cumulated in order of id, is token $token', ({ u, token }) => {
    expect(sample(values, 4, none, off, next(u))).toBe(token);
  });

  test('does not depend on which order a filter looks at the candidates in', () => {
    for (const params of [{ topK: 2 }, { topP: 0.7 }, { minP: 0.4 }]) {
      expect(sample(values, 4, none, { ...off, ...params }, next(0.33))).toBe(1); // 2 of 6
      expect(sample(values, 4, none, { ...off, ...params }, next(0.34))).toBe(3);
    }
  });

  test('leaves the logits as they are', () => {
    const before = logits();
    const history = new TokenHistory([1]);
    sample(before, 6, history, { ...off, repetitionPenalty: 2, logitBias: new Map([[0, 3]]) }, next(0.5), Uint32Array.of(7));
    expect(before).toEqual(logits());
  });

  test('a token of weight 0 is not drawn, at the edges of u either', () => {
    for (const u of [0, 0.5, 1 - 2 ** -53]) expect(sample(logits(), 6, none, off, next(u), Uint32Array.of(0b000100))).toBe(2);
  });
});

describe('bias and mask', () => {
  const greedy = { ...off, temperature: 0 };
  const random = new Random(1);
  const none = new TokenHistory([]);

  test('bias is added after the penalties', () => {
    const history = new TokenHistory([1, 4]);
    const params = { ...greedy, repetitionPenalty: 3 }; // 1 and 4 fall to 1
    expect(sample(logits(), 6, history, params, random)).toBe(2);
    expect(sample(logits(), 6, history, { ...params, logitBias: new Map([[0, 1.5]]) }, random)).toBe(0);
    expect(sample(logits(), 6, history, { ...params, logitBias: new Map([[2, -100]]) }, random)).toBe(0);
  });

  test('a mask allows the tokens whose bits are set, over several words', () => {
    const many = Float32Array.from({ length: 100 }, (_, i) => i);
    const mask = new Uint32Array(4);
    for (const token of [3, 31, 32, 64]) {
      mask[token >> 5]! |= 1 << (token & 31);
      expect(sample(many, 100, none, greedy, random, mask)).toBe(token);
    }
    expect(sample(many, 64, none, greedy, random, mask)).toBe(32);
    expect(sample(many, 100, none, { ...off, topK: 50 }, random, mask)).toBeOneOf([3, 31, 32, 64]);
    expect(sample(many, 100, none, greedy, random, Uint32Array.of(2))).toBe(1); // words that are missing allow nothing
  });

  test('masks of any density leave what they allow as it is, penalties and bias included', () => {
    const vocab = 32 * 9 + 5;
    const row = Float32Array.from({ length: vocab + 3 }, () => random.next() * 8 - 4).subarray(0, vocab);
    const history = new TokenHistory([1, 40, 41]);
    for (const id of [2, 40, 200, 200]) history.add(id);
    const params = {
      ...off,
      repetitionPenalty: 1.3,
      presencePenalty: 0.5,
      frequencyPenalty: -0.25,
      logitBias: new Map([[3, 5]]),
    };
    for (const density of [0.001, 0.05, 0.4, 0.6, 0.95, 0.999, 1])
      for (let run = 0; run < 20; run++) {
        const words = Array.from({ length: 12 }, () => [0, -1][Math.floor(random.next() * 4)]); // whole words, now and then
        const allowed = Array.from({ length: vocab }, (_, id) => (words[id >> 5] ?? -(random.next() < density)) !== 0);
        allowed[17] = true;
        const mask = new Uint32Array(12).fill(0xffffffff, 10);
        mask[9] = -32; // there are no such ids
        for (const [id, isAllowed] of allowed.entries()) if (isAllowed) mask[id >> 5]! |= 1 << (id & 31);
        const plain = Float32Array.from(adjust(row, history, params, undefined));
        const expected = plain.map((logit, id) => (allowed[id] ? logit : Number.NEGATIVE_INFINITY));
        expect(adjust(row, history, params, mask)).toEqual(expected);
      }
  });

  test.each([
    { mask: [0], vocab: 6 },
    { mask: [0b1000000], vocab: 6 },
    { mask: [0, 0], vocab: 33 },
  ])('a mask that allows nothing is an error: $mask of $vocab', ({ mask, vocab }) => {
    expect(() => sample(new Float32Array(40), vocab, none, off, random, Uint32Array.from(mask))).toThrow(
      expect.objectContaining({ code: 'invalid-request' }),
    );
  });
});

describe('log-probabilities', () => {
  test('are those of the softmax, likeliest first, ties to the lower id', () => {
    const expected = softmax([...logits()], 1).map(Math.log);
    const { logprob, top } = tokenLogprobs(Float32Array.of(...logits(), 50), 6, 3, 4); // the seventh is a padding row
    expect(logprob).toBeCloseTo(expected[3]!, 12);
    expect(top.map(({ token }) => token)).toEqual([1, 4, 2, 0]);
    for (const { token, logprob } of top) expect(logprob).toBeCloseTo(expected[token]!, 12);
    expect(tokenLogprobs(logits(), 6, 0, 0).top).toEqual([]);
    expect(tokenLogprobs(logits(), 6, 0, 20).top).toHaveLength(6);
  });

  test('of a far logit stay finite', () => {
    expect(tokenLogprobs(Float32Array.of(0, 3000), 2, 0, 1).logprob).toBe(-3000);
  });

  test('of NaN are an error', () => {
    expect(() => tokenLogprobs(Float32Array.of(0, Number.NaN), 2, 0, 1)).toThrow(expect.objectContaining({ code: 'non-finite' }));
  });
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
  bad[5] = value; // past the last four
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

describe('parameters of a request', () => {
  const checkpoint = {
    temperature: 0.7,
    topK: 40,
    topP: 0.9,
    minP: 0.1,
    repetitionPenalty: 1.2,
    doSample: true,
    eosTokenIds: [],
  };
  const { doSample: _, eosTokenIds: __, ...recommended } = checkpoint;
  const unpenalised = { presencePenalty: 0, frequencyPenalty: 0 };

  test("unset ones are the checkpoint's, and where it says nothing OpenAI's", () => {
    expect(samplingParams({}, checkpoint)).toEqual({ ...recommended, ...unpenalised });
    expect(samplingParams({}, { eosTokenIds: [] })).toEqual(off);
  });

  test.each([
    ['temperature', 'temperature', 1.5],
    ['temperature', 'temperature', 0],
    ['top_k', 'topK', 3],
    ['top_k', 'topK', 0],
    ['top_p', 'topP', 0.2],
    ['top_p', 'topP', 1],
    ['min_p', 'minP', 0.3],
    ['min_p', 'minP', 0],
    ['repetition_penalty', 'repetitionPenalty', 1],
    ['repetition_penalty', 'repetitionPenalty', 0.8],
    ['presence_penalty', 'presencePenalty', -1],
    ['frequency_penalty', 'frequencyPenalty', 2],
  ])("the request's %s is %s, at %d too, and the others stay", (field, param, value) => {
    expect(samplingParams({ [field]: value }, checkpoint)).toEqual({ ...recommended, ...unpenalised, [param]: value });
  });

  test('do_sample: false is greedy, whatever the temperature beside it, unless the request names one', () => {
    const greedy = { ...checkpoint, doSample: false };
    expect(samplingParams({ top_k: 5 }, greedy)).toMatchObject({ temperature: 0, topK: 5 });
    expect(samplingParams({ temperature: 0.4 }, greedy).temperature).toBe(0.4);
    expect(samplingParams({ temperature: 0 }, checkpoint).temperature).toBe(0);
  });

  test('biases are by token id', () => {
    expect(samplingParams({ logit_bias: { 7: -100, 12: 0 } }, checkpoint).logitBias).toEqual(
      new Map([
        [7, -100],
        [12, 0],
      ]),
    );
  });
});

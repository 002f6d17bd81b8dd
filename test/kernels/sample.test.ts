/** Draws on the GPU against the CPU's sampler: the same numbers from the generator give the same tokens. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { random } from '../../src/cases/harness';
import { Random } from '../../src/engine/random';
import { argmax, distribution, type SamplingParams, sample, TokenHistory } from '../../src/engine/sampling';
import type { Gpu } from '../../src/gpu/device';
import { encode } from '../../src/gpu/dispatch';
import { Readback } from '../../src/gpu/readback';
import { probabilitiesReference } from '../../src/kernels/reference/sample';
import { packDraws, sampleBlocks, unpackSampleState } from '../../src/kernels/sample';
import { Sampler } from '../../src/model/sampler';
import { openNodeGpu } from '../../src/node/open_gpu';
import { samplerBytes } from '../../src/plan/shapes';
import { chiSquaredP } from '../engine/chi_squared';

const isLong = process.env.SLUICE_LONG === '1';
let gpu: Gpu;
beforeAll(async () => {
  gpu = await openNodeGpu();
}, 60_000);
afterAll(() => gpu?.device.destroy());

const off: SamplingParams = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
};

const padding = 7;
type Request = {
  logits: Float32Array;
  params: SamplingParams;
  draws: readonly number[];
  prompt?: readonly number[];
  ring?: number;
};

type Open = { sampler: Sampler; run(tokens: number): Promise<void>; read: ReturnType<typeof reader> };

/** A sampler behind logits that stay as they are. Behind the vocabulary lie padding rows that would win, and one that is not finite. */
async function withSampler<T>(request: Request, body: (open: Open) => Promise<T>): Promise<T> {
  const { logits, params, draws, prompt = [], ring = 32 } = request;
  const own: Gpu = { ...gpu, memory: gpu.memory.scope() };
  const { device } = own;
  const vocab = logits.length;
  const upload = (label: string, data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>) => {
    const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
    const buffer = own.memory.create(label, data.byteLength, STORAGE | COPY_SRC | COPY_DST);
    device.queue.writeBuffer(buffer, 0, data);
    return buffer;
  };
  try {
    const row = new Float32Array(vocab + padding).fill(1e30);
    row.set(logits);
    row[row.length - 1] = Number.NaN;
    const [logitsBuffer, ids] = [upload('logits', row), upload('ids', new Uint32Array(4).fill(77))];
    const sampler = new Sampler(own, { vocab, ring, logits: { buffer: logitsBuffer }, ids: { buffer: ids } });
    await sampler.ready;
    sampler.begin(params, prompt, draws.slice(0, ring));
    const run = async (tokens: number) => {
      device.pushErrorScope('validation');
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (let i = 0; i < tokens; i++) encode(pass, sampler.dispatches(params), 1);
      pass.end();
      device.queue.submit([encoder.finish()]);
      expect((await device.popErrorScope())?.message).toBeUndefined();
    };
    return await body({ sampler, run, read: reader(own, sampler, ids) });
  } finally {
    own.memory.release();
  }
}

function reader(own: Gpu, { buffers, shape }: Sampler, ids: GPUBuffer) {
  const words = async (buffer: GPUBuffer, count: number) => {
    const readback = new Readback(own, 'readback', buffer.size);
    const encoder = own.device.createCommandEncoder();
    readback.copyFrom(encoder, buffer, 0, buffer.size);
    own.device.queue.submit([encoder.finish()]);
    const copy = (await readback.floats(buffer.size)).slice();
    readback.destroy();
    return new Uint32Array(copy.buffer).subarray(0, count);
  };
  return {
    tokens: async () => [...(await words(buffers.emitted, shape.ring))],
    ids: () => words(ids, 4),
    history: () => words(buffers.history, shape.vocab),
    state: async () => unpackSampleState(await words(buffers.state, 4)),
  };
}

/** As many tokens as draws, in one submit. */
const drawOnGpu = (request: Request): Promise<number[]> =>
  withSampler(request, async ({ run, read }) => {
    await run(request.draws.length);
    expect(await read.state()).toEqual({ drawn: request.draws.length });
    const tokens = (await read.tokens()).slice(0, request.draws.length);
    expect(await read.ids()).toEqual(Uint32Array.of(tokens.at(-1)!, 77, 77, 77));
    return tokens;
  });

/** Of the total: how far f32 sums may put the boundary between two tokens from where it is. */
const margin = 1e-6;

/** What the CPU draws for each number, and whether that lies well inside the token's share: then it must be what the GPU draws. */
function drawOnCpu({ logits, params, draws }: Request): { token: number; isSafe: boolean }[] {
  const none = new TokenHistory([]);
  if (params.temperature === 0) return draws.map(() => ({ token: argmax(logits), isSafe: true }));
  const { tokens, weights } = distribution(logits, params);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const ends: number[] = [];
  let reached = 0;
  for (const weight of weights) {
    reached += weight / total;
    ends.push(reached);
  }
  return [...packDraws(draws)].map((u) => {
    const token = sample(logits, logits.length, none, params, { next: () => u });
    const i = tokens ? tokens.indexOf(token) : token;
    const isSafe = (i === 0 || u - ends[i - 1]! > margin) && (i === weights.length - 1 || ends[i]! - u > margin);
    return { token, isSafe };
  });
}

async function expectSame(request: Request): Promise<void> {
  const got = await drawOnGpu(request);
  const want = drawOnCpu(request);
  const wrong = want.flatMap(({ token, isSafe }, i) => (isSafe && got[i] !== token ? [{ i, got: got[i], want: token }] : []));
  expect(wrong).toEqual([]);
  expect(want.filter(({ isSafe }) => isSafe).length).toBeGreaterThan(0.6 * want.length);
}

const normal = (next: () => number) => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
const shapes: Record<string, (vocab: number, next: () => number) => Float32Array> = {
  'like a model': (vocab, next) => Float32Array.from({ length: vocab }, () => 3 * normal(next)),
  peaked: (vocab, next) =>
    Float32Array.from({ length: vocab }, (_, i) => (i % 97 === 5 ? 12 + normal(next) : -20 + normal(next))),
  flat: (vocab) => new Float32Array(vocab).fill(-1.25),
  'with ties': (vocab, next) => Float32Array.from({ length: vocab }, () => Math.round(2 * normal(next))),
  'far apart': (vocab, next) => Float32Array.from({ length: vocab }, (_, i) => (i % 3 === 1 ? -3e38 : 5 * normal(next))),
  'with both zeros': (vocab, next) => Float32Array.from({ length: vocab }, () => (next() < 0.5 ? -0 : 0)),
};
const settings: [string, Partial<SamplingParams>][] = [
  ['greedy', { temperature: 0 }],
  ['no filter', { temperature: 0.8 }],
  ['min-p', { minP: 0.1 }],
  ['top-k, top-p', { temperature: 0.7, topK: 20, topP: 0.95 }],
  ['top-k', { topK: 3 }],
  ['the longest list', { topK: 128, topP: 0.9, minP: 0.02 }],
  ['top-k past a list', { topK: 129 }],
  ['top-p', { topP: 0.9 }],
  ['top-p of little', { topP: 0.3, temperature: 1.3 }],
  ['top-p, min-p', { topP: 0.95, minP: 0.05 }],
  ['top-k past a list, top-p', { topK: 200, topP: 0.8 }],
];

const seeded = (seed: number, count: number): number[] => {
  const numbers = new Random(seed);
  return Array.from({ length: count }, () => numbers.next());
};

describe.each(Object.keys(shapes))('logits %s', (shape) => {
  describe.each([10, 1000])('%i of them', (vocab) => {
    test.each(settings)('%s', async (_, set) => {
      const logits = shapes[shape]!(vocab, random(vocab + shape.length));
      await expectSame({ logits, params: { ...off, ...set }, draws: [0, ...seeded(vocab, 23), 1 - 1e-12] });
    });
  });
});

describe('a large vocabulary, of which threads look at several ids', () => {
  const vocab = 248_320;
  const logits = shapes['like a model']!(vocab, random(1));
  const some = ['greedy', 'no filter', 'top-k, top-p', 'the longest list', 'top-p, min-p', 'top-k past a list, top-p'];
  test.each(settings.filter(([name]) => some.includes(name)))('%s', async (_, set) => {
    expect(sampleBlocks(vocab)).toEqual({ perThread: 8, blocks: 122 });
    await expectSame({ logits, params: { ...off, ...set }, draws: [0.9, ...seeded(3, 2)] });
  });
});

describe('candidates that lie where their lists bound them worst', () => {
  const vocab = 248_320;
  const block = 2048;
  test.each([
    { name: 'all equal', at: () => 1 },
    { name: 'all in the first block', at: (id: number) => -id / 1000 },
    { name: 'every block alike', at: (id: number) => -(id % block) / 16 },
    {
      name: 'half of topK in each of some blocks',
      at: (id: number) => (id % block < 64 && id < 9 * block ? 2 + (id % 7) / 8 : 0),
    },
  ])('$name', async ({ at }) => {
    const logits = Float32Array.from({ length: vocab }, (_, id) => at(id));
    await expectSame({ logits, params: { ...off, topK: 128, topP: 0.9 }, draws: seeded(5, 2) });
  });
});

test.each([
  { params: { topK: 20, topP: 0.95 }, dispatches: ['sample_top_k', 'sample_merge'] },
  { params: { temperature: 0, topK: 20, topP: 0.95 }, dispatches: ['sample_maxima', 'sample_greedy'] },
  { params: { minP: 0.1 }, dispatches: ['sample_maxima', 'sample_sums', 'sample_draw'] },
  { params: { topK: 1000 }, dispatches: ['sample_maxima', 'sample_sums', 'sample_draw'] },
  {
    params: { topP: 0.9 },
    dispatches: ['sample_maxima', ...new Array<string>(4).fill('sample_histogram'), 'sample_sums', 'sample_draw'],
  },
  {
    params: { topK: 200, topP: 0.9 },
    dispatches: ['sample_maxima', ...new Array<string>(8).fill('sample_histogram'), 'sample_sums', 'sample_draw'],
  },
])('$params takes $dispatches', async ({ params, dispatches }) => {
  await withSampler({ logits: new Float32Array(1000), params: off, draws: [0] }, async ({ sampler }) => {
    const bytes = Object.values(sampler.buffers).reduce((sum, buffer) => sum + buffer.size, 0);
    expect(bytes).toBe(Object.values(samplerBytes(sampler.shape)).reduce((sum, each) => sum + each, 0));
    expect(sampler.dispatches({ ...off, ...params }).map(({ kernel }) => kernel.label)).toEqual(dispatches);
  });
});

describe('penalties over the tokens of a reply', () => {
  const penalties = { repetitionPenalty: 1.3, presencePenalty: 0.4, frequencyPenalty: 0.3 };
  const prompt = [3, 5, 5, 9];
  test.each([
    { name: 'greedy', set: { ...penalties, temperature: 0 } },
    { name: 'lists', set: { ...penalties, topK: 5 } },
    { name: 'sums', set: penalties },
    { name: 'passes', set: { ...penalties, topP: 0.8 } },
    { name: 'frequency alone', set: { frequencyPenalty: 0.5, topK: 8 } },
  ])('$name', async ({ set }) => {
    const params = { ...off, ...set };
    const logits = shapes['like a model']!(10, random(4));
    const draws = [...packDraws(seeded(8, 32))];
    const history = new TokenHistory(prompt);
    const want = draws.map((u) => {
      const token = sample(logits, logits.length, history, params, { next: () => u });
      history.add(token);
      return token;
    });
    await withSampler({ logits, params, draws, prompt }, async ({ run, read }) => {
      await run(draws.length);
      expect(await read.tokens()).toEqual(want);
      const inPrompt = (id: number) => (prompt.includes(id) ? 2 ** 31 : 0);
      const counts = Array.from(logits, (_, id) => inPrompt(id) + (history.replyCounts.get(id) ?? 0));
      expect([...(await read.history())]).toEqual(counts);
    });
    expect(new Set(want).size).toBeGreaterThan(4);
  });
});

describe('a logit that is not finite', () => {
  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    '%s is reported, with the first id that has one',
    async (value) => {
      for (const set of [{ temperature: 0 }, { topK: 5 }, {}, { topP: 0.9 }]) {
        const logits = shapes['like a model']!(1000, random(2));
        logits[700] = Number.NaN;
        logits[541] = value;
        await withSampler({ logits, params: { ...off, ...set }, draws: [0.5, 0.6, 0.7] }, async ({ run, read }) => {
          await run(3);
          expect(await read.state()).toEqual({ drawn: 3, fault: { value, token: 541, draw: 0 } });
          expect((await read.tokens()).slice(0, 3)).toEqual([0, 0, 0]);
        });
      }
    },
  );

  test('is forgotten by the next request', async () => {
    const logits = Float32Array.of(1, Number.NaN, 2, 3, 4, 5, 6, 7, 8, 9);
    await withSampler({ logits, params: off, draws: [0.5] }, async ({ sampler, run, read }) => {
      await run(1);
      expect((await read.state()).fault).toBeDefined();
      sampler.begin(off, [], [0.5]);
      expect(await read.state()).toEqual({ drawn: 0 });
    });
  });
});

test('rings of draws and tokens go round', async () => {
  const logits = shapes['like a model']!(10, random(6));
  const draws = seeded(12, 20);
  const params = { ...off, topK: 8 };
  const want = drawOnCpu({ logits, params, draws }).map(({ token }) => token);
  await withSampler({ logits, params, draws, ring: 8 }, async ({ sampler, run, read }) => {
    await run(5);
    expect((await read.tokens()).slice(0, 5)).toEqual(want.slice(0, 5));
    sampler.writeDraws(8, draws.slice(8, 13)); // over the five that are used
    await run(8);
    expect(await read.tokens()).toEqual([...want.slice(8, 13), ...want.slice(5, 8)]);
    sampler.writeDraws(13, draws.slice(13)); // over the end of the ring
    await run(7);
    expect(await read.tokens()).toEqual([...want.slice(16, 20), ...want.slice(12, 16)]);
    expect(await read.state()).toEqual({ drawn: 20 });
  });
});

describe(`${isLong ? '100,000' : '4,096'} draws, 4,096 in a submit, follow the distribution: chi-squared, p > 0.001`, () => {
  test.each([
    { name: 'lists', params: { ...off, temperature: 2, topK: 7, topP: 0.9 } },
    { name: 'sums', params: { ...off, temperature: 2, minP: 0.05 } },
    ...(isLong
      ? [
          { name: 'temperature alone', params: { ...off, temperature: 1.3 } },
          { name: 'top-k and min-p', params: { ...off, temperature: 2, topK: 6, minP: 0.02 } },
        ]
      : []),
  ])('$name', { timeout: isLong ? 1_800_000 : 240_000 }, async ({ params }) => {
    const logits = shapes['like a model']!(10, random(9));
    const draws = seeded(31, isLong ? 100_000 : 4096);
    const counts = new Array<number>(logits.length).fill(0);
    await withSampler({ logits, params, draws, ring: 4096 }, async ({ sampler, run, read }) => {
      for (let done = 0; done < draws.length; done += 4096) {
        const some = draws.slice(done, done + 4096);
        if (done > 0) sampler.writeDraws(done, some);
        await run(some.length);
        for (const token of (await read.tokens()).slice(0, some.length)) counts[token]!++;
      }
      expect(await read.state()).toEqual({ drawn: draws.length });
    });
    const probabilities = [...probabilitiesReference(logits, params)];
    expect(counts.filter((count) => count > 0).length).toBeGreaterThan(4);
    expect(chiSquaredP(counts, probabilities)).toBeGreaterThan(0.001);
  });
});

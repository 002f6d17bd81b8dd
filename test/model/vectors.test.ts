import { beforeAll, expect, test } from 'vitest';
import type { Gpu } from '../../src/gpu/device';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import { relativeError, type Score, scoreVectors } from './vectors';

/** The bounds for f32 paths; f16 keys and values are rounded to 2^-11. */
const f32 = { all: 2e-4, worstRow: 1e-3 };
const f16 = { all: 2e-3, worstRow: 1e-2 };

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openNodeGpu();
});

const files = (name: string) => openDirectory(new URL(`../fixtures/vectors/${name}`, import.meta.url).pathname);

/** In chunks of `chunkTokens` on this adapter's own variants, in f32: computed once, as several tests look at it. */
function scoreOf(model: string, chunkTokens: number): Promise<Score> {
  const key = `${model} ${chunkTokens}`;
  const score = scores.get(key) ?? files(model).then((from) => scoreVectors(gpu, from, { chunkTokens, kv: 'f32', f16: false }));
  scores.set(key, score);
  return score;
}
const scores = new Map<string, Promise<Score>>();

function expectWithin({ prefill, decode }: Score, bounds: typeof f32): void {
  expect(prefill.all).toBeLessThanOrEqual(bounds.all);
  expect(prefill.worstRow).toBeLessThanOrEqual(bounds.worstRow);
  expect(decode.all).toBeLessThanOrEqual(bounds.all);
  expect(decode.worstRow).toBeLessThanOrEqual(bounds.worstRow);
}

const chunks = [1, 7, 64, 512];

test.each([
  ...chunks.map((chunkTokens) => ({ model: 'dense-4bit', chunkTokens, why: 'MLX 4-bit, tied head' })),
  ...chunks.map((chunkTokens) => ({ model: 'dense-bf16', chunkTokens, why: 'original naming, zero-centred norms, two shards' })),
  ...chunks.map((chunkTokens) => ({ model: 'dense-3bit', chunkTokens, why: 'MLX 3-bit, three value heads per key head' })),
  {
    model: 'irregular-bf16',
    chunkTokens: 64,
    why: 'irregular layer types, five shards, key and value dims differ, odd vocabulary',
  },
  { model: 'gqa6-4bit', chunkTokens: 64, why: 'GQA 6, head_dim 256, 8 layers, R = 3, odd vocabulary' },
])('$model in chunks of $chunkTokens gives the reference logits: $why', async ({ model, chunkTokens }) => {
  expectWithin(await scoreOf(model, chunkTokens), f32);
});

/** A minute or more each on a CPU adapter: `npm run test:long`. */
const longChunks = process.env.SLUICE_LONG ? chunks : [];
for (const chunkTokens of longChunks) {
  test(`a prompt of 1,500 tokens in chunks of ${chunkTokens}`, { timeout: 1_200_000 }, async () => {
    const score = await scoreVectors(
      gpu,
      await files('gqa6-4bit'),
      { chunkTokens, kv: 'f32', f16: false },
      'expected_long.safetensors',
    );
    expectWithin(score, f32);
  });
}

test('chunk lengths agree with each other to 1e-4', async () => {
  const all = await Promise.all(chunks.map((chunkTokens) => scoreOf('dense-4bit', chunkTokens)));
  for (const a of all) for (const b of all) expect(relativeError(a.prefillLogits, b.prefillLogits)).toBeLessThanOrEqual(1e-4);
});

test('keys and values in f16 stay within their rounding', async () => {
  expectWithin(await scoreVectors(gpu, await files('dense-4bit'), { chunkTokens: 64, kv: 'f16', f16: false }), f16);
});

test('matrices split over many slabs change nothing', async () => {
  const options = { chunkTokens: 64, kv: 'f32', f16: false } as const;
  const whole = await scoreOf('dense-4bit', 64);
  const split = await scoreVectors(gpu, await files('dense-4bit'), { ...options, slabBytes: 6000 });
  expect(relativeError(split.prefillLogits, whole.prefillLogits)).toBe(0);
});

test.each([
  { subgroups: true, chunkTokens: 64 },
  { subgroups: false, chunkTokens: 64 },
  { subgroups: true, chunkTokens: 7 },
  { subgroups: true, chunkTokens: 512 },
])(
  'the variants for GPUs, on this adapter, subgroups: $subgroups, chunks of $chunkTokens',
  { timeout: 240_000 },
  async ({ subgroups, chunkTokens }) => {
    expect(gpu.subgroups).toBe(true); // SwiftShader has them: without, one row would test nothing
    const variant = { ...gpu, direct: false, subgroups };
    expectWithin(await scoreVectors(variant, await files('dense-4bit'), { chunkTokens, kv: 'f32', f16: false }), f32);
  },
);

test('decoding with integer activations', { timeout: 240_000 }, async () => {
  expect(gpu.int8Dot).toBe(true);
  const options = { chunkTokens: 64, kv: 'f32', f16: false, precision: 'fast' } as const;
  const score = await scoreVectors({ ...gpu, direct: false }, await files('dense-4bit'), options);
  expectWithin(score, f32);
  expect(score.decode.all).toBeGreaterThan(2e-5); // f32 gives a tenth of it: the integers were in use
});

test('nothing stays allocated', () => expect(gpu.memory.bytes).toBe(0));

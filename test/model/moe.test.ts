import { beforeAll, expect, test } from 'vitest';
import { ModelSession, sessionPlan } from '../../src/engine/model_session';
import type { EngineError } from '../../src/errors';
import type { Gpu } from '../../src/gpu/device';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import { openCheckpoint } from '../../src/stream/open_checkpoint';
import { regularLayerTypes } from '../../src/synth/presets';
import { plannedModel } from '../plan/models';
import { type Score, scoreVectors } from './vectors';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openNodeGpu();
});

const files = (name: string) => openDirectory(new URL(`../fixtures/vectors/${name}`, import.meta.url).pathname);
const options = { chunkTokens: 16, kv: 'f32', f16: false } as const;

/** With all experts there, in chunks of 16: computed once, as several tests look at it. */
function scoreOf(model: string): Promise<Score> {
  const score = scores.get(model) ?? files(model).then((from) => scoreVectors(gpu, from, options));
  scores.set(model, score);
  return score;
}
const scores = new Map<string, Promise<Score>>();

function expectReference({ prefill, decode }: Score): void {
  expect(Math.max(prefill.all, decode.all)).toBeLessThanOrEqual(2e-4);
  expect(Math.max(prefill.worstRow, decode.worstRow)).toBeLessThanOrEqual(1e-3);
}

test.each([1, 7, 64])('a mixture of 16 experts in chunks of %i gives the reference logits', async (chunkTokens) => {
  expectReference(await scoreVectors(gpu, await files('moe-4bit'), { ...options, chunkTokens }));
});

test.each([
  { model: 'moe8-bf16', why: 'original naming, gate and up in one tensor, three shards' },
  { model: 'moe64-4bit', why: 'top 8; the shared expert is wider than the others; two shards' },
  { model: 'moe512-4bit', why: 'top 10 of 512' },
  { model: 'next-bf16', why: 'Qwen3-Next: grouped projections, flat RoPE keys, a tensor for each expert' },
  { model: 'next-4bit', why: 'Qwen3-Next as MLX keeps it' },
])('$model gives the reference logits: $why', async ({ model }) => {
  expectReference(await scoreOf(model));
});

async function smallestBudget(name: string, contextTokens: number, chunkTokens: number = options.chunkTokens): Promise<number> {
  const checkpoint = await openCheckpoint(await files(name));
  const plan = sessionPlan(gpu, checkpoint, { ...options, chunkTokens, contextTokens, gpuBudgetBytes: 2 ** 40 });
  for (const source of checkpoint.sources.values()) source.close();
  return plan.smallestBudgetBytes;
}

test('experts that come and go change no bit, down to the smallest budget, which is the one that a refusal names', async () => {
  const all = await scoreOf('moe-4bit');
  const least = await smallestBudget('moe-4bit', 124);
  for (const gpuBudgetBytes of [least, least + 50_000, least + 400_000]) {
    const some = await scoreVectors(gpu, await files('moe-4bit'), { ...options, gpuBudgetBytes });
    expect(some.prefillLogits).toEqual(all.prefillLogits);
    expect(some.decode).toEqual(all.decode);
  }
  await expect(scoreVectors(gpu, await files('moe-4bit'), { ...options, gpuBudgetBytes: least - 1 })).rejects.toThrow(
    expect.objectContaining({ code: 'budget', message: expect.stringContaining(`${least} bytes`) }) as EngineError,
  );
});

test.each(['moe8-bf16', 'moe64-4bit', 'moe512-4bit', 'next-4bit'])('%s: the smallest budget changes no bit', async (name) => {
  const all = await scoreOf(name);
  const gpuBudgetBytes = await smallestBudget(name, name === 'moe64-4bit' ? 66 : name === 'moe512-4bit' ? 42 : 52);
  const some = await scoreVectors(gpu, await files(name), { ...options, gpuBudgetBytes });
  expect(some.prefillLogits).toEqual(all.prefillLogits);
  expect(some.decode).toEqual(all.decode);
});

test('experts of several slabs, one after another and all at once, change no bit', async () => {
  const checkpoint = await openCheckpoint(await files('moe-4bit'));
  const shape = { ...options, contextTokens: 124 };
  const slabBytes = 20 * sessionPlan(gpu, checkpoint, shape).experts!.slotBytes; // of 64 experts
  const whole = sessionPlan(gpu, checkpoint, { ...shape, slabBytes });
  const gpuBudgetBytes = whole.bytes.total - 24 * whole.experts!.slotBytes;
  const part = sessionPlan(gpu, checkpoint, { ...shape, slabBytes, gpuBudgetBytes });
  for (const source of checkpoint.sources.values()) source.close();
  expect(whole.experts!.slabs.length).toBe(4);
  expect(part.experts).toMatchObject({ complete: false, slabs: [{ layers: 1 }, { layers: 1 }, { layers: 2 }] });
  const all = await scoreOf('moe-4bit');
  for (const budget of [{}, { gpuBudgetBytes }]) {
    const some = await scoreVectors(gpu, await files('moe-4bit'), { ...options, slabBytes, ...budget });
    expect(some.prefillLogits).toEqual(all.prefillLogits);
    expect(some.decode).toEqual(all.decode);
  }
});

test('tokens computed before their experts are known to be there come out alike', async () => {
  const checkpoint = await openCheckpoint(await files('moe-4bit'));
  const { bytes, experts } = sessionPlan(gpu, checkpoint, { ...options, contextTokens: 124 });
  for (const source of checkpoint.sources.values()) source.close();
  const all = await scoreOf('moe-4bit');
  expect(all.waits).toBe(0);
  const [tokens, layers] = [24, 4];
  const cases = [
    { fewer: 6, speculation: 'on' },
    { fewer: 56, speculation: 'on' },
    { fewer: 30, speculation: 'on' },
    { fewer: 30, speculation: 'off' },
    { fewer: 30, speculation: 'auto' },
  ] as const;
  for (const { fewer, speculation } of cases) {
    const gpuBudgetBytes = bytes.total - fewer * experts!.slotBytes;
    const some = await scoreVectors(gpu, await files('moe-4bit'), { ...options, gpuBudgetBytes, speculation });
    expect(some.prefillLogits).toEqual(all.prefillLogits);
    expect(some.decode).toEqual(all.decode);
    if (speculation === 'off') expect(some.waits).toBe(tokens * layers);
    if (speculation === 'on' && fewer > 6) expect(some.waits).toBeGreaterThan(tokens); // some token had to go on from a layer that missed
  }
});

// A chunk of 90 tokens takes an expert's choices together, the ten behind it each by itself.
test('the kernels of a GPU, on this adapter', { timeout: 240_000 }, async () => {
  const asGpu = { ...gpu, direct: false };
  const chunks = { ...options, chunkTokens: 90, speculation: 'on' } as const;
  const gpuBudgetBytes = (await smallestBudget('moe-4bit', 124, 90)) + 200_000;
  const some = await scoreVectors(asGpu, await files('moe-4bit'), { ...chunks, gpuBudgetBytes });
  expectReference(some);
  expect(some.waits).toBeGreaterThan(0);
  expect(some).toEqual({ ...(await scoreVectors(asGpu, await files('moe-4bit'), chunks)), waits: some.waits });
});

test('a token takes three dispatches through a mixture: projections, experts as they are chosen, what all of them add', async () => {
  const checkpoint = await openCheckpoint(await files('moe-4bit'));
  const session = await ModelSession.load({ ...gpu, direct: false }, checkpoint, { ...options, contextTokens: 32 });
  const mixtures = [...session.recordings.decode.body].filter(({ mixture }) => mixture);
  expect(mixtures.length).toBe(4);
  for (const { dispatches } of mixtures) {
    expect(dispatches.map(({ kernel }) => kernel.label.split(' ')[0])).toEqual([
      'moe_project',
      'moe_gate_up_q4',
      'moe_down_sum_q4',
    ]);
    expect(dispatches[1]!.kernel.label).toContain('ranked');
  }
  session.destroy();
  for (const source of checkpoint.sources.values()) source.close();
});

test('the more a synthetic router is skewed, the more of the choices fall on few experts', async () => {
  const moe = { experts: 32, chosen: 4, intermediateSize: 64, sharedIntermediateSize: 64, renormalised: true };
  const shapes = {
    ...{ hiddenSize: 256, intermediateSize: 64, vocabSize: 512, numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 64, moe },
    ...{ layerTypes: regularLayerTypes(2), linearNumKeyHeads: 2, linearNumValueHeads: 4, linearKeyHeadDim: 32 },
    ...{ linearValueHeadDim: 32, tieWordEmbeddings: false },
  };
  /** Of the choices of the last layer, the share of the most popular eight. */
  const popular = async (skew: number): Promise<number> => {
    const model = plannedModel({ shapes, bits: 4, skew });
    const shape = { ...options, contextTokens: 64, chunkTokens: 64 };
    const session = await ModelSession.load(gpu, { ...model, sources: model.sources() }, shape);
    const { runner, sequence, scratch } = session;
    await runner.step([{ sequence, tokens: Uint32Array.from({ length: 64 }, (_, i) => (i * 37) % 512), logits: 'none' }]);
    const picks = new Uint32Array(64 * moe.chosen);
    await runner.readBuffer(scratch.picks, 0, new Uint8Array(picks.buffer));
    session.destroy();
    const uses = Array.from({ length: moe.experts }, (_, expert) => picks.filter((pick) => pick === expert).length);
    return (
      uses
        .sort((a, b) => b - a)
        .slice(0, 8)
        .reduce((sum, count) => sum + count) / picks.length
    );
  };
  const shares = [await popular(0), await popular(1), await popular(2)] as [number, number, number];
  console.log(shares.map((share) => share.toFixed(2)).join(', '));
  expect(shares[0]).toBeLessThan(0.5); // even would be a quarter, of 256 choices by chance somewhat more
  expect(shares[1]).toBeGreaterThan(shares[0] + 0.1);
  expect(shares[2]).toBeGreaterThan(shares[1] + 0.05);
});

test('nothing stays allocated', () => expect(gpu.memory.bytes).toBe(0));

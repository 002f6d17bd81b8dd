/** A mixture that is shapes only, under a budget: its experts come from a file of images, and a trace says which. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ExpertFile, expertFile, expertFileHead, expertImages } from '../../src/bench/expert_file';
import { benchModel, type ContextFigures } from '../../src/bench/model';
import { openPreset, smallShapes } from '../../src/bench/preset';
import { replay } from '../../src/bench/replay';
import { budgetOfSlots } from '../../src/bench/slot_budget';
import { leastRecentlyUsedMisses, picksOf, realisticTrace } from '../../src/bench/trace';
import type { Gpu } from '../../src/gpu/device';
import { openNodeGpu } from '../../src/node/open_gpu';
import { picksStride } from '../../src/plan/shapes';
import { memorySource } from '../../src/storage/memory';
import { describeSynthetic } from '../../src/synth/layout';
import { presetShapes } from '../../src/synth/presets';

const shapes = smallShapes(presetShapes('qwen3.5-35b-a3b'));
const described = describeSynthetic({ shapes, bits: 4 });
const { moe } = shapes as { moe: { experts: number; chosen: number } };
const layers = shapes.layerTypes.length;
const config = { chunkTokens: 16, kv: 'f16', contextTokens: 64 } as const;

let gpu: Gpu;
let file: ExpertFile;
beforeAll(async () => {
  gpu = await openNodeGpu();
  const images = (await expertImages(described)).slice(0, 3); // fewer than experts: they are shared
  file = await expertFile(described, memorySource(await bytesOf([expertFileHead(described), ...images]), 'images'));
}, 60_000);
afterAll(() => gpu?.device.destroy());

const bytesOf = async (parts: Uint8Array<ArrayBuffer>[]) => new Uint8Array(await new Blob(parts).arrayBuffer());

const budget = (share: number, contextTokens: number) => budgetOfSlots(gpu, described, { ...config, contextTokens }, share);

test('tokens and prompts run through the experts of the trace, whatever the routers choose', async () => {
  const session = await openPreset(
    gpu,
    described,
    { ...config, gpuBudget: budget(0.7, config.contextTokens) },
    { experts: file },
  );
  const trace = realisticTrace({ layers, ...moe }, 8, 5); // begun again within the run
  await replay(gpu, session, trace);
  const { sequence, runner, scratch, experts } = session;
  await runner.step([{ sequence, tokens: new Uint32Array(9), logits: 'none' }]);
  const before = experts!.counts.prefill;
  const wanted = Array.from(
    { length: layers },
    (_, layer) => new Set(Array.from({ length: 9 }, (_, token) => [...picksOf(trace, layer, token)]).flat()),
  );
  expect(before.hits + before.misses).toBe(wanted.reduce((sum, { size }) => sum + size, 0));
  for (const position of [9, 10]) {
    await runner.step([{ sequence, tokens: new Uint32Array(1), logits: 'none' }]);
    const picks = new Uint8Array(layers * picksStride);
    await runner.readBuffer(scratch.layerPicks, 0, picks);
    for (let layer = 0; layer < layers; layer++) {
      const chosen = new Uint32Array(picks.buffer, layer * picksStride, moe.chosen);
      expect(chosen).toEqual(picksOf(trace, layer, position));
    }
  }
  session.destroy();
});

const isLong = process.env.SLUICE_LONG === '1'; // two more sessions, with pipelines of their own

test.runIf(isLong)('a bench with a trace says what was missed, what would be, and what it could have reached', async () => {
  const sizes = { contexts: [6], promptTokens: 10, decodeTokens: 6, repeat: 2, seed: 1, trace: 'real' } as const;
  const figures: ContextFigures[] = [];
  for (const share of [0.5, 0.75]) {
    const open = (gpu: Gpu, contextTokens: number) =>
      openPreset(gpu, described, { ...config, contextTokens, gpuBudget: budget(share, contextTokens) }, { experts: file });
    figures.push(...((await benchModel(gpu, { ...sizes, open })) as ContextFigures[]));
  }
  const [few, more] = figures as [ContextFigures, ContextFigures];
  expect(few.ids).toEqual(more.ids); // from the same images: a budget changes no token
  expect(few.repeatable && more.repeatable).toBe(true);
  for (const { experts, bound } of figures) {
    expect(experts!.hits + experts!.misses).toBe(sizes.repeat * sizes.decodeTokens * layers * moe.chosen);
    expect(bound!.missesPerToken).toBeCloseTo(experts!.misses / (sizes.repeat * sizes.decodeTokens));
    const trace = realisticTrace({ layers, ...moe }, 2048, 1);
    const read = Array.from({ length: 16 }, (_, i) => 6 + i);
    const positions = [0, 1, 2, 3, 4, 5, ...read, ...read];
    expect(bound!.lruMissesPerToken * 6).toBe(leastRecentlyUsedMisses(trace, experts!.slots, positions, 6));
    const seconds =
      1 / bound!.residentTokensPerSecond + (bound!.lruMissesPerToken * bound!.msPerExpert) / bound!.parallelism / 1000;
    expect(bound!.tokensPerSecond).toBeCloseTo(1 / seconds);
  }
  expect(few.experts!.misses).toBeGreaterThan(more.experts!.misses);
});

test('a file of other images is refused', async () => {
  const other = describeSynthetic({ shapes, bits: 3 });
  await expect(expertFile(other, file.source)).rejects.toThrow(/not a file of this model's experts/);
});

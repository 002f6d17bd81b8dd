/** What the least recently used experts of each layer hit in text that synthetic models write. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { leastRecentlyUsedMisses, type Trace } from '../../src/bench/trace';
import { LogitRow } from '../../src/engine/logit_row';
import { ModelSession, sessionPlan } from '../../src/engine/model_session';
import { Random } from '../../src/engine/random';
import type { Gpu } from '../../src/gpu/device';
import { openNodeGpu } from '../../src/node/open_gpu';
import { picksStride } from '../../src/plan/shapes';
import { regularLayerTypes } from '../../src/synth/presets';
import { subjects } from '../../src/synth/tensors';
import { plannedModel } from '../plan/models';

const tokens = 420;
const counted = 250;
const layers = 1;
const moe = { experts: 256, chosen: 8, intermediateSize: 64, sharedIntermediateSize: 64, renormalised: true };
const shapes = {
  ...{ hiddenSize: 2048, intermediateSize: 64, vocabSize: 2048, numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 64, moe },
  ...{ layerTypes: regularLayerTypes(layers), linearNumKeyHeads: 2, linearNumValueHeads: 4, linearKeyHeadDim: 32 },
  ...{ linearValueHeadDim: 32, tieWordEmbeddings: false },
};

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openNodeGpu();
});
afterAll(() => gpu.device.destroy());

/** Of one text, drawn with temperature 0.7 from the 20 likeliest tokens: what its tokens chose, and how often the subject changed. */
async function write(model: { skew: number; locality: number }): Promise<{ trace: Trace; changes: number }> {
  const planned = plannedModel({ shapes, bits: 4, ...model });
  const options = { chunkTokens: 16, kv: 'f32', f16: false, contextTokens: tokens } as const;
  const { smallestBudgetBytes } = sessionPlan(gpu, planned, { ...options, gpuBudgetBytes: 2 ** 40 });
  const gpuBudgetBytes = smallestBudgetBytes + 17e6; // experts come and go, so each token says what it chose
  const session = await ModelSession.load(gpu, { ...planned, sources: planned.sources() }, { ...options, gpuBudgetBytes });
  const { sequence, runner, scratch } = session;
  expect(session.plan.experts!.complete).toBe(false);
  const row = new LogitRow(shapes.vocabSize);
  const random = new Random(1);
  const picks = new Uint32Array(layers * tokens * moe.chosen);
  let token = 5;
  let changes = 0;
  for (let at = 0; at < tokens; at++) {
    await runner.step([{ sequence, tokens: Uint32Array.of(token), logits: 'last', onLogits: row.add }]);
    const bytes = new Uint8Array(layers * picksStride);
    await runner.readBuffer(scratch.layerPicks, 0, bytes);
    for (let layer = 0; layer < layers; layer++)
      picks.set(new Uint32Array(bytes.buffer, layer * picksStride, moe.chosen), (layer * tokens + at) * moe.chosen);
    const next = draw(row.values, random);
    if (next % subjects !== token % subjects) changes += 1;
    token = next;
  }
  session.destroy();
  return { trace: { layers, experts: moe.experts, chosen: moe.chosen, tokens, picks }, changes };
}

function draw(logits: Float32Array, random: Random): number {
  const best = Array.from(logits.keys())
    .sort((a, b) => logits[b]! - logits[a]!)
    .slice(0, 20);
  const weights = best.map((id) => Math.exp((logits[id]! - logits[best[0]!]!) / 0.7));
  let left = random.next() * weights.reduce((sum, weight) => sum + weight, 0);
  const drawn = best.find((_, i) => {
    left -= weights[i]!;
    return left < 0;
  });
  return drawn ?? best[0]!;
}

function hits(trace: Trace, share: number): number {
  const positions = Array.from({ length: tokens }, (_, i) => i);
  const misses = leastRecentlyUsedMisses(trace, share * moe.experts * layers, positions, counted);
  return 1 - misses / (counted * layers * moe.chosen);
}

const isLong = process.env.SLUICE_LONG === '1'; // a minute

test.runIf(isLong)('with skew 1 and locality 0.7 they hit as in traces of a real 35B-A3B', { timeout: 600_000 }, async () => {
  const { trace, changes } = await write({ skew: 1, locality: 0.7 });
  const figures = [0.25, 0.5, 0.75].map((share) => hits(trace, share));
  console.log(figures.map((figure) => figure.toFixed(3)).join(', '), { changes });
  // Real ones: 76 to 87 %, 94 to 96 %, 98 to 99 %. A text of another seed is off by a few percent.
  const real: [number, number][] = [
    [0.73, 0.9],
    [0.92, 0.98],
    [0.97, 0.995],
  ];
  for (const [i, [least, most]] of real.entries()) {
    expect(figures[i]).toBeGreaterThanOrEqual(least);
    expect(figures[i]).toBeLessThanOrEqual(most);
  }
  expect(changes).toBeLessThan(tokens / 2);
});

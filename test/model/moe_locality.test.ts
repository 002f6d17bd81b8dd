/** Experts that are popular with a subject, in synthetic models: neighbouring tokens choose alike, tokens of another subject do not. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LogitRow } from '../../src/engine/logit_row';
import { ModelSession } from '../../src/engine/model_session';
import type { Gpu } from '../../src/gpu/device';
import { openNodeGpu } from '../../src/node/open_gpu';
import { regularLayerTypes } from '../../src/synth/presets';
import { subjects } from '../../src/synth/tensors';
import { plannedModel } from '../plan/models';

const moe = { experts: 32, chosen: 4, intermediateSize: 64, sharedIntermediateSize: 64, renormalised: true };
const shapes = {
  ...{ hiddenSize: 1024, intermediateSize: 64, vocabSize: 1024, numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 64, moe },
  ...{ layerTypes: regularLayerTypes(2), linearNumKeyHeads: 2, linearNumValueHeads: 4, linearKeyHeadDim: 32 },
  ...{ linearValueHeadDim: 32, tieWordEmbeddings: false },
};
const tokens = 48;
/** Experts of a subject that count as popular. */
const few = 8;

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openNodeGpu();
});
afterAll(() => gpu.device.destroy());

/** Of texts that keep to one of two subjects. */
async function texts(locality: number) {
  const model = plannedModel({ shapes, bits: 4, skew: 2, locality });
  const options = { contextTokens: tokens, chunkTokens: tokens, kv: 'f32', f16: false } as const;
  const session = await ModelSession.load(gpu, { ...model, sources: model.sources() }, options);
  const { runner, sequence, scratch } = session;
  const row = new LogitRow(shapes.vocabSize);
  const uses: number[][] = [];
  let staying = 0;
  for (const subject of [0, 1]) {
    sequence.reset();
    const ids = Uint32Array.from({ length: tokens }, (_, i) => subject + subjects * ((i * 37) % 128));
    await runner.step([{ sequence, tokens: ids, logits: 'last', onLogits: row.add }]);
    const picks = new Uint32Array(tokens * moe.chosen); // of the last layer
    await runner.readBuffer(scratch.picks, 0, new Uint8Array(picks.buffer));
    uses.push(Array.from({ length: moe.experts }, (_, expert) => picks.filter((pick) => pick === expert).length / picks.length));
    const likely = Array.from(row.values.keys()).sort((a, b) => row.values[b]! - row.values[a]!);
    staying += likely.slice(0, 20).filter((id) => id % subjects === subject).length / 40;
  }
  session.destroy();
  const [one, other] = uses as [number[], number[]];
  const popular = Array.from(one.keys())
    .sort((a, b) => one[b]! - one[a]!)
    .slice(0, few);
  const share = (of: number[]) => popular.reduce((sum, expert) => sum + of[expert]!, 0);
  return { within: share(one), across: share(other), staying };
}

test('with locality each subject has popular experts of its own, and a text stays with its subject', async () => {
  const [common, own] = [await texts(0), await texts(1)];
  console.log(JSON.stringify({ common, own }));
  // Even would be a quarter. Without locality the same experts are popular whatever the subject.
  expect(common.within).toBeGreaterThan(0.6);
  expect(common.across).toBeGreaterThan(common.within - 0.15);
  expect(common.staying).toBeLessThan(0.25); // even would be an eighth
  expect(own.within).toBeGreaterThan(0.6);
  expect(own.across).toBeLessThan(own.within - 0.25);
  expect(own.staying).toBeGreaterThan(0.375);
});

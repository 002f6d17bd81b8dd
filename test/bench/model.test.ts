/** The whole-model bench at a tiny size on Dawn: its figures are those of the model that ran, and its weights make a model worth running. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { effortOn } from '../../src/bench/ceilings';
import { weightsOnDevice } from '../../src/bench/device_weights';
import { benchModel, type ContextFigures, type ModelBench } from '../../src/bench/model';
import { profileTable, withModelShares } from '../../src/bench/model_report';
import { openPreset, smallShapes } from '../../src/bench/preset';
import { profileStep } from '../../src/bench/profile';
import { prefillFlopPerToken } from '../../src/bench/traffic';
import { sessionOptions } from '../../src/engine/engine_core';
import { ModelSession, type SessionOptions } from '../../src/engine/model_session';
import type { Gpu } from '../../src/gpu/device';
import { openNodeGpu } from '../../src/node/open_gpu';
import { slotBytes } from '../../src/plan/shapes';
import type { EngineConfig } from '../../src/protocol/engine';
import { describeSynthetic, type SyntheticModel } from '../../src/synth/layout';
import { presetShapes } from '../../src/synth/presets';

const shapes = smallShapes(presetShapes('qwen3.5-9b'));
const config: EngineConfig = { chunkTokens: 16, kv: 'f16' };
const sizes = { contexts: [0, 40], promptTokens: 20, decodeTokens: 5, repeat: 2, seed: 1 };

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openNodeGpu();
}, 60_000);
afterAll(() => gpu?.device.destroy());

type Opened = { dispatches: number; inLayers: number; planned: number };

/** Figures, and what each session was, seen apart from the bench. */
async function run(open: ModelBench['open'], bench: Partial<ModelBench> = {}) {
  const opened: Opened[] = [];
  const rows = await benchModel(gpu, {
    ...sizes,
    ...bench,
    open: async (on, contextTokens) => {
      const session = await open(on, contextTokens);
      const { body, head } = session.recordings.decode;
      const inBody = body.reduce((sum, { dispatches }) => sum + dispatches.length, 0);
      const embed = body.filter(({ label }) => label === 'embed').reduce((sum, { dispatches }) => sum + dispatches.length, 0);
      const inHead = head.reduce((sum, { dispatches }) => sum + dispatches.length, 0);
      opened.push({ dispatches: inBody + inHead, inLayers: inBody - embed, planned: session.plan.bytes.total });
      return session;
    },
  });
  return { rows: rows as ContextFigures[], opened };
}

const preset = (model: Partial<SyntheticModel> = {}) => {
  const described = describeSynthetic({ shapes, bits: 4, ...model } as SyntheticModel);
  return (on: Gpu, contextTokens: number) => openPreset(on, described, { ...config, contextTokens });
};

const matrixBytes = (rows: number, cols: number) => (rows * cols) / 2 + ((rows * cols) / 64) * 4;

/** From the shapes alone. */
function expectedBytes(positions: number[]) {
  const { hiddenSize: h, intermediateSize: i, vocabSize, headDim, numAttentionHeads: heads, numKeyValueHeads: kvHeads } = shapes;
  const { linearNumKeyHeads: keyHeads, linearNumValueHeads: valueHeads, linearKeyHeadDim: dk, linearValueHeadDim: dv } = shapes;
  const channels = 2 * keyHeads * dk + valueHeads * dv;
  const vector = (length: number) => Math.ceil((length * 4) / 16) * 16;
  const mlp = 2 * matrixBytes(i, h) + matrixBytes(h, i) + 2 * vector(h);
  const attention = matrixBytes(2 * heads * headDim, h) + 2 * matrixBytes(kvHeads * headDim, h) + matrixBytes(h, heads * headDim);
  const delta =
    matrixBytes(channels, h) +
    matrixBytes(valueHeads * dv, h) +
    2 * matrixBytes(valueHeads, h) +
    matrixBytes(h, valueHeads * dv) +
    vector(channels * 4) +
    2 * vector(valueHeads) +
    vector(dv);
  const weights =
    4 * mlp + attention + 2 * vector(headDim) + 3 * delta + matrixBytes(vocabSize, h) + vector(h) + matrixBytes(1, h);
  const kv = positions.reduce((sum, position) => sum + 2 * kvHeads * headDim * 2 * (position + 2), 0) / positions.length;
  const state = 3 * 2 * 4 * (valueHeads * dk * dv + 3 * channels);
  return { weights, kv, state, total: weights + kv + state };
}

test('figures are those of the model that ran, and two runs with the same seed give the same ids', async () => {
  const [first, second] = [await run(preset()), await run(preset())];
  for (const [n, figures] of first.rows.entries()) {
    const opened = first.opened[n]!;
    const start = figures.context + sizes.promptTokens;
    const bytes = expectedBytes(Array.from({ length: sizes.decodeTokens }, (_, step) => start + step));
    expect(figures.bytesPerToken).toEqual({ ...bytes, kv: expect.closeTo(bytes.kv, 6), total: expect.closeTo(bytes.total, 6) });
    expect(figures.dispatchesPerToken).toBe(opened.dispatches);
    expect(figures.dispatchesPerLayer).toBe(opened.inLayers / 4);
    expect(figures.submitsPerToken).toBeGreaterThanOrEqual(1);
    expect(figures.plannedGpuBytes).toBe(opened.planned);
    expect(figures.peakGpuBytes).toBeLessThanOrEqual(opened.planned);
    expect(figures.logitDeviation).toBeGreaterThan(1);
    expect(figures.logitDeviation).toBeLessThan(20);
    for (const { median, spread, count } of [figures.prefillTokensPerSecond, figures.decodeTokensPerSecond]) {
      expect(count).toBe(sizes.repeat);
      expect(median).toBeGreaterThan(0);
      expect(spread).toBeGreaterThanOrEqual(0);
    }
    expect(figures.gbPerSecond).toBeCloseTo((figures.bytesPerToken.total * figures.decodeTokensPerSecond.median) / 1e9, 9);
    expect(figures.ids).toHaveLength(sizes.decodeTokens + 1);
    expect(figures.repeatable).toBe(true);
    expect(second.rows[n]!.ids).toEqual(figures.ids);
  }
  expect(first.rows[0]!.ids).not.toEqual(first.rows[1]!.ids);
  expect(gpu.memory.bytes).toBe(0);
});

test('weights are the same wherever a plan cuts them', async () => {
  const described = describeSynthetic({ shapes, bits: 4 });
  const cut = async (gpu: Gpu, contextTokens: number) => {
    const options: SessionOptions = { contextTokens, chunkTokens: 16, kv: 'f16', f16: false, slabBytes: 4096 };
    const make = weightsOnDevice(gpu, described);
    const session = await ModelSession.load(gpu, { ...described, sources: new Map(), make }, options);
    expect(session.plan.model.layers[0]!.mlp.gateProj.parts.length).toBeGreaterThan(1);
    return session;
  };
  const short = { contexts: [0], repeat: 1 };
  const [whole, parts] = [await run(preset(), short), await run(cut, short)];
  expect(parts.rows[0]!.ids).toEqual(whole.rows[0]!.ids);
  expect(parts.rows[0]!.logitDeviation).toBe(whole.rows[0]!.logitDeviation);
});

test.each([{ bits: 3 }, { bits: 16 }] as const)('$bits bits', async (model) => {
  const { rows } = await run(preset(model), { contexts: [0], repeat: 1 });
  expect(rows[0]!.logitDeviation).toBeGreaterThan(1);
  expect(rows[0]!.logitDeviation).toBeLessThan(20);
});

test('a tied head', async () => {
  const tied = { shapes: { ...shapes, tieWordEmbeddings: true } };
  const { rows } = await run(preset(tied), { contexts: [0], repeat: 1 });
  expect(rows[0]!.logitDeviation).toBeGreaterThan(1);
  expect(new Set(rows[0]!.ids).size).toBeGreaterThan(1);
});

test('steps that the GPU queues ahead are counted as well', async () => {
  const described = describeSynthetic({ shapes, bits: 4 });
  const { rows, opened } = await run(
    (gpu, contextTokens) => {
      const options = { ...sessionOptions({ ...config, contextTokens }, described, gpu), gpuLoop: true };
      return ModelSession.load(gpu, { ...described, sources: new Map(), make: weightsOnDevice(gpu, described) }, options);
    },
    { contexts: [0], repeat: 1, decodeTokens: 8 },
  );
  // Two that sample by a list of candidates, and one that advances the step.
  expect((rows[0] as ContextFigures).dispatchesPerToken).toBe(opened[0]!.dispatches + 3);
});

test('a budget under which weights would stream is refused, and says what to do', async () => {
  const described = describeSynthetic({ shapes, bits: 4 });
  const needed = await openPreset(gpu, described, { ...config, contextTokens: 64 });
  const { plan } = needed;
  const extras = plan.snapshotSlots * slotBytes(needed.config, needed.options.kv); // given up before anything streams
  const gpuBudget = plan.bytes.total - extras - 1;
  needed.destroy();
  await expect(openPreset(gpu, described, { ...config, contextTokens: 64, gpuBudget })).rejects.toThrow(/`synth`.*--model/);
});

test('a context that does not fit is skipped; one where none fits is an error', async () => {
  const { rows } = await run(preset(), { contexts: [0, 300_000], repeat: 1 });
  expect(rows[1]).toEqual({ context: 300_000, skipped: expect.stringMatching(/was made for 262144/) });
  await expect(run(preset(), { contexts: [300_000] })).rejects.toThrow(/was made for 262144/);
});

test('a profile passes through every matrix once, and says which part of the ceilings each kernel reaches', async () => {
  const session = await preset()(gpu, 48);
  const { plan, config: modelConfig } = session;
  const prompt = await profileStep(session, effortOn(gpu), 16);
  const decode = await profileStep(session, effortOn(gpu), 1);
  session.destroy();
  const bytes = plan.model.units.reduce((sum, unit) => sum + (unit.kind === 'embed' ? 0 : unit.bytes), 0);
  const read = decode.reduce((sum, { gbPerSecond = 0, msPerStep }) => sum + gbPerSecond * msPerStep * 1e6, 0);
  expect(read).toBeCloseTo(bytes, 0);
  const head = 2 * modelConfig.vocabSize * modelConfig.hiddenSize; // of the last token alone
  const flop = prompt.reduce((sum, { tflops = 0, msPerStep }) => sum + tflops * msPerStep * 1e9, 0);
  expect(flop).toBeCloseTo(16 * prefillFlopPerToken(plan, modelConfig) + head, -1);
  const machine = { readGBps: { value: 50, spread: 0 }, fmaTflops: { value: 2, spread: 0 } };
  const profiles = [{ tokens: 1, rows: decode }];
  const reported = withModelShares({ profiles, gbPerSecond: 1, prefillTflops: 1 } as ContextFigures, machine);
  if ('skipped' in reported) throw new Error('a row is missing');
  for (const { gbPerSecond, tflops, ofRead, ofFma } of reported.profiles[0]!.rows)
    expect([ofRead, ofFma]).toEqual(gbPerSecond === undefined ? [undefined, undefined] : [gbPerSecond / 50, tflops! / 2]);
  const lines = profileTable(0, reported.profiles[0]!).split('\n');
  expect(lines.length).toBe(2 + decode.length);
  expect(lines[1]).toMatch(/GB\/s +of read +TFLOP\/s +of FMA$/);
});

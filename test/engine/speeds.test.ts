/** What is foretold before loading is what then comes: on a disk that decides the pace, so that nothing else on this machine does. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadedPlan, planOf, sessionOptions, withSpeeds } from '../../src/engine/engine_core';
import { ModelSession, sessionPlan } from '../../src/engine/model_session';
import { measureSpeeds } from '../../src/engine/speeds';
import type { Gpu } from '../../src/gpu/device';
import { openNodeGpu } from '../../src/node/open_gpu';
import { sourcesOf, windowsOf } from '../../src/plan/windows';
import type { EngineConfig } from '../../src/protocol/engine';
import type { ModelSource } from '../../src/stream/model_source';
import type { OpenedCheckpoint } from '../../src/stream/open_checkpoint';
import { loggedReads, openSynthetic, someIds, tinyShapes, withReads } from './memory_model';

const shapes = { ...tinyShapes, hiddenSize: 512, intermediateSize: 1536 };
const mixtureShapes = {
  ...tinyShapes,
  hiddenSize: 256,
  intermediateSize: 256,
  moe: { experts: 16, chosen: 2, intermediateSize: 256, sharedIntermediateSize: 256, renormalised: true },
};
let gpu: Gpu;
let checkpoint: OpenedCheckpoint;

beforeAll(async () => {
  gpu = await openNodeGpu();
  checkpoint = await openSynthetic({ shapes, bits: 4 });
});
afterAll(() => gpu.memory.release());

/**
 * A disk that gives one read after another `bytesPerMs`; a call that comes back late delays none that was made meanwhile. `rested`: after a
 * pause of 50 ms it gives three times as much for so many milliseconds.
 */
function diskOf(bytesPerMs: number, rested = 0): ModelSource {
  let freeAt = 0;
  let freshUntil = 0;
  const slow = withReads(checkpoint, async (bytes) => {
    const now = performance.now();
    if (now - freeAt > 50) freshUntil = now + rested;
    freeAt = Math.max(freeAt, now);
    freeAt += bytes / bytesPerMs / (freeAt < freshUntil ? 3 : 1);
    await new Promise((resolve) => setTimeout(resolve, freeAt - performance.now()));
  });
  return {
    ...{ label: 'slow', revision: undefined, version: '1', checkpoint: slow, sources: slow.sources, stored: undefined },
    ...{ home: 'local', download: undefined, why: undefined, kept: async () => {} },
    disk: async () => ({ neededBytes: 0, storedBytes: 0, availableBytes: undefined, persisted: undefined }),
    close: async () => {},
  };
}

const config: EngineConfig = { gpuBudget: 6_000_000, contextTokens: 64, chunkTokens: 16 };

async function loaded(model: ModelSource, device = gpu, own: EngineConfig = {}): Promise<ModelSession> {
  const options = await withSpeeds({ gpu: device, model }, sessionOptions({ ...config, ...own }, checkpoint, device), undefined);
  return ModelSession.load(device, model.checkpoint, options);
}

/** Of several tries the quickest: others share this machine. */
async function quickest(tries: number, run: () => Promise<number>): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < tries; i++) best = Math.min(best, await run());
  return best;
}

test('reads are timed that a token makes, from all over the model, within the GPU memory of the plan', async () => {
  const model = diskOf(Number.POSITIVE_INFINITY);
  const { sources, reads } = loggedReads(checkpoint);
  for (const weave of [false, true]) {
    const options = { ...sessionOptions(config, checkpoint, gpu), weave };
    const session = await ModelSession.load(gpu, { ...checkpoint, sources }, options);
    reads.length = 0;
    await session.weights.measureThrough();
    const wanted = new Set(reads);
    const { plan } = session;
    session.destroy();
    reads.length = 0;
    const memory = gpu.memory.scope();
    const speeds = await measureSpeeds({ ...gpu, memory }, { ...model, sources }, { plan, precision: 'exact' });
    expect(reads.filter((read) => !wanted.has(read))).toEqual([]);
    expect(new Set(reads).size).toBeGreaterThan(wanted.size / 3); // a disk as fast as memory has time for all of it
    expect(memory.peakBytes).toBeLessThanOrEqual(plan.bytes.total);
    expect(memory.bytes).toBe(0);
    for (const speed of Object.values(speeds!)) expect(speed).toBeGreaterThan(0);
  }
});

describe('of a model that is not on this machine yet nothing is read', () => {
  const disk = { neededBytes: 100, storedBytes: 40, availableBytes: undefined, persisted: undefined };
  const opening = (home: 'opfs' | 'none') => {
    const { sources, reads } = loggedReads(checkpoint);
    return { model: { ...diskOf(1), home, checkpoint: { ...checkpoint, sources }, sources, disk: async () => disk }, reads };
  };

  test.each(['opfs', 'none'] as const)('what stays is predicted by computing alone: %s', async (home) => {
    const { model, reads } = opening(home);
    const { streamedBytesPerToken, prediction } = await planOf(gpu, model, { ...config, gpuBudget: '1GB' });
    expect(streamedBytesPerToken).toBe(0);
    expect(prediction).toMatchObject({ bound: 'compute', uploadMs: 0 });
    expect(prediction!.tokensPerSecond).toBeGreaterThan(0);
    expect(prediction!.readAssumed).toBeUndefined();
    expect(reads).toEqual([]);
  });

  test('what streams will come from a disk that is taken to give 2 GB/s', async () => {
    const { model, reads } = opening('opfs');
    const { streamedBytesPerToken, prediction } = await planOf(gpu, model, config);
    expect(prediction!.readMs).toBeCloseTo(streamedBytesPerToken / 2e6, 9);
    expect(prediction!.readAssumed).toBe(true);
    expect(reads).toEqual([]);
  });

  test('so do experts that are fetched', async () => {
    const mixture = await openSynthetic({ shapes: mixtureShapes, bits: 4 });
    const { sources, reads } = loggedReads(mixture);
    const model = { ...opening('opfs').model, checkpoint: { ...mixture, sources }, sources };
    const own = { contextTokens: 64, chunkTokens: 16 };
    const all = sessionPlan(gpu, mixture, sessionOptions(own, mixture, gpu));
    const gpuBudget = all.bytes.total - Math.floor(all.experts!.bytes / 2);
    const { expectedExpertBytesPerToken, prediction } = await planOf(gpu, model, { ...own, gpuBudget });
    expect(expectedExpertBytesPerToken).toBeGreaterThan(0);
    expect(prediction!.readMs).toBeCloseTo(expectedExpertBytesPerToken / 2e6, 9);
    expect(prediction!.readAssumed).toBe(true);
    expect(reads).toEqual([]);
  });

  test('what comes over the network for every token is as fast as the network', async () => {
    const { model, reads } = opening('none');
    expect((await planOf(gpu, model, config)).prediction).toBeUndefined();
    expect(reads).toEqual([]);
  });
});

test('of a mixture whose experts are not all there, experts are what is read', async () => {
  const mixture = await openSynthetic({ shapes: mixtureShapes, bits: 4 });
  const { sources, reads } = loggedReads(mixture);
  const options = sessionOptions({ contextTokens: 64, chunkTokens: 16 }, mixture, gpu);
  const all = sessionPlan(gpu, mixture, options);
  const plan = sessionPlan(gpu, mixture, { ...options, gpuBudgetBytes: all.bytes.total - Math.floor(all.experts!.bytes / 2) });
  expect(plan.experts!.complete).toBe(false);
  const memory = gpu.memory.scope();
  const speeds = await measureSpeeds({ ...gpu, memory }, { ...diskOf(1), sources }, { plan, precision: 'exact' });
  expect(speeds!.readBytesPerMs).toBeGreaterThan(0);
  expect(memory.peakBytes).toBeLessThanOrEqual(plan.bytes.total);
  expect(memory.bytes).toBe(0);
  const images = plan.model.layers.flatMap(({ moe }) =>
    Array.from({ length: moe!.experts.count }, (_, i) => moe!.experts.image(i)),
  );
  const wanted = images.flatMap((image) =>
    windowsOf(image, plan.experts!.staging.pieceBytes).flatMap(({ fills }) =>
      fills.flatMap(sourcesOf).map(({ file, byteOffset, byteLength }) => `${file} ${byteOffset} ${byteLength}`),
    ),
  );
  expect(reads.filter((read) => !wanted.includes(read))).toEqual([]);
  expect(new Set(reads).size).toBeGreaterThan(20);
});

async function decode({ sequence, runner }: ModelSession, ids: Uint32Array<ArrayBuffer>): Promise<number> {
  const started = performance.now();
  for (const id of ids) await runner.step([{ sequence, tokens: Uint32Array.of(id), logits: 'last' }]);
  return (performance.now() - started) / ids.length;
}

test.each([
  { disk: 'an even disk', rested: 0 },
  { disk: 'a disk that begins three times as fast', rested: 120 },
])('$disk: tokens per second within 25 % of what was predicted before loading, within the budget', async ({ rested }) => {
  const model = diskOf(8000, rested);
  const memory = gpu.memory.scope();
  const predictedMs = await quickest(3, async () => {
    const { prediction } = await planOf({ ...gpu, memory }, model, config);
    expect(prediction!.bound).toBe('read');
    return 1000 / prediction!.tokensPerSecond;
  });
  expect(memory.peakBytes).toBeLessThanOrEqual(6_000_000);
  expect(memory.bytes).toBe(0);
  const session = await loaded(model);
  await decode(session, someIds(1, 500)); // it finds a ring that was filled while the model loaded
  const seenMs = await quickest(2, () => decode(session, someIds(2, 500)));
  session.destroy();
  expect(seenMs / predictedMs).toBeGreaterThan(0.75);
  expect(seenMs / predictedMs).toBeLessThan(1.25);
});

test.each([
  { time: 'for several tokens', bytesPerMs: 8000, mostMs: 2500 },
  { time: 'for a part of one', bytesPerMs: 4000, mostMs: 500 },
])(
  'once loaded, tokens are within 25 % of what those took that were decoded for it: time $time',
  async ({ bytesPerMs, mostMs }) => {
    const session = await loaded(diskOf(bytesPerMs, 120));
    const { streamedBytes } = session.weights;
    expect(2 * (streamedBytes / bytesPerMs) < mostMs).toBe(mostMs === 2500);
    await session.measureCompute();
    const measuredMs = await quickest(3, async () => {
      const started = performance.now();
      const ms = await session.measureToken(mostMs);
      expect(performance.now() - started).toBeLessThan(mostMs + 1000);
      expect(session.sequence.length).toBe(0);
      return ms!;
    });
    await decode(session, someIds(1, 500));
    const seenMs = await quickest(2, () => decode(session, someIds(2, 500)));
    session.destroy();
    expect(seenMs / measuredMs).toBeGreaterThan(0.75);
    expect(seenMs / measuredMs).toBeLessThan(1.25);
  },
);

test('a loaded engine predicts what its tokens took, whatever rates were measured apart', async () => {
  const model = diskOf(8000);
  const session = await loaded(model, { ...gpu, adapter: { ...gpu.adapter, isCpu: false } }); // whose figures mean nothing, so none are measured
  const tooFast = { readBytesPerMs: 80_000, uploadBytesPerMs: 1e6, computeBytesPerMs: 1e6 };
  const predictedMs = await quickest(3, async () => {
    const { prediction } = await loadedPlan(model, session, tooFast);
    expect(prediction!.readMs).toBeCloseTo(session.weights.streamedBytes / tooFast.readBytesPerMs, 0);
    return 1000 / prediction!.tokensPerSecond;
  });
  await decode(session, someIds(1, 500));
  const seenMs = await quickest(2, () => decode(session, someIds(2, 500)));
  expect(seenMs / predictedMs).toBeGreaterThan(0.75);
  expect(seenMs / predictedMs).toBeLessThan(1.25);
  session.destroy();
});

test('tokens that are decoded to be timed end where the context does', async () => {
  const session = await loaded(diskOf(Number.POSITIVE_INFINITY), gpu, { contextTokens: 2 });
  const started = performance.now();
  expect(await session.measureToken(60_000)).toBeGreaterThan(0);
  expect(performance.now() - started).toBeLessThan(10_000); // 30 s of tokens would fit
  expect(session.sequence.length).toBe(0);
  session.destroy();
});

test('a token that is decoded to be timed can be cancelled', async () => {
  const session = await loaded(diskOf(4000));
  const stop = new AbortController();
  const cancelled = session.measureToken(60_000, stop.signal);
  setTimeout(() => stop.abort(), 50);
  await expect(cancelled).rejects.toMatchObject({ name: 'AbortError' });
  session.destroy();
});

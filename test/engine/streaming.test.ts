/** Weights that stream through the ring: the same bits as resident ones within the budget, and whole again after anything that ends a step. */
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { ModelSession, type SessionOptions, sessionPlan } from '../../src/engine/model_session';
import { EngineError } from '../../src/errors';
import type { Gpu } from '../../src/gpu/device';
import { openNodeGpu } from '../../src/node/open_gpu';
import type { MemoryPlan } from '../../src/plan/memory_plan';
import type { OpenedCheckpoint } from '../../src/stream/open_checkpoint';
import type { SyntheticModel } from '../../src/synth/layout';
import { logitsOf, oneByOne, openSynthetic, scoreOnce, someIds, tinyShapes, withReads } from './memory_model';

const base: SessionOptions = { contextTokens: 64, chunkTokens: 16, kv: 'f32', f16: false };
const prompt = someIds(37, 300);
const decode = someIds(3, 300, 99);

let gpu: Gpu;
let tied: OpenedCheckpoint;
const unhandled: unknown[] = [];
const onUnhandled = (reason: unknown) => void unhandled.push(reason);

beforeAll(async () => {
  process.on('unhandledRejection', onUnhandled);
  gpu = await openNodeGpu();
  tied = await openSynthetic({ shapes: tinyShapes, bits: 4 });
});
afterAll(() => void process.off('unhandledRejection', onUnhandled));
afterEach(() => {
  const leftOver = gpu.memory.bytes;
  gpu.memory.release(); // one test's failure is not the next one's
  expect(unhandled.splice(0)).toEqual([]);
  expect(leftOver).toBe(0);
});

const planOf = (checkpoint: OpenedCheckpoint, options: SessionOptions, device = gpu): MemoryPlan =>
  sessionPlan(device, checkpoint, options);

/** The smallest budget that a refusal names. */
function smallestBudget(checkpoint: OpenedCheckpoint, options: SessionOptions, device = gpu): number {
  try {
    planOf(checkpoint, { ...options, gpuBudgetBytes: 1 }, device);
  } catch (error) {
    return Number(/at least (\d+) bytes/.exec((error as Error).message)![1]);
  }
  throw new Error('A budget of one byte was accepted.');
}

/** The smallest budget, and `count` more up to one that keeps everything resident. */
function budgets(checkpoint: OpenedCheckpoint, options: SessionOptions, count: number): number[] {
  const least = smallestBudget(checkpoint, options);
  const most = least + 1.2 * planOf(checkpoint, { slotBytes: 65_536, ...options }).weightBytes; // embedding rows are not among them
  return Array.from({ length: count + 1 }, (_, i) => Math.floor(least + (i / count) * (most - least)));
}

function expectSame(ours: Float32Array, reference: Float32Array): void {
  expect(ours.length).toBe(reference.length);
  expect(reference.some((value) => value !== 0)).toBe(true);
  expect(ours.findIndex((value, i) => !Object.is(value, reference[i]))).toBe(-1);
}

describe('results', () => {
  const models: { model: SyntheticModel; why: string }[] = [
    { model: { shapes: tinyShapes, bits: 4 }, why: '4 bits, tied' },
    {
      model: { shapes: { ...tinyShapes, tieWordEmbeddings: false }, bits: 3, groupSize: 32, shuffle: true },
      why: '3 bits, untied',
    },
    {
      model: {
        shapes: { ...tinyShapes, hiddenSize: 100, intermediateSize: 212, vocabSize: 301, tieWordEmbeddings: false },
        bits: 16,
        naming: 'original',
        shardBytes: 200_000,
      },
      why: 'BF16, rows off 16 bytes, several shards, untied',
    },
  ];
  const shapes: { chunkTokens: number; slotBytes: number | undefined; weave?: boolean }[] = [
    { chunkTokens: 1, slotBytes: 8192 },
    { chunkTokens: 7, slotBytes: 16_384 },
    { chunkTokens: 16, slotBytes: undefined },
    { chunkTokens: 64, slotBytes: 10_001 },
    { chunkTokens: 16, slotBytes: 16_384, weave: true },
  ];

  describe.each(models)('$why', ({ model }) => {
    test.each(shapes)(
      'chunks of $chunkTokens, slots of $slotBytes, pairs woven on the GPU: $weave: the bits of a resident run',
      async (shape) => {
        const checkpoint = await openSynthetic(model);
        const { slotBytes, chunkTokens, weave = false } = shape;
        const resident = { ...base, chunkTokens };
        const tokens = { prompt: chunkTokens === 1 ? prompt.slice(0, 9) : prompt, decode };
        const { logits: reference } = await scoreOnce(gpu, checkpoint, resident, tokens);
        const streaming = { ...resident, weave, ...(slotBytes === undefined ? {} : { slotBytes }) };
        const seen: { streamed: number; passTokens: number }[] = [];
        for (const gpuBudgetBytes of budgets(checkpoint, streaming, 4)) {
          const { session, logits } = await scoreOnce(gpu, checkpoint, { ...streaming, gpuBudgetBytes }, tokens);
          expectSame(logits, reference);
          const { peakBytes } = session.gpu.memory;
          expect(peakBytes).toBe(session.plan.bytes.total);
          expect(peakBytes).toBeLessThanOrEqual(gpuBudgetBytes);
          seen.push({ streamed: session.plan.streamedBytesPerToken, passTokens: session.plan.scratch.passTokens });
        }
        // Else the budgets would not be what this is about: everything streams at first, nothing at last, and passes lengthen.
        expect(seen[0]!.passTokens).toBe(shape.chunkTokens);
        expect(seen[0]!.streamed).toBeGreaterThan(seen[2]!.streamed);
        expect(seen[2]!.streamed).toBeGreaterThan(0);
        expect(seen[4]!.streamed).toBe(0);
        if (shape.chunkTokens < 16) expect(seen[3]!.passTokens).toBeGreaterThan(prompt.length);
      },
    );
  });

  test('the variants for GPUs have the bits of a resident run too', { timeout: 240_000 }, async () => {
    const variant = { ...gpu, direct: false };
    const options = { ...base, weave: false, slotBytes: 8192 }; // slots that cut matrices and the head into parts
    const { logits: reference } = await scoreOnce(variant, tied, { ...base, weave: false }, { prompt, decode });
    const [least, , half] = budgets(tied, options, 4);
    for (const gpuBudgetBytes of [least!, half!]) {
      const { session, logits } = await scoreOnce(variant, tied, { ...options, gpuBudgetBytes }, { prompt, decode });
      expect(session.kernelLabels.join()).toMatch(/gemm_q4 .*gemm_q4_split .*gemv_q4_units .* f32x32 /);
      expect(session.plan.streamedBytesPerToken).toBeGreaterThan(0);
      expectSame(logits, reference);
    }
  });

  test.each([
    { precision: 'exact', units: 'f32x32' },
    { precision: 'fast', units: 'int16' },
  ] as const)(
    'products of $units that begin and end norms have the bits of a resident run too',
    { timeout: 480_000 },
    async ({ precision, units }) => {
      expect(gpu.int8Dot).toBe(true);
      const variant = { ...gpu, direct: false };
      const own = { ...base, weave: false, precision };
      const { session: whole, logits: reference } = await scoreOnce(variant, tied, own, { prompt, decode });
      const products = new RegExp(`gate_up_q4_units .*gemv_q4_units .* normed .*gemv_q4_units .* residual ${units}`);
      expect(whole.kernelLabels.join()).toMatch(products);
      expect(whole.kernelLabels.join()).toMatch(new RegExp(` convolved ${units} .* residual ${units} heads ${units} `));
      const options = { ...own, slotBytes: 3008 }; // slots that cut matrices where no unit ends
      const [, middle] = budgets(tied, options, 4);
      for (const gpuBudgetBytes of [middle!]) {
        const { session, logits } = await scoreOnce(variant, tied, { ...options, gpuBudgetBytes }, { prompt, decode });
        expect(session.kernelLabels.join()).toMatch(new RegExp(`swiglu_units ${units}.*weigh_units ${units}`));
        expect(session.kernelLabels.join()).toMatch(new RegExp(`gemv_q4_units q4g\\d+[a-z ]* heads ${units} `));
        expect(session.plan.streamedBytesPerToken).toBeGreaterThan(0);
        expectSame(logits, reference);
      }
      // Chunks of one token: those of a pass take turns at what a norm begins with.
      const single = { ...own, chunkTokens: 1 };
      const tokens = { prompt: prompt.slice(0, 9), decode };
      const { logits: alone } = await scoreOnce(variant, tied, single, tokens);
      const [, , , most] = budgets(tied, single, 4);
      const { session, logits } = await scoreOnce(variant, tied, { ...single, gpuBudgetBytes: most! }, tokens);
      expect(session.plan.scratch.passTokens).toBeGreaterThan(1);
      expectSame(logits, alone);
    },
  );

  test('one byte below the smallest budget is refused, and nothing stays allocated', async () => {
    const gpuBudgetBytes = smallestBudget(tied, base) - 1;
    await expect(ModelSession.load(gpu, tied, { ...base, gpuBudgetBytes })).rejects.toMatchObject({ code: 'budget' });
  });

  test('where nothing but the head streams, sweeps without it come and go', async () => {
    const shapes = { ...tinyShapes, vocabSize: 8000, layerTypes: tinyShapes.layerTypes.slice(0, 1) };
    const checkpoint = await openSynthetic({ shapes, bits: 4 });
    const onlyHead = (gpuBudgetBytes: number) => {
      const { model, streamed } = planOf(checkpoint, { ...base, gpuBudgetBytes });
      const kinds = model.units.flatMap(({ kind }, i) => (streamed[i] ? [kind] : []));
      return kinds.length > 0 && kinds.every((kind) => kind === 'head');
    };
    const gpuBudgetBytes = budgets(checkpoint, base, 400).find(onlyHead)!;
    expect(gpuBudgetBytes).toBeGreaterThan(0);
    const { logits: reference } = await scoreOnce(gpu, checkpoint, base, { prompt, decode });
    const session = await ModelSession.load(gpu, checkpoint, { ...base, gpuBudgetBytes });
    const { sequence, runner } = session;
    for (const tokens of [prompt.slice(0, 20), prompt.slice(20, 30)]) await runner.step([{ sequence, tokens, logits: 'none' }]);
    const rest = await logitsOf(session, [prompt.slice(30), ...oneByOne(decode)]);
    const vocab = session.config.vocabSize;
    expectCloseRows(rest, reference.subarray(30 * vocab), vocab);
    session.destroy();
  });

  test.each([{ weave: false }, { weave: true }])(
    'measuring both ways up stays within the budget, and either gives the same bits: $weave',
    async ({ weave }) => {
      const { logits: reference } = await scoreOnce(gpu, tied, base, { prompt, decode });
      const notCpu: Gpu = { ...gpu, adapter: { ...gpu.adapter, isCpu: false } };
      const options = { ...base, weave };
      const gpuBudgetBytes = smallestBudget(tied, options, notCpu);
      const { session, logits } = await scoreOnce(notCpu, tied, { ...options, gpuBudgetBytes }, { prompt, decode });
      expectSame(logits, reference);
      expect(session.gpu.memory.peakBytes).toBeLessThanOrEqual(gpuBudgetBytes);
    },
  );
});

/** Chunks that end elsewhere round differently. */
function expectCloseRows(ours: Float32Array, reference: Float32Array, vocab: number): void {
  expect(ours.length).toBe(reference.length);
  for (let row = 0; row < ours.length; row += vocab) {
    let difference = 0;
    let norm = 0;
    for (let i = row; i < row + vocab; i++) {
      difference += (ours[i]! - reference[i]!) ** 2;
      norm += reference[i]! ** 2;
    }
    expect(Math.sqrt(difference / norm)).toBeLessThan(1e-4);
  }
}

/** What the reads of a session do next. */
type Control = { reads: number; at: number; act: (signal: AbortSignal | undefined) => void | Promise<void> };

/** A session at its smallest budget (or `share` of the way to everything resident) whose reads `control` counts. */
async function controlled(device: Gpu, share = 0, more: Partial<SessionOptions> = {}) {
  const control: Control = { reads: 0, at: Number.POSITIVE_INFINITY, act: () => {} };
  const checkpoint = withReads(tied, (_, signal) => {
    control.reads += 1;
    if (control.reads >= control.at) return control.act(signal);
  });
  const options = { ...base, slotBytes: 16_384, ...more };
  const least = smallestBudget(tied, options);
  const gpuBudgetBytes = Math.floor(least + share * planOf(tied, base).weightBytes);
  const session = await ModelSession.load(device, checkpoint, { ...options, gpuBudgetBytes });
  expect(session.plan.streamedBytesPerToken).toBeGreaterThan(0);
  return { session, control };
}

const steps = [prompt, ...oneByOne(decode)];
const isAbort = { name: 'AbortError' };
const within = <T>(ms: number, pending: Promise<T>): Promise<T> =>
  Promise.race([
    pending,
    new Promise<never>((_, reject) => setTimeout(() => reject(new Error(`still waiting after ${ms} ms`)), ms).unref()),
  ]);

describe('a step that ends early', () => {
  let reference: Float32Array;
  beforeAll(async () => {
    reference = (await scoreOnce(gpu, tied, base, { prompt, decode })).logits;
  });

  /** The session still gives the right bits, twice: what was read ahead meanwhile must be right too. */
  async function expectRight(session: ModelSession): Promise<void> {
    for (let i = 0; i < 2; i++) {
      session.sequence.reset();
      expectSame(await within(20_000, logitsOf(session, steps)), reference);
    }
  }

  test.each([{ share: 0 }, { share: 0.5 }])('by a read that fails once, budget share $share', async ({ share }) => {
    const { session, control } = await controlled(gpu, share);
    let ended = 0;
    for (const ahead of [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144]) {
      session.sequence.reset();
      control.at = control.reads + ahead;
      control.act = () => {
        control.at = Number.POSITIVE_INFINITY;
        throw new EngineError('storage', 'The disk went away.');
      };
      // One that fails when this step needs no more is read again by the next.
      const run = within(20_000, logitsOf(session, steps)).then(
        (logits) => expectSame(logits, reference),
        (error: unknown) => {
          ended += 1;
          expect(error).toMatchObject({ code: 'storage' });
        },
      );
      await run;
      await expectRight(session);
    }
    expect(ended).toBeGreaterThan(3);
    session.destroy();
  });

  test('by a read that always fails: every try says so, until it works again', async () => {
    const { session, control } = await controlled(gpu);
    control.at = 0;
    control.act = () => {
      throw new EngineError('storage', 'The disk went away.');
    };
    for (let i = 0; i < 5; i++) {
      session.sequence.reset();
      // What was read ahead may carry it a little further than the first read.
      await expect(within(5000, logitsOf(session, steps))).rejects.toMatchObject({ code: 'storage' });
    }
    control.at = Number.POSITIVE_INFINITY;
    await expectRight(session);
    session.destroy();
  });

  test.each([{ share: 0 }, { share: 0.5 }])('by an abort, budget share $share', async ({ share }) => {
    const { session, control } = await controlled(gpu, share);
    for (const ahead of [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144]) {
      session.sequence.reset();
      const controller = new AbortController();
      control.at = control.reads + ahead;
      control.act = () => {
        control.at = Number.POSITIVE_INFINITY;
        controller.abort();
      };
      const pending = logitsOf(session, [...steps, ...steps.slice(1)], controller.signal);
      await expect(within(20_000, pending)).rejects.toMatchObject(isAbort);
      await expectRight(session);
    }
    session.destroy();
  });

  test('by an abort at any moment', async () => {
    const { session } = await controlled(gpu);
    for (let ms = 0; ms < 120; ms += 4) {
      session.sequence.reset();
      const controller = new AbortController();
      setTimeout(() => controller.abort(), ms);
      await within(20_000, logitsOf(session, [...steps, ...steps.slice(1)], controller.signal)).catch((error: Error) => {
        expect(error.name).toBe('AbortError');
      });
    }
    await expectRight(session);
    session.destroy();
  });

  test.each([
    { ahead: 1, of: 'the first' },
    { ahead: 30, of: 'a later' },
  ])('by an abort while $of read hangs, at once; the bytes that come too late do no harm', async ({ ahead }) => {
    const { session, control } = await controlled(gpu);
    const late: (() => void)[] = [];
    control.at = control.reads + ahead;
    control.act = () => new Promise<void>((resolve) => late.push(resolve)); // takes no notice of the signal
    const controller = new AbortController();
    const pending = logitsOf(session, [someIds(37, 300, 55), prompt.slice(0, 9)], controller.signal);
    pending.catch(() => {});
    await expect.poll(() => late.length).toBeGreaterThan(0);
    const started = performance.now();
    controller.abort();
    await expect(within(5000, pending)).rejects.toMatchObject(isAbort);
    expect(performance.now() - started).toBeLessThan(500);
    // The old reads come back while the new step has read some of its embedding rows and still waits for others.
    control.at = control.reads + 25;
    control.act = () => new Promise<void>((resolve) => setTimeout(resolve, 60));
    session.sequence.reset();
    const again = logitsOf(session, steps);
    await new Promise((resolve) => setTimeout(resolve, 20));
    control.at = Number.POSITIVE_INFINITY;
    for (const resolve of late) resolve();
    expectSame(await within(20_000, again), reference);
    await expectRight(session);
    session.destroy();
  });

  test.each([
    { ahead: 1, hang: false },
    { ahead: 40, hang: false },
    { ahead: 1, hang: true },
    { ahead: 40, hang: true },
  ])('by a lost device at read $ahead, reads hanging: $hang', async ({ ahead, hang }) => {
    const lost = await openNodeGpu();
    const { session, control } = await controlled(lost);
    control.at = control.reads + ahead;
    control.act = () => {
      lost.device.destroy();
      return hang ? new Promise<void>(() => {}) : undefined;
    };
    await expect(within(5000, logitsOf(session, steps))).rejects.toMatchObject({ code: 'device-lost' });
    session.sequence.reset();
    await expect(within(5000, logitsOf(session, steps))).rejects.toMatchObject({ code: 'device-lost' });
    session.destroy();
    expect(lost.memory.bytes).toBe(0);
  });

  test('by the end of the session', async () => {
    for (const ahead of [1, 20, 60]) {
      const { session, control } = await controlled(gpu);
      control.at = control.reads + ahead;
      control.act = () => {
        control.at = Number.POSITIVE_INFINITY;
        queueMicrotask(() => session.destroy());
      };
      await expect(within(5000, logitsOf(session, steps))).rejects.toThrow();
    }
  });

  test('by measuring where nothing streams: nothing to read or upload', async () => {
    const session = await ModelSession.load(gpu, tied, base);
    expectSame(await logitsOf(session, steps), reference);
    expect(await session.measure()).toMatchObject({ readMs: 0, uploadMs: 0, computeMs: expect.any(Number) });
    await expectRight(session);
    session.destroy();
  });

  test('by measuring: the next one is right', async () => {
    const { session } = await controlled(gpu);
    expectSame(await logitsOf(session, steps), reference);
    const { readMs, uploadMs, computeMs } = await session.measure();
    for (const ms of [readMs, uploadMs, computeMs]) expect(ms).toBeGreaterThan(0);
    expect(session.sequence.length).toBe(0);
    await expectRight(session);
    session.destroy();
  });
});

describe('answering while the weights arrive', () => {
  /** Reads wait for `allowed` bytes in all, which the test raises. */
  async function gated(share: number | undefined) {
    const gate = { allowed: 0, taken: 0, waiting: [] as (() => void)[] };
    const checkpoint = withReads(tied, async (bytes) => {
      gate.taken += bytes;
      const mine = gate.taken;
      while (mine > gate.allowed) await new Promise<void>((resolve) => gate.waiting.push(resolve));
    });
    /** Resolves when nothing more happens with these bytes. */
    const allow = async (bytes: number) => {
      gate.allowed = bytes;
      for (const resolve of gate.waiting.splice(0)) resolve();
      for (let before = -1; before !== gate.taken; ) {
        before = gate.taken;
        await new Promise((resolve) => setTimeout(resolve, 60));
      }
    };
    const options: SessionOptions = { ...base, answerWhileLoading: true, slabBytes: 65_536 };
    const budget =
      share === undefined ? {} : { slotBytes: 16_384, gpuBudgetBytes: smallestBudget(tied, { ...options, slotBytes: 16_384 }) };
    const more = share ? Math.floor(share * planOf(tied, base).weightBytes) : 0;
    if (budget.gpuBudgetBytes) budget.gpuBudgetBytes += more;
    const session = await ModelSession.load(gpu, checkpoint, { ...options, ...budget });
    return { session, allow };
  }

  test.each([
    { share: undefined, why: 'everything resident' },
    { share: 0, why: 'everything streaming' },
    { share: 0.5, why: 'half of it streaming' },
    { share: 0.85, why: 'little of it streaming' },
  ])('$why: the same bits, and layers run before the last byte is there', async ({ share }) => {
    const { logits: reference } = await scoreOnce(gpu, tied, base, { prompt, decode });
    const { session, allow } = await gated(share);
    const encoders = vi.spyOn(gpu.device, 'createCommandEncoder');
    const computing = () => encoders.mock.calls.filter(([descriptor]) => descriptor?.label === undefined).length;
    let finished = false;
    const pending = logitsOf(session, steps).finally(() => {
      finished = true;
    });
    const { weightBytes } = session.plan;
    let before = 0;
    let startedAt: number | undefined;
    for (let bytes = 0; bytes < weightBytes; bytes += weightBytes / 16) {
      await allow(bytes);
      if (computing() > 0) startedAt ??= bytes;
      expect(finished).toBe(false);
      before = computing();
    }
    expect(startedAt).toBeLessThan(0.75 * weightBytes);
    expect(before).toBeGreaterThan(0);
    void allow(Number.POSITIVE_INFINITY);
    expectSame(await within(20_000, pending), reference);
    await session.loaded;
    encoders.mockRestore();
    session.destroy();
  });

  test.each([
    { share: undefined, why: 'everything resident' },
    { share: 0.3, why: 'some of it streaming' },
  ])('a read that fails ends the request that waits for it; the next one loads the rest: $why', async ({ share }) => {
    const { logits: reference } = await scoreOnce(gpu, tied, base, { prompt, decode });
    for (const failing of [1, 4, 9, 30, 45]) {
      let reads = 0;
      let letGo = () => {};
      const held = new Promise<void>((resolve) => {
        letGo = resolve;
      });
      const checkpoint = withReads(tied, async () => {
        const mine = ++reads;
        if (mine >= failing && mine < failing + 4) await held; // until the request waits for them
        if (mine === failing) throw new EngineError('storage', 'The network went away.');
      });
      const options = { ...base, answerWhileLoading: true, slabBytes: 65_536 };
      const weights = planOf(tied, base).weightBytes;
      const budget = share === undefined ? {} : { gpuBudgetBytes: Math.floor(smallestBudget(tied, options) + share * weights) };
      const session = await ModelSession.load(gpu, checkpoint, { ...options, ...budget });
      const first = logitsOf(session, steps);
      first.catch(() => {});
      setTimeout(letGo, 30);
      await expect(within(5000, first)).rejects.toMatchObject({ code: 'storage' });
      for (let i = 0; i < 2; i++) {
        session.sequence.reset();
        expectSame(await within(20_000, logitsOf(session, steps)), reference);
      }
      session.destroy();
    }
  });
});

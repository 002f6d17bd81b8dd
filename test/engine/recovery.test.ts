/**
 * A device destroyed at many moments of loading, prefill and decoding: the request goes on, no visible text is lost, and what cannot go
 * on is one typed error of an engine that can be used again. A loss counts only if it fell into what it was meant for: a load that had begun
 * and was not over, a prompt of which some was still to be read, a reply that had begun and went on. SLUICE_LONG runs the 30 moments that
 * the project is measured by, and 30 more in which the GPU draws.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Random } from '../../src/engine/random';
import { RecoveringEngine, type RecoveryParts } from '../../src/engine/recovery';
import { EngineError } from '../../src/errors';
import type { Gpu } from '../../src/gpu/device';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import { spawnTextWorker } from '../../src/node/text_worker_spawn';
import type { EngineConfig, GenerateEvent, GenerateRequest, LoadProgress, Pressure } from '../../src/protocol/engine';
import type { ModelFiles } from '../../src/storage/byte_source';
import { openModelSource } from '../../src/stream/model_source';
import { createTextHost } from '../../src/text/text_host';
import { bundleTextWorker } from '../text/bundled_worker';

const isLong = process.env.SLUICE_LONG === '1';
const perPhase = isLong ? 10 : 3;
let files: ModelFiles;
let script: { url: URL; remove(): void };
const unhandled: unknown[] = [];
const onUnhandled = (reason: unknown) => void unhandled.push(reason);

beforeAll(async () => {
  process.on('unhandledRejection', onUnhandled);
  script = await bundleTextWorker();
  files = await openDirectory(new URL('../../demo/model', import.meta.url).pathname);
});
afterAll(() => {
  process.off('unhandledRejection', onUnhandled);
  files.close();
  script.remove();
});
afterEach(() => expect(unhandled.splice(0)).toEqual([]));

type Started = {
  engine: RecoveringEngine;
  /** Devices in the order of opening. */
  devices: Gpu[];
  said: Pressure[];
  clock: { ms: number };
  end(): void;
};

async function start(
  config: EngineConfig = {},
  onDevice: (gpu: Gpu, nth: number) => void = () => {},
  gpuLoop?: boolean,
  onProgress: (progress: LoadProgress) => void = () => {},
): Promise<Started> {
  const devices: Gpu[] = [];
  const said: Pressure[] = [];
  const clock = { ms: 0 };
  const text = createTextHost({ spawn: () => spawnTextWorker(script.url) });
  const parts: RecoveryParts = {
    openGpu: async () => {
      const gpu = await openNodeGpu();
      devices.push(gpu);
      onDevice(gpu, devices.length);
      return gpu;
    },
    model: await openModelSource(files),
    text,
    onPressure: (pressure) => said.push(pressure),
    gpuLoop,
    now: () => clock.ms,
  };
  try {
    const engine = await RecoveringEngine.load(parts, { contextTokens: 256, ...config }, { onProgress });
    const end = () => {
      engine.destroy();
      text.dispose();
      void parts.model.close();
    };
    return { engine, devices, said, clock, end };
  } catch (error) {
    text.dispose();
    await parts.model.close();
    throw error;
  }
}

const request = (content: string, sampling: GenerateRequest['sampling'] = { temperature: 0 }): GenerateRequest => ({
  prompt: { messages: [{ role: 'user', content }], templateKwargs: { enable_thinking: false } },
  sampling,
  maxTokens: 14,
  stop: [],
});

type Result = { text: string; events: GenerateEvent[]; error: unknown };

async function run(
  engine: RecoveringEngine,
  asked: GenerateRequest,
  onEvent: (event: GenerateEvent) => void = () => {},
): Promise<Result> {
  const events: GenerateEvent[] = [];
  const result: Result = { text: '', events, error: undefined };
  try {
    for await (const event of engine.generate(asked, new AbortController().signal)) {
      events.push(event);
      if (event.type === 'text') result.text += event.text;
      onEvent(event);
    }
  } catch (error) {
    result.error = error;
  }
  return result;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const outcomes: string[] = [];

/** What a load takes, as far as is known: one that succeeded. */
let loadMs = 3000;

/** Destroys the first device after so long a time. `at`: how far its load had come; undefined where it had ended, and nothing was destroyed. */
async function loseWhileLoading(afterMs: number): Promise<{ started: Started; at: LoadProgress | undefined }> {
  let at: LoadProgress | undefined;
  let last: LoadProgress | undefined;
  let timer: NodeJS.Timeout | undefined;
  let openedMs = 0;
  const onDevice = (gpu: Gpu, nth: number) => {
    openedMs = performance.now();
    if (nth > 1) return;
    timer = setTimeout(() => {
      at = last;
      gpu.device.destroy();
    }, afterMs);
  };
  const started = await start({}, onDevice, undefined, (progress) => {
    last = progress;
    if (progress.phase !== 'ready') return;
    clearTimeout(timer);
    loadMs = performance.now() - openedMs;
  });
  return { started, at };
}

type Moment = { phase: string; atText: number; afterMs: number };

/**
 * Destroys the device so long after its prompt began to be read, or after so many pieces of the reply's text. `at`: how far it was;
 * undefined where prompt or reply was at its end by then: nothing was destroyed, or too late for the request to notice.
 */
async function loseInReply(
  { engine, devices, said, clock }: Started,
  asked: GenerateRequest,
  { phase, atText, afterMs }: Moment,
) {
  clock.ms += 6 * 60_000;
  if (!engine.core) await run(engine, asked); // lost too late, the last time
  said.length = 0;
  engine.core!.cache.forget(); // else there is no prefill
  const { device } = devices.at(-1)!;
  let at: string | undefined;
  let now = '';
  let texts = 0;
  let shown = '';
  let timer: NodeJS.Timeout | undefined;
  const destroy = () => {
    timer ??= setTimeout(() => {
      at = now;
      device.destroy();
    }, afterMs);
  };
  const result = await run(engine, asked, (event) => {
    if (event.type === 'text') shown += event.text;
    if (phase === 'prefill' && event.type === 'prefill') {
      now = `${event.done} of ${event.total} tokens of the prompt read`;
      if (event.done === 0) destroy();
      if (event.done === event.total) clearTimeout(timer);
    } else if (phase === 'decode') {
      if (event.type === 'text') now = `${++texts} pieces of text shown`;
      if (event.type === 'text' && texts === atText) destroy();
      if (event.type === 'done') clearTimeout(timer);
    }
  });
  if (at) await device.lost;
  await pause(0);
  if (said.length === 0 || said[0]!.recovery === 'waiting') at = undefined;
  return { result, shown, at };
}

const scene = 'the sea, a boat and an old man who lived alone in a house on the shore';

describe('a device destroyed', () => {
  test.each(Array.from({ length: perPhase }, (_, i) => ({ seed: 100 + i })))(
    'while loading, seed $seed',
    async ({ seed }) => {
      const share = new Random(seed).next();
      let afterMs = share * loadMs;
      let { started, at } = await loseWhileLoading(afterMs);
      // A load that was faster than the one before is over by then: once more, in time.
      for (let tries = 1; !at && tries < 5; tries++) {
        started.end();
        afterMs = (share * loadMs) / 2 ** tries;
        ({ started, at } = await loseWhileLoading(afterMs));
      }
      const { engine, devices, said } = started;
      expect(at?.phase).toMatch(/^(manifest|weights|pipelines)$/);
      expect(devices.length).toBe(2);
      expect(said.map(({ recovery }) => recovery)).toEqual(['started', 'done']);
      const { text, error } = await run(engine, request('Tell a story about a fox.'));
      const where = `at ${Math.round(at!.progress * 100)} % (${at!.phase})`;
      outcomes.push(`loading ${where}, seed ${seed}, after ${afterMs.toFixed(0)} ms: ${error ?? 'continued'}`);
      expect(error).toBeUndefined();
      expect(text).toMatch(/^In a lush, green jungle/);
      started.end();
    },
    60_000,
  );

  describe.each([
    { drawn: 'by the CPU', gpuLoop: false, phases: { prefill: perPhase, decode: perPhase } },
    // Several tokens are in the queue then, and the next ones begin before the last was delivered.
    { drawn: 'by the GPU', gpuLoop: true, phases: isLong ? { prefill: 10, decode: 20 } : { prefill: 1, decode: 2 } },
  ])('while tokens are drawn $drawn', ({ drawn, gpuLoop, phases }) => {
    let started: Started;
    const prompts: Record<string, string[]> = {
      decode: ['Tell a story about a fox.', `Tell a story about ${scene}.`],
      // Read for long enough that a moment can fall into it.
      prefill: [
        `Tell a story about a fox, ${`${scene}, `.repeat(5)}and a hen.`,
        `Tell a story about ${`${scene}, `.repeat(6)}and a cat.`,
      ],
    };
    const drawing = [
      { temperature: 0 },
      { temperature: 1, seed: 5, ...(gpuLoop ? { top_k: 40, repetition_penalty: 1.1, frequency_penalty: 0.2 } : {}) },
    ];
    /** By prompt: the reply as it should be, and how long the prompt took to read. */
    const wholes = new Map<string, { text: string; prefillMs: number }>();

    async function wholeOf(prompt: string, sampling: GenerateRequest['sampling']) {
      started.engine.core!.cache.forget();
      const { text, events, error } = await run(started.engine, request(prompt, sampling));
      expect(error).toBeUndefined();
      const prefillMs = Math.max(...events.map((event) => (event.type === 'prefill' ? event.ms : 0)));
      return { text, prefillMs };
    }

    beforeAll(async () => {
      started = await start({}, undefined, gpuLoop);
      for (const [phase, count] of Object.entries(phases))
        for (const [i, prompt] of prompts[phase]!.slice(0, count).entries())
          wholes.set(prompt, await wholeOf(prompt, drawing[i]!));
    }, 300_000);
    afterAll(() => started?.end());

    test('as it should be', () => {
      const { session, textInfo } = started.engine.core!;
      expect(session.tokenLoops(textInfo!.vocabSize) !== undefined).toBe(gpuLoop);
    });

    const moments = Object.entries(phases).flatMap(([phase, count]) =>
      Array.from({ length: count }, (_, i) => ({ phase, seed: 200 + i })),
    );
    test.each(moments)(
      'in $phase, seed $seed',
      async ({ phase, seed }) => {
        const random = new Random(seed);
        const which = seed % 2;
        const prompt = prompts[phase]![which]!;
        const whole = wholes.get(prompt)!;
        const asked = request(prompt, drawing[which]);
        const moment = {
          phase,
          atText: 1 + Math.floor(random.next() * 10),
          afterMs: random.next() * (phase === 'prefill' ? whole.prefillMs : 60),
        };
        let lost = await loseInReply(started, asked, moment);
        // What was faster than the time before is over by then: once more, in time.
        for (let tries = 1; !lost.at && tries < 5; tries++) {
          expect(lost.result).toMatchObject({ text: whole.text, error: undefined });
          moment.atText = Math.ceil(moment.atText / 2);
          moment.afterMs /= 2;
          lost = await loseInReply(started, asked, moment);
        }
        const { result, shown, at } = lost;
        outcomes.push(
          `${phase}, drawn ${drawn}, seed ${seed}, after ${moment.afterMs.toFixed(0)} ms, ${at ?? 'it had ended'}: ${result.error ?? 'continued'}`,
        );
        expect(at).toBeDefined();
        expect(result.error).toBeUndefined();
        expect(result.text).toBe(whole.text);
        expect(result.text).toBe(shown);
        const done = result.events.at(-1);
        expect(done).toMatchObject({ type: 'done', usage: { completion_tokens: expect.any(Number) } });
        expect(started.said.map(({ recovery }) => recovery)).toEqual(['started', 'done']);
      },
      gpuLoop ? 240_000 : 60_000, // kernels that draw take a CPU adapter long
    );
  });

  test('every moment continued', () => {
    console.log(outcomes.join('\n'));
    expect(outcomes.filter((each) => /^loading at \d+ %/.test(each)).length).toBe(perPhase);
    const drawnByGpu = outcomes.filter((each) => each.includes('by the GPU'));
    expect(outcomes.length - drawnByGpu.length).toBe(3 * perPhase);
    expect(drawnByGpu.length).toBe(isLong ? 30 : 3);
    expect(outcomes.filter((each) => /^prefill.* \d+ of \d+ tokens of the prompt read:/.test(each)).length).toBe(
      perPhase + (isLong ? 10 : 1),
    );
    expect(outcomes.filter((each) => /^decode.* [1-9]\d* pieces of text shown:/.test(each)).length).toBe(
      perPhase + (isLong ? 20 : 2),
    );
    for (const some of [outcomes.filter((each) => !drawnByGpu.includes(each)), drawnByGpu]) {
      expect(some.filter((each) => each.includes('had ended'))).toEqual([]);
      expect(some.filter((each) => each.endsWith('continued')).length).toBeGreaterThanOrEqual(Math.ceil(0.9 * some.length));
    }
  });
});

test('a second loss within five minutes halves the memory, a third is one typed error, and the next request tries again', async () => {
  const started = await start({ gpuBudget: '400MB' });
  const { engine, devices, said, clock } = started;
  const before = engine.plan.gpu.total;
  const destroyAtText = () => {
    let armed = true;
    return (event: GenerateEvent) => {
      if (event.type === 'text' && armed) devices.at(-1)!.device.destroy();
      if (event.type === 'text') armed = false;
    };
  };
  const asked = request('Tell a story about a fox.');
  const first = await run(engine, asked, destroyAtText());
  expect(first.error).toBeUndefined();
  expect(first.events.at(-1)).toMatchObject({ usage: { replayed_tokens: expect.any(Number) } });
  clock.ms += 60_000;
  const second = await run(engine, asked, destroyAtText());
  expect(second).toMatchObject({ text: first.text, error: undefined });
  expect(engine.plan.gpuBudgetBytes).toBe(Math.max(Math.floor(before / 2), engine.plan.smallestBudgetBytes));
  expect(engine.plan.gpu.total).toBeLessThanOrEqual(engine.plan.gpuBudgetBytes!);
  expect(said.at(-1)).toMatchObject({ recovery: 'done', gpuBudgetBytes: engine.plan.gpuBudgetBytes });
  clock.ms += 60_000;
  let lost = false;
  void engine.lost.then(() => {
    lost = true;
  });
  const third = await run(engine, asked, destroyAtText());
  expect(third.error).toBeInstanceOf(EngineError);
  expect(third.error).toMatchObject({ code: 'device-lost', message: expect.stringContaining('smaller model') });
  expect(first.text.startsWith(third.text)).toBe(true);
  expect(said.map(({ recovery }) => recovery)).toEqual(['started', 'done', 'started', 'done', 'stopped']);
  expect(lost).toBe(true);
  const again = await run(engine, asked);
  expect(again).toMatchObject({ text: first.text, error: undefined });
  started.end();
}, 120_000);

test('lost while nothing runs: the next request brings it back; several waiting requests all go on; an unloaded engine does not come back', async () => {
  const started = await start();
  const { engine, devices, said, clock } = started;
  const asked = ['fox', 'hen', 'bear'].map((animal) => request(`Tell a story about a ${animal}.`));
  const alone: string[] = [];
  for (const each of asked) alone.push((await run(engine, each)).text);
  devices[0]!.device.destroy();
  await pause(20);
  expect(said.map(({ recovery }) => recovery)).toEqual(['waiting']);
  expect(engine.info().model).not.toBe('');
  const [back] = await Promise.all([run(engine, asked[0]!)]);
  expect(back).toMatchObject({ text: alone[0], error: undefined });
  clock.ms += 6 * 60_000;
  let events = 0;
  const all = await Promise.all(
    asked.map((each) =>
      run(engine, each, () => {
        if (++events === 5) devices.at(-1)!.device.destroy();
      }),
    ),
  );
  expect(all.map(({ error }) => error)).toEqual([undefined, undefined, undefined]);
  expect(all.map(({ text }) => text)).toEqual(alone);
  expect(devices.length).toBe(3);
  const cut = run(engine, asked[0]!, () => engine.destroy());
  expect((await cut).error).toBeInstanceOf(Error);
  expect(devices.length).toBe(3);
  started.end();
}, 120_000);

test('an interruption while the model is loaded again is for the first reply that waits for it, also where that had not begun', async () => {
  const started = await start();
  const { engine, devices } = started;
  const [fox, hen] = ['fox', 'hen'].map((animal) => request(`Tell a story about a ${animal}.`));
  const alone = await run(engine, hen!);
  devices[0]!.device.destroy();
  await pause(20);
  const both = Promise.all([run(engine, fox!), run(engine, hen!)]);
  await pause(20);
  engine.interrupt();
  const [first, second] = await both;
  expect(first).toMatchObject({ text: '', error: undefined });
  expect(first.events.at(-1)).toMatchObject({ type: 'done', finishReason: 'stop', interrupted: true });
  expect(second).toMatchObject({ text: alone.text, error: undefined });
  expect(second.events.at(-1)).not.toHaveProperty('interrupted');
  started.end();
}, 60_000);

test('no device comes back: one typed error, and the engine can be used once there is one', async () => {
  let broken = false;
  const started = await start({}, () => {
    if (broken) throw new EngineError('unsupported', 'The browser offers no GPU adapter.');
  });
  const { engine, devices } = started;
  const asked = request('Tell a story about a fox.');
  broken = true;
  devices[0]!.device.destroy();
  const failed = await run(engine, asked);
  expect(failed.error).toMatchObject({ code: 'unsupported' });
  broken = false;
  expect((await run(engine, asked)).text).toMatch(/^In a lush/);
  started.end();
}, 60_000);

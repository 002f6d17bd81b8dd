/**
 * A device destroyed at many moments of loading, prefill and decoding: the request goes on, no visible text is lost, and what cannot go
 * on is one typed error of an engine that can be used again. A loss while loading counts only if the load had begun and was not over. SLUICE_LONG runs the 30 moments that the project is measured by, and
 * 30 more in which the GPU draws.
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
    const asked = [
      request('Tell a story about a fox.'),
      request('Tell a story about the sea, a boat and an old man who lived alone in a house on the shore.', {
        temperature: 1,
        seed: 5,
        ...(gpuLoop ? { top_k: 40, repetition_penalty: 1.1, frequency_penalty: 0.2 } : {}),
      }),
    ];
    const whole: string[] = [];

    beforeAll(async () => {
      started = await start({}, undefined, gpuLoop);
      for (const each of asked) whole.push((await run(started.engine, each)).text);
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
        const { engine, devices, clock, said } = started;
        clock.ms += 6 * 60_000;
        said.length = 0;
        const random = new Random(seed);
        const which = seed % 2;
        engine.core!.cache.forget(); // else there is no prefill
        const device = devices.at(-1)!.device;
        const atText = 1 + Math.floor(random.next() * 10);
        const afterMs = random.next() * (phase === 'prefill' ? 250 : 60);
        let texts = 0;
        let shown = '';
        const destroy = () => void setTimeout(() => device.destroy(), afterMs);
        if (phase === 'prefill') destroy();
        const result = await run(engine, asked[which]!, (event) => {
          if (event.type !== 'text') return;
          shown += event.text;
          if (phase === 'decode' && ++texts === atText) destroy();
        });
        outcomes.push(
          `${phase}, drawn ${drawn}, seed ${seed}, ${phase === 'decode' ? `at text ${atText}, ` : ''}after ${afterMs.toFixed(0)} ms${said.length > 0 ? '' : ' (it had ended)'}: ${result.error ?? 'continued'}`,
        );
        expect(result.error).toBeUndefined();
        expect(result.text).toBe(whole[which]);
        expect(result.text).toBe(shown);
        const done = result.events.at(-1);
        expect(done).toMatchObject({ type: 'done', usage: { completion_tokens: expect.any(Number) } });
        await pause(afterMs); // a reply may have ended before
        if (said.length > 0)
          expect(said.map(({ recovery }) => recovery)).toSatisfy((all: string[]) =>
            ['started,done', 'waiting'].includes(all.join()),
          );
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
    for (const some of [outcomes.filter((each) => !drawnByGpu.includes(each)), drawnByGpu]) {
      expect(some.filter((each) => each.includes('had ended')).length).toBeLessThanOrEqual(perPhase / 2);
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

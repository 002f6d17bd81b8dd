/** Decoding without the CPU gives what decoding with it gives, token for token, and leaves the sequence where it should be. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type Generation, generate } from '../../src/engine/generate';
import { ModelSession } from '../../src/engine/model_session';
import type { Gpu } from '../../src/gpu/device';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import type { GenerateRequest } from '../../src/protocol/engine';
import { openCheckpoint } from '../../src/stream/open_checkpoint';

let gpu: Gpu;
let onGpu: ModelSession;
let onCpu: ModelSession;

beforeAll(async () => {
  gpu = await openNodeGpu();
  const open = async () => openCheckpoint(await openDirectory(new URL('../../demo/model', import.meta.url).pathname));
  const options = { contextTokens: 96, chunkTokens: 32, kv: 'f32', f16: false } as const;
  onGpu = await ModelSession.load(gpu, await open(), { ...options, gpuLoop: true });
  onCpu = await ModelSession.load(gpu, await open(), { ...options, gpuLoop: false });
});

afterAll(() => {
  onGpu.destroy();
  onCpu.destroy();
});

type Asked = Partial<Omit<GenerateRequest, 'sampling'>> & {
  sampling?: GenerateRequest['sampling'];
  stopIds?: number[];
  vocab?: number;
};
const prompt = [1, 300, 1200, 45, 700, 90];

/** Ids of the reply, pushed to a text stream that ends the reply after `stopAfter` of them. */
async function run(
  session: ModelSession,
  { stopIds = [], vocab = 4096, ...asked }: Asked,
  stopAfter = Number.POSITIVE_INFINITY,
  onToken = () => {},
  signal = new AbortController().signal,
) {
  const ids: number[] = [];
  const generation = {
    session,
    text: {
      encode: async () => prompt,
      render: async () => '',
      openStream: () => ({
        push: async (added: readonly number[]) => {
          ids.push(...added);
          onToken();
          return { text: '', stopped: ids.length >= stopAfter, used: added.length, deltas: [] };
        },
        finish: async () => ({ text: '', deltas: [] }),
        close: () => {},
      }),
    },
    defaults: { eosTokenIds: [] },
    vocab,
    stopIds: new Set(stopIds),
  } as unknown as Generation;
  const request: GenerateRequest = { prompt: { text: '' }, sampling: {}, maxTokens: 40, stop: [], ...asked };
  for await (const _ of generate(generation, request, signal));
  return { ids, length: session.sequence.length };
}

/** Logits after one more token: they tell whether the state is right. */
async function logitsAfter(session: ModelSession, token: number): Promise<Float32Array> {
  const row = new Float32Array(session.config.vocabSize);
  const onLogits = ({ values, firstWord }: { values: Float32Array; firstWord: number }) => row.set(values, firstWord);
  await session.runner.step([{ sequence: session.sequence, tokens: Uint32Array.of(token), logits: 'last', onLogits }]);
  return row;
}

test('the loop is in use where it may be, and only there', () => {
  expect(onGpu.tokenLoops(4096)).toBeDefined();
  expect(onCpu.tokenLoops(4096)).toBeUndefined();
});

test('between two tokens nothing is made, bound or written by JavaScript: what a dispatch needs lies there', async () => {
  const { device } = gpu;
  const made = (['createBuffer', 'createBindGroup', 'createShaderModule', 'createComputePipelineAsync'] as const).map((name) =>
    vi.spyOn(device, name),
  );
  const written = vi.spyOn(device.queue, 'writeBuffer');
  const submitted = vi.spyOn(device.queue, 'submit');
  const calls: { made: number; written: number; submitted: number }[] = [];
  const count = (spy: { mock: { calls: unknown[] } }) => spy.mock.calls.length;
  await run(onGpu, { sampling: { temperature: 0.7, top_k: 20, top_p: 0.95, seed: 1 } }, undefined, () =>
    calls.push({ made: made.reduce((sum, spy) => sum + count(spy), 0), written: count(written), submitted: count(submitted) }),
  );
  for (const spy of [...made, written, submitted]) spy.mockRestore();
  const [first, last] = [calls[4]!, calls.at(-5)!];
  expect(calls.length).toBeGreaterThan(20);
  expect(last.made - first.made).toBe(0);
  expect(last.written - first.written).toBe(0);
  expect(last.submitted - first.submitted).toBeGreaterThan(20);
});

describe('the same tokens', () => {
  test.each<{ name: string; asked: Asked }>([
    { name: 'greedy', asked: { sampling: { temperature: 0 } } },
    { name: 'top-k and top-p', asked: { sampling: { temperature: 0.7, top_k: 20, top_p: 0.95, seed: 1 } } },
    { name: 'top-p alone', asked: { sampling: { temperature: 1, top_p: 0.9, seed: 2 } } },
    { name: 'everything', asked: { sampling: { temperature: 1.3, seed: 3 } } },
    {
      name: 'penalties',
      asked: {
        sampling: {
          temperature: 0.8,
          top_k: 40,
          repetition_penalty: 1.2,
          presence_penalty: 0.5,
          frequency_penalty: 0.3,
          seed: 4,
        },
      },
    },
    { name: 'a smaller vocabulary', asked: { sampling: { temperature: 1, top_k: 50, seed: 5 }, vocab: 1000 } },
    { name: 'one token', asked: { sampling: { temperature: 0 }, maxTokens: 1 } },
    { name: 'until the context is full', asked: { sampling: { temperature: 1, top_k: 50, seed: 6 }, maxTokens: undefined } },
    { name: 'two choices', asked: { sampling: { temperature: 1, top_k: 50, seed: 7 }, maxTokens: 12, choices: 2 } },
  ])('$name', async ({ asked }) => {
    const [a, b] = [await run(onGpu, asked), await run(onCpu, asked)];
    expect(a).toEqual(b);
    expect(a.ids.length).toBe(
      asked.maxTokens === undefined && 'maxTokens' in asked ? 90 : asked.choices ? 24 : (asked.maxTokens ?? 40),
    );
  });
});

describe('where the sequence stands afterwards', () => {
  const sampling = { temperature: 1, top_k: 50, seed: 8 };

  test('at a stop token nothing behind it was read', async () => {
    const { ids } = await run(onCpu, { sampling });
    const stopIds = [ids[9]!];
    const first = ids.indexOf(stopIds[0]!);
    const a = await run(onGpu, { sampling, stopIds });
    const b = await run(onCpu, { sampling, stopIds });
    expect(a.ids).toEqual(ids.slice(0, first));
    expect(a).toEqual(b);
    expect(await logitsAfter(onGpu, 5)).toEqual(await logitsAfter(onCpu, 5));
  });

  test('ended by its text, it has read what was queued, and says so', async () => {
    const { ids } = await run(onCpu, { sampling });
    const a = await run(onGpu, { sampling }, 10);
    expect(a.ids).toEqual(ids.slice(0, 10));
    expect(a.length).toBeGreaterThanOrEqual(prompt.length + 9);
    expect(a.length).toBeLessThanOrEqual(prompt.length + 12);
    const read = a.length - prompt.length;
    onCpu.sequence.reset();
    const tokens = Uint32Array.of(...prompt, ...ids.slice(0, read));
    await onCpu.runner.step([{ sequence: onCpu.sequence, tokens: tokens.slice(0, prompt.length), logits: 'none' }]);
    for (const id of ids.slice(0, read))
      await onCpu.runner.step([{ sequence: onCpu.sequence, tokens: Uint32Array.of(id), logits: 'none' }]);
    expect(await logitsAfter(onGpu, 5)).toEqual(await logitsAfter(onCpu, 5));
  });

  test('an aborted request leaves the next one alone', async () => {
    const before = await run(onGpu, { sampling });
    const controller = new AbortController();
    let tokens = 0;
    const abortAtFifth = () => {
      if (++tokens === 5) controller.abort();
    };
    const broken = run(onGpu, { sampling }, undefined, abortAtFifth, controller.signal);
    await expect(broken).rejects.toMatchObject({ name: 'AbortError' });
    expect(tokens).toBe(5);
    expect(await run(onGpu, { sampling })).toEqual(before);
  });
});

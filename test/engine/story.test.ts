/** The bundled model, whole path: tokenizer in its own thread, prefill, decode, sampling, detokenisation. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EngineCore } from '../../src/engine/engine_core';
import { LogitRow } from '../../src/engine/logit_row';
import type { Gpu } from '../../src/gpu/device';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import { spawnTextWorker } from '../../src/node/text_worker_spawn';
import type { GenerateEvent, GenerateRequest, LoadProgress } from '../../src/protocol/engine';
import type { ModelFiles } from '../../src/storage/byte_source';
import { openModelSource } from '../../src/stream/model_source';
import { createTextHost, type TextHost } from '../../src/text/text_host';
import { readTensors } from '../model/vectors';
import { bundleTextWorker } from '../text/bundled_worker';

let gpu: Gpu;
let files: ModelFiles;
let text: TextHost;
let core: EngineCore;
let script: { url: URL; remove(): void };
const progress: LoadProgress[] = [];

beforeAll(async () => {
  script = await bundleTextWorker();
  gpu = await openNodeGpu();
  files = await openDirectory(new URL('../../demo/model', import.meta.url).pathname);
  text = createTextHost({ spawn: () => spawnTextWorker(script.url) });
  core = await EngineCore.load(
    { gpu, model: await openModelSource(files), text },
    { contextTokens: 300 },
    { onProgress: (p) => progress.push(p) },
  );
});

afterAll(() => {
  core.destroy();
  text.dispose();
  files.close();
  script.remove();
});

const chat = (content: string, more: Partial<GenerateRequest> = {}): GenerateRequest => ({
  prompt: { messages: [{ role: 'user', content }], templateKwargs: { enable_thinking: false } },
  sampling: { temperature: 0 },
  maxTokens: 24,
  stop: [],
  ...more,
});

async function run(
  request: GenerateRequest,
  signal = new AbortController().signal,
): Promise<{ text: string; events: GenerateEvent[] }> {
  const events: GenerateEvent[] = [];
  for await (const event of core.generate(request, signal)) events.push(event);
  return { text: events.map((event) => (event.type === 'text' ? event.text : '')).join(''), events };
}

test('progress is monotonic and ends ready', () => {
  const values = progress.map((p) => p.progress);
  expect(values).toEqual([...values].sort((a, b) => a - b));
  expect(progress[0]!.phase).toBe('manifest');
  expect(progress.at(-1)).toMatchObject({ phase: 'ready', progress: 1 });
  expect(progress.at(-1)!.loaded).toBeGreaterThan(7_000_000);
});

test.each([0, 1, 2, 3])("prompt %i continues with the reference's 40 greedy tokens, or to its end", async (index) => {
  const source = await files.open('expected.safetensors');
  const tensors = await readTensors(source);
  source.close();
  const ids = (name: string) => new Int32Array(tensors.get(`${name}_${index}`)!.buffer);
  const greedy = [...ids('greedy')].slice(0, 40);
  const { sequence, runner } = core.session;
  sequence.reset();
  const ours: number[] = [];
  let input = Uint32Array.from(ids('prompt'));
  for (const _ of greedy) {
    const row = new LogitRow(core.session.config.vocabSize);
    await runner.step([{ sequence, tokens: input, logits: 'last', onLogits: row.add }]);
    const [best, second] = topTwo(row.values);
    if (best.value - second.value < 0.01) break; // closer than rounding may decide
    ours.push(best.id);
    input = Uint32Array.of(best.id);
  }
  expect(ours.length).toBeGreaterThan(10);
  expect(ours).toEqual(greedy.slice(0, ours.length));
});

function topTwo(logits: Float32Array): [{ id: number; value: number }, { id: number; value: number }] {
  const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]!);
  return [order[0]!, order[1]!].map((id) => ({ id, value: logits[id]! })) as ReturnType<typeof topTwo>;
}

describe('a request', () => {
  test('streams text, then usage and timings with prefill and decode apart', async () => {
    const { text: reply, events } = await run(chat('Tell a story about a fox.'));
    expect(reply).toMatch(/^In a lush, green jungle/);
    expect(events.filter((event) => event.type === 'text').length).toBeGreaterThan(10);
    expect(events.at(-1)).toMatchObject({
      type: 'done',
      finishReason: 'length',
      usage: { prompt_tokens: 19, completion_tokens: 24, total_tokens: 43 },
      timings: { prefillTokens: 19, decodeTokens: 23 },
    });
  });

  test('the same seed gives the same text, another one another', async () => {
    const sampled = (seed: number) => run(chat('Tell a story.', { sampling: { temperature: 1, seed }, maxTokens: 16 }));
    const [a, b, c] = [await sampled(1), await sampled(1), await sampled(2)];
    expect(a.text).toBe(b.text);
    expect(a.text).not.toBe(c.text);
  });

  test('a stop string ends it and is not shown', async () => {
    const { text: reply, events } = await run(chat('Tell a story about a fox.', { stop: [' jungle'] }));
    expect(reply).toBe('In a lush, green');
    expect(events.at(-1)).toMatchObject({ type: 'done', finishReason: 'stop' });
  });

  test('two at once run one after the other and both finish', async () => {
    const [a, b] = await Promise.all([
      run(chat('Tell a story about a fox.', { maxTokens: 6 })),
      run(chat('Tell a story about a fox.', { maxTokens: 6 })),
    ]);
    expect(a.text).toBe(b.text);
  });

  test('a prompt longer than the context is an error with both lengths', async () => {
    await expect(run({ ...chat(''), prompt: { text: 'word '.repeat(400) } })).rejects.toMatchObject({
      code: 'context-length',
      message: expect.stringMatching(/300/),
    });
  });

  test('an empty prompt is an error', async () => {
    await expect(run({ ...chat(''), prompt: { text: '' } })).rejects.toMatchObject({ code: 'invalid-request' });
  });

  test.each(['prefill', 'text'] as const)(
    'cancelling at the first %s event rejects with AbortError, and the next request is unharmed',
    async (type) => {
      const controller = new AbortController();
      const cancelled = (async () => {
        const subject = type === 'prefill' ? 'a hen' : 'a fox'; // a prompt that was read before has no prefill
        for await (const event of core.generate(chat(`Tell a story about ${subject}.`), controller.signal))
          if (event.type === type) controller.abort();
      })();
      await expect(cancelled).rejects.toMatchObject({ name: 'AbortError' });
      expect((await run(chat('Tell a story about a fox.', { maxTokens: 8 }))).text).toMatch(/^In a lush, green/);
    },
  );

  test('messages that the template cannot read are a typed error, and the engine lives on', async () => {
    const image = { role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] };
    await expect(run({ ...chat(''), prompt: { messages: [image], templateKwargs: {} } })).rejects.toMatchObject({
      code: 'unsupported-content',
    });
    expect((await run(chat('Tell a story about a fox.', { maxTokens: 4 }))).text).not.toBe('');
  });
});

describe('the sequence', () => {
  const logitsAfter = async (tokens: number[]) => {
    const row = new LogitRow(core.session.config.vocabSize);
    await core.session.runner.step([
      { sequence: core.session.sequence, tokens: Uint32Array.from(tokens), logits: 'last', onLogits: row.add },
    ]);
    return row.values.slice();
  };

  test('saved and restored, it continues bit for bit', async () => {
    const { sequence } = core.session;
    sequence.reset();
    await logitsAfter([10, 20, 30, 40, 50]);
    const saved = await sequence.save();
    const straight = await logitsAfter([60, 70]);
    sequence.reset();
    await logitsAfter([99, 98]);
    sequence.restore(saved);
    expect(sequence.length).toBe(5);
    expect(await logitsAfter([60, 70])).toEqual(straight);
  });

  test('another shape is refused', async () => {
    const saved = await core.session.sequence.save();
    expect(() => core.session.sequence.restore({ ...saved, layers: saved.layers.slice(1) })).toThrow(
      expect.objectContaining({ code: 'shape' }),
    );
  });
});

test('info names adapter, variants and bytes', () => {
  const info = core.info();
  expect(info).toMatchObject({ contextTokens: 300, kv: 'f16', vocabSize: 4096, hasChatTemplate: true, adapter: { isCpu: true } });
  expect(info.variants.gemv_q4_direct).toBe('q4g64');
  expect(info.gpuBytes).toBe(gpu.memory.bytes);
  expect(info.peakGpuBytes).toBeGreaterThanOrEqual(info.gpuBytes);
});

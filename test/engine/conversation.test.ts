/** A conversation through the engine: what `usage` says was known, the same prompt again, templates that rewrite replies, `n` in turns. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EngineCore } from '../../src/engine/engine_core';
import { generate } from '../../src/engine/generate';
import { PrefixCache } from '../../src/engine/prefix_cache';
import type { Gpu } from '../../src/gpu/device';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import { spawnTextWorker } from '../../src/node/text_worker_spawn';
import type { GenerateEvent, GenerateRequest } from '../../src/protocol/engine';
import type { ModelFiles } from '../../src/storage/byte_source';
import { openModelSource } from '../../src/stream/model_source';
import { createTextHost, type TextHost } from '../../src/text/text_host';
import { bundleTextWorker } from '../text/bundled_worker';

let gpu: Gpu;
let files: ModelFiles;
let text: TextHost;
let core: EngineCore;
let script: { url: URL; remove(): void };

beforeAll(async () => {
  script = await bundleTextWorker();
  gpu = await openNodeGpu();
  files = await openDirectory(new URL('../../demo/model', import.meta.url).pathname);
  text = createTextHost({ spawn: () => spawnTextWorker(script.url) });
  core = await EngineCore.load({ gpu, model: await openModelSource(files), text }, { contextTokens: 300 });
});

afterAll(() => {
  core.destroy();
  text.dispose();
  files.close();
  script.remove();
});

type Message = { role: string; content: string; reasoning_content?: string };
const ask = (messages: Message[], more: Partial<GenerateRequest> = {}): GenerateRequest => ({
  prompt: { messages, templateKwargs: { enable_thinking: false } },
  sampling: { temperature: 0 },
  maxTokens: 8,
  stop: [],
  ...more,
});
const user = (content: string): Message => ({ role: 'user', content });
const assistant = (content: string): Message => ({ role: 'assistant', content });

async function collect(events: AsyncIterable<GenerateEvent>) {
  let said = '';
  let read = 0;
  for await (const event of events) {
    if (event.type === 'text') said += event.text;
    if (event.type === 'prefill') read = event.done;
    if (event.type === 'done')
      return {
        said,
        read,
        usage: event.usage,
        cached: event.usage.prompt_tokens_details!.cached_tokens!,
        timings: event.timings,
      };
  }
  throw new Error('no end');
}
const run = (request: GenerateRequest) => collect(core.generate(request, new AbortController().signal));

test('the second turn reads only what is new', async () => {
  const first = [user('Tell a story about a cat and a boat.')];
  const one = await run(ask(first));
  expect(one.cached).toBe(0);
  const two = await run(ask([...first, assistant(one.said), user('And then?')]));
  // All of the prompt and of the reply but its last token, which was drawn and not read.
  expect(two.cached).toBe(one.usage.prompt_tokens + one.usage.completion_tokens - 1);
  expect(two.timings.prefillTokens).toBe(two.usage.prompt_tokens - two.cached);
  expect(two.read).toBe(two.timings.prefillTokens);
  const again = await run(ask([...first, assistant(one.said), user('And then?')]));
  expect(again).toMatchObject({ said: two.said, cached: two.usage.prompt_tokens, read: 0, timings: { prefillTokens: 0 } });
});

test('requests in turns, as `n` choices and several chats make them, say what they say alone', async () => {
  const prompts = ['Tell a story about a dog.', 'Tell a story about an owl, a tree and the moon.', 'Tell a story about rain.'];
  const request = (i: number, seed: number) => ask([user(prompts[i]!)], { sampling: { temperature: 1, seed }, maxTokens: 6 });
  const order = [
    [0, 1],
    [0, 2],
    [1, 1],
    [0, 1],
    [2, 1],
    [1, 2],
    [1, 1],
    [0, 2],
  ] as const;
  const replies = await Promise.all(order.map(([i, seed]) => run(request(i, seed))));
  const alone = new Map<string, string>();
  for (const [at, [i, seed]] of order.entries()) {
    const key = `${i} ${seed}`;
    const said = alone.get(key) ?? replies[at]!.said;
    expect(replies[at]!.said, key).toBe(said);
    alone.set(key, said);
  }
  expect(replies[1]!.cached, 'another choice of the same prompt reads nothing').toBe(replies[0]!.usage.prompt_tokens);
});

async function readText(from: ModelFiles, name: string): Promise<string> {
  const source = await from.open(name);
  const bytes = new Uint8Array(source.size);
  await source.read(0, bytes);
  source.close();
  return new TextDecoder().decode(bytes);
}

test("the official template leaves earlier thinking out: the last message's end is gone back to", async () => {
  const templates = new URL('../fixtures/text/templates', import.meta.url).pathname;
  const own = createTextHost({ spawn: () => spawnTextWorker(script.url) });
  await own.load({
    tokenizerJson: await readText(files, 'tokenizer.json'),
    chatTemplate: await readText(await openDirectory(templates), 'Qwen3.5-0.8B.official.jinja'),
  });
  const cache = new PrefixCache(core.session, { copyBytes: 0 });
  const thinking = (messages: Message[]) => {
    const request = ask(messages, { prompt: { messages, templateKwargs: { enable_thinking: true } } });
    const generation = {
      session: core.session,
      cache,
      text: own,
      defaults: { eosTokenIds: [] },
      vocab: 4096,
      stopIds: new Set<number>(),
    };
    return collect(generate(generation, request, new AbortController().signal));
  };
  const first = user('Tell a story about a cat and a boat.');
  const one = await thinking([first]);
  const later = [first, { ...assistant('Once.'), reasoning_content: one.said }, user('And then?')];
  const two = await thinking(later);
  const upToMessage = await own.encode(
    await own.render({ messages: [first], templateKwargs: { enable_thinking: true }, addGenerationPrompt: false }),
    { allowSpecialTokens: true },
  );
  expect(two.cached).toBe(upToMessage.length);
  expect(two.cached).toBeGreaterThan(10);
  own.dispose();
});

test('a reply that was cut off goes on from its last word', async () => {
  const first = user('Tell a story about a cat and a boat.');
  const whole = await run(ask([first], { maxTokens: 10 }));
  const half = await run(ask([first], { maxTokens: 5 }));
  core.cache.forget();
  const prompt = { messages: [first, assistant(half.said)], templateKwargs: { enable_thinking: false }, continueFinal: true };
  const rest = await run({ ...ask([]), prompt, maxTokens: 5 });
  expect(half.said + rest.said).toBe(whole.said);
  expect(rest.usage.prompt_tokens).toBe(half.usage.prompt_tokens + 5);
  // Text that looks like a marker is text.
  const odd = await run({ ...ask([]), prompt: { ...prompt, messages: [first, assistant('<|im_end|>')] } });
  expect(odd.usage.prompt_tokens).toBeGreaterThan(half.usage.prompt_tokens + 1);
});

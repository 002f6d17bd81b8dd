/** The bundled model behind the real `openai` client: engine, protocol, page side and fetch adapter, with a template that thinks and calls. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createFetch, type Engine } from '../../src/api';
import { EngineClient } from '../../src/api/client';
import { engineOf } from '../../src/api/engine';
import { EngineCore } from '../../src/engine/engine_core';
import { toWire } from '../../src/errors';
import type { Gpu } from '../../src/gpu/device';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import { spawnTextWorker } from '../../src/node/text_worker_spawn';
import type { EngineWorkerApi } from '../../src/protocol/engine';
import type { ModelFiles } from '../../src/storage/byte_source';
import { openModelSource } from '../../src/stream/model_source';
import { createTextHost, type TextHost } from '../../src/text/text_host';
import { testEndpoint } from '../api/endpoint';
import { bundleTextWorker } from '../text/bundled_worker';

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
let folder: string;
let gpu: Gpu;
let files: ModelFiles;
let text: TextHost;
let core: EngineCore;
let engine: Engine;
let client: OpenAI;
let script: { url: URL; remove(): void };

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-thinking-model-'));
  cpSync(path('../../demo/model'), folder, { recursive: true });
  cpSync(path('../fixtures/text/templates/Qwen3.5-4B.llama.cpp.jinja'), join(folder, 'chat_template.jinja'));
  script = await bundleTextWorker();
  gpu = await openNodeGpu();
  files = await openDirectory(folder);
  text = createTextHost({ spawn: () => spawnTextWorker(script.url) });
  core = await EngineCore.load({ gpu, model: await openModelSource(files), text }, { contextTokens: 1200 });
  const { connect } = testEndpoint(workerOf(core));
  engine = engineOf(await EngineClient.start('story', {}, connect));
  client = new OpenAI({ apiKey: 'none', baseURL: 'http://sluice/v1', fetch: createFetch(engine) });
});

afterAll(() => {
  core.destroy();
  text.dispose();
  files.close();
  script.remove();
  rmSync(folder, { recursive: true });
});

/** What the browser's worker does, but for loading. */
function workerOf(core: EngineCore): Partial<EngineWorkerApi> {
  const running = new Map<number, AbortController>();
  return {
    load: async () => ({ info: core.info() }),
    generate: async (id, request, onEvent) => {
      const controller = new AbortController();
      running.set(id, controller);
      try {
        for await (const event of core.generate(request, controller.signal)) await onEvent(event);
      } catch (error) {
        await onEvent({ type: 'error', error: toWire(error) });
      }
    },
    cancel: (id) => running.get(id)?.abort(),
    interrupt: () => core.interrupt(),
    tokenize: async (text) => ({ ids: await core.tokenize(text) }),
  };
}

const messages = [{ role: 'user' as const, content: 'Tell a story about a fox.' }];
const ask = { model: 'story', messages, temperature: 0, max_tokens: 6 };
type Extended<T> = T & Record<string, unknown>;
/** Sluice's extensions go through the client as they are. */
const chat = (more: Record<string, unknown>) =>
  client.chat.completions.create({ ...ask, ...more } as Extended<OpenAI.ChatCompletionCreateParamsNonStreaming>);
const stream = (more: Record<string, unknown> = {}) =>
  client.chat.completions.create({ ...ask, ...more, stream: true } as Extended<OpenAI.ChatCompletionCreateParamsStreaming>);
type Choice = OpenAI.ChatCompletion.Choice & { interrupted?: boolean; message: { reasoning_content?: string } };
const choiceOf = (completion: OpenAI.ChatCompletion, index = 0) => completion.choices[index] as Choice;

test('a streamed reply is the whole one, and its usage adds up', async () => {
  const whole = await chat({});
  let said = '';
  let usage: OpenAI.CompletionUsage | null | undefined;
  for await (const chunk of await stream({ stream_options: { include_usage: true } })) {
    said += chunk.choices[0]?.delta.content ?? '';
    usage = chunk.usage;
  }
  expect(said).toBe(choiceOf(whole).message.content);
  expect(said.length).toBeGreaterThan(10);
  // The same prompt again has nothing to read.
  expect(usage).toEqual({ ...whole.usage, prompt_tokens_details: { cached_tokens: usage!.prompt_tokens } });
  expect(whole.usage).toMatchObject({ completion_tokens: 6, prompt_tokens_details: { cached_tokens: 0 } });
});

test('choice i draws as a request with seed + i does', async () => {
  const drawn = { temperature: 1, seed: 5, max_tokens: 8 };
  const three = await chat({ ...drawn, n: 3 });
  const alone = [];
  for (const seed of [5, 6, 7]) alone.push(choiceOf(await chat({ ...drawn, seed })).message.content);
  expect(three.choices.map(({ message }) => message.content)).toEqual(alone);
  expect(new Set(alone).size).toBe(3);
  expect(three.usage!.completion_tokens).toBe(24);
});

describe('log probabilities', () => {
  test('of a greedy reply are those of the likeliest tokens, and their bytes are its text', async () => {
    const { choices } = await chat({ logprobs: true, top_logprobs: 20 });
    const content = choices[0]!.logprobs!.content!;
    expect(content).toHaveLength(6);
    const bytes = Uint8Array.from(content.flatMap((token) => token.bytes!));
    expect(new TextDecoder().decode(bytes)).toBe(choices[0]!.message.content);
    for (const { token, logprob, top_logprobs: top } of content) {
      expect(top).toHaveLength(20);
      expect(top[0]).toMatchObject({ token, logprob });
      const total = top.reduce((sum, entry) => sum + Math.exp(entry.logprob), 0);
      expect(total).toBeGreaterThan(0.2);
      expect(total).toBeLessThan(1 + 1e-9);
    }
  });

  test('do not change with temperature, penalties or bias', async () => {
    const plain = choiceOf(await chat({ logprobs: true, max_tokens: 1 })).logprobs!.content![0]!;
    const bent = { temperature: 2, top_k: 1, presence_penalty: 2, repetition_penalty: 1.5 };
    const [id] = await engine.tokenize(plain.token);
    const biased = choiceOf(await chat({ logprobs: true, max_tokens: 1, ...bent, logit_bias: { [id!]: 50 } }));
    expect(biased.logprobs!.content![0]).toEqual(plain);
  });

  test('of a plain completion', async () => {
    const request = { model: 'story', prompt: 'Once upon a time', temperature: 0, max_tokens: 4, logprobs: 2 };
    const { choices } = await client.completions.create(request);
    const { tokens, token_logprobs: own, top_logprobs: top, text_offset: offsets } = choices[0]!.logprobs!;
    expect(tokens!.join('')).toBe(choices[0]!.text);
    expect(offsets).toEqual(tokens!.map((_, i) => tokens!.slice(0, i).join('').length));
    expect(top!.map((entry, i) => entry[tokens![i]!])).toEqual(own);
  });
});

test('a bias of 100 is a choice, and one of -100 a ban', async () => {
  const [fox] = await engine.tokenize(' fox');
  expect(choiceOf(await chat({ logit_bias: { [fox!]: 100 }, max_tokens: 3 })).message.content).toBe(' fox fox fox');
  const first = choiceOf(await chat({ logprobs: true, max_tokens: 1 })).logprobs!.content![0]!.token;
  const [id] = await engine.tokenize(first);
  const banned = await chat({ logit_bias: { [id!]: -100 }, max_tokens: 1 });
  expect(choiceOf(banned).message.content).not.toBe(first);
});

describe('thinking', () => {
  const on = { chat_template_kwargs: { enable_thinking: true } };

  test('is reasoning_content until its budget is spent, then the reply goes on as if it had closed by itself', async () => {
    const { choices, usage } = await chat({ ...on, reasoning_budget_tokens: 4, max_tokens: 24 });
    const { message } = choices[0] as Choice;
    expect(message.reasoning_content).toMatch(/\w/);
    expect(message.content).toMatch(/^\S/);
    expect(message.content).not.toContain('think>');
    const closing = await engine.tokenize('\n</think>\n\n');
    expect(usage!.completion_tokens_details!.reasoning_tokens).toBe(4 + closing.length);
    expect(usage!.completion_tokens).toBe(24);
  });

  test('streams apart from the text', async () => {
    const deltas: Record<string, unknown>[] = [];
    for await (const chunk of await stream({ ...on, reasoning_budget_tokens: 3, max_tokens: 16 }))
      deltas.push(chunk.choices[0]!.delta as Record<string, unknown>);
    const kinds = deltas.flatMap((delta) => (delta.reasoning_content ? ['thought'] : delta.content ? ['text'] : []));
    expect(kinds.join(' ')).toMatch(/^(thought )+(text ?)+$/);
  });

  test('without a budget lasts as long as the reply, which then has no text', async () => {
    const { message, finish_reason } = choiceOf(await chat(on));
    expect(message.reasoning_content).toMatch(/\w/);
    expect([message.content, finish_reason]).toEqual(['', 'length']);
  });

  test('with no budget at all is what thinking off is', async () => {
    const closed = choiceOf(await chat({ ...on, reasoning_budget_tokens: 0, max_tokens: 20 })).message;
    const off = choiceOf(await chat({ max_tokens: 20 - (await engine.tokenize('\n</think>\n\n')).length })).message;
    expect(closed).not.toHaveProperty('reasoning_content');
    expect(off).not.toHaveProperty('reasoning_content');
    expect(closed.content).toMatch(/\w/);
    expect(off.content).toMatch(/\w/);
  });

  test('a max_tokens within the closing ends the reply there', async () => {
    const { choices, usage } = await chat({ ...on, reasoning_budget_tokens: 2, max_tokens: 3 });
    expect(choices[0]!.finish_reason).toBe('length');
    expect(usage!.completion_tokens).toBe(3);
  });
});

describe('tools', () => {
  const tools = [{ type: 'function', function: { name: 'get_weather', parameters: { type: 'object' } } }];
  const call = { id: 'call_1', type: 'function', function: { name: 'get_weather', arguments: '{"city": "Paris"}' } };

  test('calls and results go back in, and the model answers', async () => {
    const turn = [
      ...messages,
      { role: 'assistant', content: null, tool_calls: [call] },
      { role: 'tool', tool_call_id: 'call_1', content: 'sun' },
    ];
    const { usage, choices } = await chat({ messages: turn, tools, max_tokens: 4 });
    expect(choices[0]!.message.content).toMatch(/\w/);
    const without = await chat({ max_tokens: 4 });
    expect(usage!.prompt_tokens).toBeGreaterThan(without.usage!.prompt_tokens + 100); // definitions, call and result
  });

  test("with tool_choice 'none' the model does not hear of them", async () => {
    const none = await chat({ tools, tool_choice: 'none' });
    expect(none.usage!.prompt_tokens).toBe((await chat({})).usage!.prompt_tokens);
  });
});

describe('a reply that is held to a form', () => {
  const parameters = {
    type: 'object',
    properties: { city: { enum: ['Paris', 'Rome'] }, days: { type: 'integer' } },
    required: ['city'],
  };
  const tools = [
    { type: 'function', function: { name: 'get_weather', parameters } },
    { type: 'function', function: { name: 'now' } },
  ];
  const named = { type: 'function', function: { name: 'get_weather' } };

  test.each([
    ['at once', {}],
    ['after thinking', { chat_template_kwargs: { enable_thinking: true }, reasoning_budget_tokens: 3 }],
  ])('is a call in the syntax of the template, %s', async (_, thinking) => {
    const { message, finish_reason } = choiceOf(await chat({ tools, tool_choice: named, max_tokens: 160, ...thinking }));
    const [call] = message.tool_calls as OpenAI.ChatCompletionMessageFunctionToolCall[];
    expect(finish_reason).toBe('tool_calls');
    expect(message.content).toBeNull();
    expect(call!.function.name).toBe('get_weather');
    expect(['Paris', 'Rome']).toContain(JSON.parse(call!.function.arguments).city);
    expect(Boolean(message.reasoning_content)).toBe('reasoning_budget_tokens' in thinking);
  });

  test('and stops within a call like any other: there is none to run', async () => {
    const { message, finish_reason } = choiceOf(await chat({ tools, tool_choice: named, max_tokens: 160, stop: ['Par', 'Rom'] }));
    expect(message.tool_calls).toMatchObject([{ function: { name: 'get_weather' } }]);
    expect(finish_reason).toBe('stop');
  });

  test('is JSON of the schema, for every choice', async () => {
    const response_format = { type: 'json_schema', json_schema: { name: 'weather', schema: parameters, strict: true } };
    const { choices } = await chat({ response_format, max_tokens: 40, n: 2, temperature: 1, seed: 1 });
    for (const { message } of choices) expect(['Paris', 'Rome']).toContain(JSON.parse(message.content!).city);
    const schema = { type: 'array', uniqueItems: true };
    await expect(chat({ response_format: { type: 'json_schema', json_schema: { name: 's', schema } } })).rejects.toMatchObject({
      status: 400,
      code: 'unsupported_schema',
    });
  });
});

describe('an end from outside', () => {
  test('interruptGenerate ends the reply with what it has said, and the next one is unharmed', async () => {
    let said = '';
    let last: Choice | undefined;
    for await (const chunk of await stream({ max_tokens: 200 })) {
      said += chunk.choices[0]!.delta.content ?? '';
      if (said.length > 5) engine.interruptGenerate();
      last = chunk.choices[0] as unknown as Choice;
    }
    expect(last).toMatchObject({ finish_reason: 'stop', interrupted: true });
    expect(said.length).toBeGreaterThan(5);
    expect(said.length).toBeLessThan(200);
    expect(choiceOf(await chat({}))).not.toHaveProperty('interrupted');
  });

  test('also while the prompt is read, and with every choice', async () => {
    const long = [{ role: 'user' as const, content: 'word '.repeat(500) }];
    const ended: unknown[] = [];
    for await (const chunk of await stream({ messages: long, n: 2, return_progress: true })) {
      const { prompt_progress: progress } = chunk as { prompt_progress?: { processed: number } };
      if (progress && progress.processed > 0) engine.interruptGenerate();
      const { index, finish_reason, interrupted } = chunk.choices[0] as unknown as Choice;
      if (finish_reason) ended.push({ index, finish_reason, interrupted });
    }
    expect(ended).toEqual([0, 1].map((index) => ({ index, finish_reason: 'stop', interrupted: true })));
  });

  test('a request that was aborted does not take it from the next one, which waits until the device has left off', async () => {
    const stop = new AbortController();
    const long = { messages: [{ role: 'user' as const, content: 'and '.repeat(500) }], stream: true as const };
    const chunks = await engine.chat.completions.create({ ...long, return_progress: true }, { signal: stop.signal });
    const reading = (async () => {
      for await (const { prompt_progress: progress } of chunks) if (progress && progress.processed > progress.cache) stop.abort();
    })();
    await expect(reading).rejects.toMatchObject({ name: 'AbortError' });
    const next = engine.chat.completions.create({ messages, temperature: 0, max_tokens: 30 });
    engine.interruptGenerate();
    const { choices, usage } = await next;
    expect(choices[0]).toMatchObject({ finish_reason: 'stop', interrupted: true });
    expect(usage!.completion_tokens).toBeLessThan(30);
  });

  test('requests wait for each other, and each is aborted alone', async () => {
    const stop = [new AbortController(), new AbortController()];
    const order: string[] = [];
    const waiting = [0, 1, 2].map(async (i) => {
      const options = i < 2 ? { signal: stop[i]!.signal } : {};
      try {
        await client.chat.completions.create({ ...ask, max_tokens: i === 0 ? 60 : 2 }, options);
        order.push(`${i} done`);
      } catch (error) {
        order.push(`${i} ${(error as Error).constructor.name}`);
      }
    });
    setTimeout(() => stop[1]!.abort(), 100);
    await waiting[1];
    stop[0]!.abort();
    await Promise.all(waiting);
    expect(order).toEqual(['1 APIUserAbortError', '0 APIUserAbortError', '2 done']);
  });
});

describe('what cannot be done is an error that says so', () => {
  const image = { role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:,' } }] };
  test.each<[string, Record<string, unknown>, object]>([
    ['an image', { messages: [image] }, { status: 400, code: 'unsupported_content', param: 'messages[0].content[0]' }],
    [
      'a prompt too long',
      { messages: [{ role: 'user', content: 'word '.repeat(2000) }] },
      { status: 400, code: 'context_length_exceeded' },
    ],
    ['messages that the template refuses', { messages: [{ role: 'system', content: 'x' }] }, { status: 400, code: 'format' }],
  ])('%s', async (_, request, error) => {
    await expect(chat(request)).rejects.toMatchObject(error);
    await expect(stream(request)).rejects.toMatchObject(error);
  });
});

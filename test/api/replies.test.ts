/** Events of a reply as OpenAI's shapes, read by the real client through the fetch adapter. The worker's events are the test's own. */
import OpenAI from 'openai';
import { expect, test } from 'vitest';
import { createFetch } from '../../src/api';
import { EngineClient } from '../../src/api/client';
import { engineOf } from '../../src/api/engine';
import type { GenerateEvent, GenerateRequest } from '../../src/protocol/engine';
import { info, testEndpoint } from './endpoint';

const usage = { prompt_tokens: 3, completion_tokens: 5, total_tokens: 8, prompt_tokens_details: { cached_tokens: 0 } };
const timings = { prefillTokens: 3, prefillMs: 1, decodeTokens: 4, decodeMs: 2 };
const prefill: GenerateEvent = { type: 'prefill', done: 0, total: 3, ms: 0 };
const done = (finishReason: 'stop' | 'length' | 'tool_calls', more: object = {}): GenerateEvent => ({
  type: 'done',
  finishReason,
  usage,
  timings,
  ...more,
});

/** An engine whose worker answers each request with the next list of events, and what it was asked. */
async function serve(...replies: GenerateEvent[][]) {
  const requests: GenerateRequest[] = [];
  const interrupted: number[] = [];
  const { connect } = testEndpoint({
    load: async () => ({ info: { ...info, vocabSize: 1000 } }),
    generate: async (id, request, onEvent) => {
      requests.push(request);
      interrupted.push(id);
      for (const event of replies.shift()!) await onEvent(event);
    },
    cancel() {},
    interrupt: () => void interrupted.push(-1),
  });
  const engine = engineOf(await EngineClient.start('acme/tiny', {}, connect));
  const client = new OpenAI({ apiKey: 'none', baseURL: 'http://sluice/v1', fetch: createFetch(engine) });
  return { engine, client, requests, interrupted };
}

const messages = [{ role: 'user' as const, content: 'Weather in Paris and Rome?' }];
const tools = [
  {
    type: 'function' as const,
    function: { name: 'get_weather', parameters: { type: 'object', properties: { city: { type: 'string' } } } },
  },
];
const calls: GenerateEvent[] = [
  prefill,
  { type: 'reasoning', text: 'Two ' },
  { type: 'reasoning', text: 'cities.' },
  { type: 'text', text: 'Let me look.' },
  { type: 'tool_call', index: 0, id: 'call_a', name: 'get_weather', arguments: '{"city":"' },
  { type: 'tool_call', index: 0, arguments: 'Paris"}' },
  { type: 'tool_call', index: 1, id: 'call_b', name: 'get_weather', arguments: '{"city":"Rome"}' },
  done('tool_calls'),
];
const message = {
  role: 'assistant',
  content: 'Let me look.',
  refusal: null,
  reasoning_content: 'Two cities.',
  tool_calls: [
    { id: 'call_a', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Paris"}' } },
    { id: 'call_b', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Rome"}' } },
  ],
};

test('thinking, text and calls make one message', async () => {
  const { engine } = await serve(calls);
  expect(await engine.chat.completions.create({ messages, tools })).toMatchObject({
    object: 'chat.completion',
    model: 'acme/tiny',
    choices: [{ index: 0, message, logprobs: null, finish_reason: 'tool_calls' }],
    usage,
    timings,
  });
});

test('a reply of calls alone has no content', async () => {
  const { engine } = await serve(calls.filter(({ type }) => type !== 'text' && type !== 'reasoning'));
  const { choices } = await engine.chat.completions.create({ messages, tools });
  expect(choices[0]!.message).toEqual({ role: 'assistant', content: null, refusal: null, tool_calls: message.tool_calls });
});

test('streamed, they are the deltas that the real client puts together', async () => {
  const { client } = await serve(calls);
  const stream = client.chat.completions.stream({ model: 'any', messages, tools, stream_options: { include_usage: true } });
  const chunks: OpenAI.ChatCompletionChunk[] = [];
  stream.on('chunk', (chunk) => chunks.push(chunk));
  const { choices, usage: counted } = await stream.finalChatCompletion();
  const { reasoning_content: _, ...plain } = message;
  expect(choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: plain });
  expect(counted).toEqual(usage);
  expect(chunks[0]!.choices[0]!.delta).toEqual({ role: 'assistant', content: '' });
  expect(chunks.map((chunk) => chunk.usage)).toEqual([...Array(chunks.length - 1).fill(null), usage]);
  const thought = chunks.map((chunk) => (chunk.choices[0]?.delta as { reasoning_content?: string })?.reasoning_content ?? '');
  expect(thought.join('')).toBe('Two cities.');
});

test('the real client runs the tools and sends their results back', async () => {
  const answer: GenerateEvent[] = [prefill, { type: 'text', text: 'Sun in both.' }, done('stop')];
  const { client, requests } = await serve(calls, answer);
  const asked: string[] = [];
  const runner = client.chat.completions.runTools({
    model: 'any',
    messages: [...messages],
    stream: true,
    tools: [
      {
        type: 'function',
        function: {
          ...tools[0]!.function,
          description: 'The weather of a city.',
          parse: JSON.parse as (text: string) => { city: string },
          function: ({ city }: { city: string }) => {
            asked.push(city);
            return 'sun';
          },
        },
      },
    ],
  });
  expect(await runner.finalContent()).toBe('Sun in both.');
  expect(asked).toEqual(['Paris', 'Rome']);
  const { prompt } = requests[1]!;
  expect('messages' in prompt && prompt.messages.slice(1)).toMatchObject([
    { role: 'assistant', tool_calls: message.tool_calls },
    { role: 'tool', tool_call_id: 'call_a', content: 'sun' },
    { role: 'tool', tool_call_id: 'call_b', content: 'sun' },
  ]);
  expect('messages' in prompt && prompt.tools).toMatchObject(tools);
});

test('choices come one after the other, each with its role, its end and its number', async () => {
  const two: GenerateEvent[] = [
    prefill,
    { type: 'text', text: 'A' },
    { type: 'choice_end', finishReason: 'length' },
    { type: 'text', text: 'B' },
    done('stop', { interrupted: true }),
  ];
  const { engine, client } = await serve(two, two);
  const whole = await engine.chat.completions.create({ messages, n: 2 });
  expect(whole.choices).toMatchObject([
    { index: 0, message: { content: 'A' }, finish_reason: 'length' },
    { index: 1, message: { content: 'B' }, finish_reason: 'stop', interrupted: true },
  ]);
  expect(whole.choices[0]).not.toHaveProperty('interrupted');
  const seen: unknown[] = [];
  for await (const { choices } of await client.chat.completions.create({ model: 'any', messages, n: 2, stream: true })) {
    const [{ index, delta, finish_reason }] = choices as [OpenAI.ChatCompletionChunk.Choice];
    seen.push([index, delta.role ?? delta.content ?? finish_reason]);
  }
  expect(seen).toEqual([
    [0, 'assistant'],
    [0, 'A'],
    [0, 'length'],
    [1, 'assistant'],
    [1, 'B'],
    [1, 'stop'],
  ]);
});

const logprobs = [
  { token: 'Hé', logprob: -0.5, bytes: [72, 195, 169], top_logprobs: [{ token: 'Ho', logprob: -0.25, bytes: [72, 111] }] },
  { token: '!', logprob: -1, bytes: [33], top_logprobs: [{ token: '!', logprob: -1, bytes: [33] }] },
];
const counted: GenerateEvent[] = [
  prefill,
  { type: 'text', text: 'Hé', logprobs: [logprobs[0]!] },
  { type: 'text', text: '!', logprobs: [logprobs[1]!] },
  done('stop'),
];

test('log probabilities of a chat are lists of tokens, streamed with their text', async () => {
  const { client, requests } = await serve(counted, counted);
  const request = { model: 'any', messages, logprobs: true, top_logprobs: 1 };
  const whole = await client.chat.completions.create(request);
  expect(whole.choices[0]!.logprobs).toEqual({ content: logprobs, refusal: null });
  expect(requests[0]!.topLogprobs).toBe(1);
  const chunks: unknown[] = [];
  for await (const { choices } of await client.chat.completions.create({ ...request, stream: true }))
    chunks.push(choices[0]!.logprobs?.content ?? null);
  expect(chunks).toEqual([null, [logprobs[0]], [logprobs[1]], null]);
});

test('log probabilities of a completion have its own older form', async () => {
  const { client } = await serve(counted, counted);
  const request = { model: 'any', prompt: 'x', logprobs: 1 };
  const lists = {
    tokens: ['Hé', '!'],
    token_logprobs: [-0.5, -1],
    top_logprobs: [{ Ho: -0.25, Hé: -0.5 }, { '!': -1 }],
    text_offset: [0, 2],
  };
  const whole = await client.completions.create(request);
  expect(whole.choices).toEqual([{ index: 0, text: 'Hé!', logprobs: lists, finish_reason: 'stop' }]);
  const offsets: unknown[] = [];
  for await (const { choices } of await client.completions.create({ ...request, stream: true }))
    offsets.push(...(choices[0]!.logprobs?.text_offset ?? []));
  expect(offsets).toEqual([0, 2]);
});

test('progress of the prompt comes where it is asked for', async () => {
  const reading: GenerateEvent[] = [
    prefill,
    { type: 'prefill', done: 2, total: 3, ms: 7, cached: 10 },
    { type: 'text', text: 'A' },
    done('stop'),
  ];
  const { engine } = await serve(reading, reading);
  const progress: unknown[] = [];
  for await (const chunk of await engine.chat.completions.create({ messages, stream: true, return_progress: true }))
    if (chunk.prompt_progress) progress.push(chunk.prompt_progress);
  expect(progress).toEqual([
    { total: 3, cache: 0, processed: 0, time_ms: 0 },
    { total: 13, cache: 10, processed: 12, time_ms: 7 },
  ]);
  for await (const chunk of await engine.chat.completions.create({ messages, stream: true }))
    expect(chunk).not.toHaveProperty('prompt_progress');
});

test('interruptGenerate reaches the worker', async () => {
  const { engine, interrupted } = await serve();
  engine.interruptGenerate();
  await engine.refreshInfo().catch(() => {}); // calls go in order
  expect(interrupted).toEqual([-1]);
});

test('embeddings say that they are not offered', async () => {
  const { engine, client } = await serve();
  await expect(engine.embeddings.create({ input: 'x' })).rejects.toMatchObject({ name: 'EngineError', code: 'unsupported' });
  await expect(client.embeddings.create({ model: 'any', input: 'x' })).rejects.toMatchObject({
    status: 400,
    code: 'unsupported',
  });
});

const wire = (code: string, field?: string): GenerateEvent => ({
  type: 'error',
  error: { code: code as 'internal', message: `It is ${code}.`, ...(field ? { field } : {}) },
});

test.each([
  ['context-length', 400, 'context_length_exceeded', 'invalid_request_error'],
  ['unsupported-content', 400, 'unsupported_content', 'invalid_request_error'],
  ['unsupported-schema', 400, 'unsupported_schema', 'invalid_request_error'],
  ['format', 400, 'format', 'invalid_request_error'],
  ['device-lost', 503, 'device_lost', 'server_error'],
  ['unloaded', 503, 'unloaded', 'server_error'],
  ['non-finite', 500, 'non_finite', 'server_error'],
  ['internal', 500, 'internal', 'server_error'],
])('%s is status %i, streamed or not, and is not asked for again', async (code, status, openAiCode, type) => {
  const { client, requests } = await serve([wire(code, 'messages[0].content')], [wire(code)]);
  const request = { model: 'any', messages };
  const error = { status, code: openAiCode, type, message: expect.stringContaining(`It is ${code}.`) };
  await expect(client.chat.completions.create(request)).rejects.toMatchObject({ ...error, param: 'messages[0].content' });
  await expect(client.chat.completions.create({ ...request, stream: true })).rejects.toMatchObject({ ...error, param: null });
  expect(requests).toHaveLength(2);
});

test('an error in mid-stream is thrown to whoever reads', async () => {
  const { client } = await serve([prefill, { type: 'text', text: 'A' }, wire('device-lost')]);
  const seen: unknown[] = [];
  const read = async () => {
    for await (const chunk of await client.chat.completions.create({ model: 'any', messages, stream: true }))
      seen.push(chunk.choices[0]!.delta.content);
  };
  await expect(read()).rejects.toMatchObject({ code: 'device_lost', message: expect.stringContaining('It is device-lost.') });
  expect(seen).toEqual(['', 'A']);
});

test('a wrong field is status 400 and named', async () => {
  const { client } = await serve();
  await expect(client.chat.completions.create({ model: 'any', messages, temperature: 9 })).rejects.toMatchObject({
    status: 400,
    code: 'invalid_request',
    param: 'temperature',
  });
});

test('models, and what is not there', async () => {
  const { engine, client } = await serve();
  expect((await client.models.list()).data).toEqual([{ id: 'acme/tiny', object: 'model', created: 0, owned_by: 'sluice' }]);
  expect((await client.models.retrieve('acme/tiny')).id).toBe('acme/tiny');
  await expect(client.models.retrieve('other')).rejects.toMatchObject({ status: 404 });
  await expect(client.images.generate({ prompt: 'x' })).rejects.toMatchObject({ status: 404, code: 'not_found' });
  const get = await createFetch(engine)('/v1/chat/completions');
  expect([get.status, await get.json()]).toMatchObject([404, { error: { code: 'not_found' } }]);
  const bad = await createFetch(engine)('http://any/v1/chat/completions', { method: 'POST', body: '{' });
  expect([bad.status, await bad.json()]).toMatchObject([400, { error: { code: 'invalid_request' } }]);
});

test.each(['chat', 'text'] as const)(
  'a signal in the body of a %s request that was aborted before: AbortError, and nothing runs',
  async (kind) => {
    const { engine, requests } = await serve([prefill, { type: 'text', text: 'A' }, done('stop')]);
    const signal = AbortSignal.abort();
    const request = (more: object) =>
      kind === 'chat'
        ? engine.chat.completions.create({ messages, ...more })
        : engine.completions.create({ prompt: 'x', ...more });
    for (const more of [{ signal }, { signal, stream: true }])
      await expect(request(more)).rejects.toMatchObject({ name: 'AbortError' });
    expect(requests).toEqual([]);
    await request({ signal: new AbortController().signal });
    expect(requests).toHaveLength(1);
  },
);

test('an aborted request rejects as fetch does, before and while it runs', async () => {
  const { engine, client } = await serve([prefill, { type: 'text', text: 'A' }], [prefill]);
  const init = { method: 'POST', body: JSON.stringify({ messages }), signal: AbortSignal.abort() };
  await expect(createFetch(engine)('http://any/v1/chat/completions', init)).rejects.toMatchObject({ name: 'AbortError' });
  const stop = new AbortController();
  const stream = await client.chat.completions.create({ model: 'any', messages, stream: true }, { signal: stop.signal });
  const seen: unknown[] = [];
  for await (const chunk of stream) {
    seen.push(chunk.choices[0]!.delta.content);
    if (seen.length === 2) stop.abort();
  }
  expect(seen).toEqual(['', 'A']);
  const late = new AbortController();
  const whole = client.chat.completions.create({ model: 'any', messages }, { signal: late.signal });
  setTimeout(() => late.abort(), 50);
  await expect(whole).rejects.toThrow(OpenAI.APIUserAbortError);
});

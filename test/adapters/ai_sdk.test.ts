/** The AI SDK's adapter in Node, in front of a small server; with a model on a GPU it is tested in test/browser/adapters.test.ts. */
import { generateText, stepCountIs, streamText, tool } from 'ai';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { sluice } from '../../src/adapters/ai_sdk';
import { requestOf } from '../../src/adapters/ai_sdk/request';
import { createEndpointEngine } from '../../src/api';
import { type OpenAiServer, startOpenAiServer } from '../servers/openai_server';

let server: OpenAiServer;
const opened: number[] = [];
const model = sluice(async () => {
  opened.push(1);
  return createEndpointEngine({ url: server.url }, { onFallback: () => true });
});

beforeAll(async () => {
  server = await startOpenAiServer();
});
beforeEach(() => {
  Object.assign(server.options, { call: undefined, thinks: undefined, fault: undefined });
  server.asked.length = 0;
});
afterAll(() => server.close());

test('an engine is made at the first call, once', async () => {
  expect(opened).toEqual([]);
  for (const prompt of ['Hello', 'Again']) {
    const { text, usage, finishReason } = await generateText({ model, prompt });
    expect({ text, finishReason }).toEqual({ text: `You said: [{"type":"text","text":"${prompt}"}]`, finishReason: 'stop' });
    expect(usage).toMatchObject({ inputTokens: 10, outputTokens: expect.any(Number) });
  }
  expect(opened).toHaveLength(1);
});

test('thinking comes as reasoning, before the text', async () => {
  server.options.thinks = 'Hm.';
  const result = streamText({ model, prompt: 'Hello' });
  const types: string[] = [];
  for await (const { type } of result.fullStream) if (types.at(-1) !== type) types.push(type);
  expect(types).toEqual([
    ...['start', 'start-step', 'reasoning-start', 'reasoning-delta', 'reasoning-end'],
    ...['text-start', 'text-delta', 'text-end', 'finish-step', 'finish'],
  ]);
  expect(await result.reasoningText).toBe('Hm.');
});

test('a tool is called, its result goes back, and the answer comes', async () => {
  server.options.call = (messages) =>
    messages.at(-1)!.role === 'tool' ? undefined : { id: 'c1', name: 'weather', arguments: '{"city":"Paris"}' };
  const weather = tool({ inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => ({ city, sun: true }) });
  const { text, steps } = await generateText({ model, prompt: 'Sun?', tools: { weather }, stopWhen: stepCountIs(3) });
  expect(steps).toHaveLength(2);
  expect(text).toBe('You said: "{\\"city\\":\\"Paris\\",\\"sun\\":true}"');
  const sent = server.asked.at(-1)!.body!.messages as object[];
  expect(sent.slice(1)).toEqual([
    {
      role: 'assistant',
      content: '',
      tool_calls: [{ id: 'c1', type: 'function', function: { name: 'weather', arguments: '{"city":"Paris"}' } }],
    },
    { role: 'tool', tool_call_id: 'c1', content: '{"city":"Paris","sun":true}' },
  ]);
});

test('an error in mid-reply is the stream’s error; one before it is thrown, and not asked again', async () => {
  server.options.fault = 'error-event';
  const errors: unknown[] = [];
  const result = streamText({ model, prompt: 'Hello', onError: ({ error }) => void errors.push(error) });
  await result.consumeStream();
  expect(errors).toMatchObject([{ name: 'EngineError', code: 'endpoint' }]);
  server.options.fault = 'status-500';
  server.asked.length = 0;
  await expect(generateText({ model, prompt: 'Hello' })).rejects.toMatchObject({ code: 'endpoint' });
  expect(server.asked).toHaveLength(1);
});

describe('a call as a request', () => {
  const prompt = [{ role: 'user' as const, content: [{ type: 'text' as const, text: 'Hi' }] }];
  const schema = { type: 'object' as const, properties: {} };
  const lookUp = { type: 'function' as const, name: 'look_up', inputSchema: schema };

  test('every field finds its place', () => {
    const { request, warnings } = requestOf({
      prompt: [{ role: 'system', content: 'Be brief.' }, ...prompt],
      ...{
        maxOutputTokens: 5,
        temperature: 0.5,
        topP: 0.9,
        topK: 4,
        presencePenalty: 1,
        frequencyPenalty: -1,
        seed: 3,
        stopSequences: ['x'],
      },
      responseFormat: { type: 'json', schema, name: 'thing' },
      providerOptions: { sluice: { min_p: 0.1 } },
    });
    expect(warnings).toEqual([]);
    expect(request).toMatchObject({
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: [{ type: 'text', text: 'Hi' }] },
      ],
      ...{
        max_tokens: 5,
        temperature: 0.5,
        top_p: 0.9,
        top_k: 4,
        presence_penalty: 1,
        frequency_penalty: -1,
        seed: 3,
        stop: ['x'],
      },
      response_format: { type: 'json_schema', json_schema: { name: 'thing', schema } },
      min_p: 0.1,
      stream: true,
    });
  });

  test.each([
    [undefined, 'auto'],
    [{ type: 'none' as const }, 'none'],
    [{ type: 'required' as const }, 'required'],
    [
      { type: 'tool' as const, toolName: 'look_up' },
      { type: 'function', function: { name: 'look_up' } },
    ],
  ])('toolChoice %j', (toolChoice, expected) => {
    const { request } = requestOf({ prompt, tools: [lookUp], toolChoice });
    expect(request.tool_choice).toEqual(expected);
  });

  test('what cannot be is a warning, or an error', () => {
    const both = requestOf({ prompt, tools: [lookUp], responseFormat: { type: 'json', schema } });
    expect(both.request.response_format).toBeUndefined();
    expect(both.warnings).toMatchObject([{ type: 'unsupported', feature: 'responseFormat' }]);
    const foreign = requestOf({ prompt, tools: [{ type: 'provider', id: 'acme.search', name: 'search', args: {} }] });
    expect(foreign.warnings).toMatchObject([{ type: 'unsupported' }]);
    const image = { type: 'file' as const, mediaType: 'image/png', data: 'AA==' };
    expect(() => requestOf({ prompt: [{ role: 'user', content: [image] }] })).toThrow(/image\/png/);
  });
});

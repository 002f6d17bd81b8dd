/** The AI SDK's adapter as a LanguageModelV4: its types against those of the SDK's own package, and what it does with what V4 has anew. */
import type { LanguageModelV4, LanguageModelV4CallOptions, LanguageModelV4StreamPart } from 'ai-sdk-provider-4';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sluice } from '../../src/adapters/ai_sdk';
import { requestOf } from '../../src/adapters/ai_sdk/request';
import { createEndpointEngine } from '../../src/api';
import { type OpenAiServer, startOpenAiServer } from '../servers/openai_server';

let server: OpenAiServer;
/** The type is half of the test: `tsc` refuses what is no LanguageModelV4. */
let model: LanguageModelV4;
beforeAll(async () => {
  server = await startOpenAiServer();
  const source = () => createEndpointEngine({ url: server.url }, { onFallback: () => true });
  model = sluice(source, { specification: 'v4', modelId: 'small' });
});
afterAll(() => server.close());

const prompt: LanguageModelV4CallOptions['prompt'] = [{ role: 'user', content: [{ type: 'text', text: 'Hi' }] }];

test('is one, and a V3 still where nobody asks for it', () => {
  expect(model).toMatchObject({ specificationVersion: 'v4', provider: 'sluice', modelId: 'small', supportedUrls: {} });
  expect(sluice(() => Promise.reject(new Error('not asked'))).specificationVersion).toBe('v3');
});

test('a whole reply, and one in parts', async () => {
  const { content, finishReason, usage } = await model.doGenerate({ prompt });
  expect(content).toEqual([{ type: 'text', text: 'You said: [{"type":"text","text":"Hi"}]' }]);
  expect(finishReason).toEqual({ unified: 'stop', raw: 'stop' });
  expect(usage.inputTokens.total).toBe(10);
  const { stream } = await model.doStream({ prompt });
  const types: LanguageModelV4StreamPart['type'][] = [];
  for await (const { type } of stream as unknown as AsyncIterable<LanguageModelV4StreamPart>)
    if (types.at(-1) !== type) types.push(type);
  expect(types).toEqual(['stream-start', 'response-metadata', 'text-start', 'text-delta', 'text-end', 'finish']);
});

test.each([
  ['none', { enable_thinking: false }, 0],
  ['high', { enable_thinking: true }, 1],
  ['provider-default', undefined, 0],
  [undefined, undefined, 0],
] as const)('reasoning: %s', (reasoning, expected, warned) => {
  const { request, warnings } = requestOf({ prompt, reasoning });
  expect(request.chat_template_kwargs).toEqual(expected);
  expect(warnings).toHaveLength(warned);
  const own = requestOf({ prompt, reasoning, providerOptions: { sluice: { chat_template_kwargs: { a: 1 } } } });
  expect(own.request.chat_template_kwargs).toEqual({ a: 1 });
});

test('parts that V4 has anew are passed over in a reply, refused in a message', () => {
  const file = { type: 'data' as const, data: 'AA==' };
  const said: LanguageModelV4CallOptions['prompt'] = [
    {
      role: 'assistant',
      content: [
        { type: 'text', text: 'Here.' },
        { type: 'reasoning-file', data: file, mediaType: 'image/png' },
        { type: 'custom', kind: 'acme.thing' },
        { type: 'tool-call', toolCallId: 'c1', toolName: 'draw', input: {} },
      ],
    },
    {
      role: 'tool',
      content: [
        {
          ...{ type: 'tool-result', toolCallId: 'c1', toolName: 'draw' },
          output: {
            type: 'content',
            value: [
              { type: 'text', text: 'drawn' },
              { type: 'file', data: file, mediaType: 'image/png' },
            ],
          },
        },
      ],
    },
  ];
  const { request } = requestOf({ prompt: said });
  expect(request.messages).toMatchObject([
    { role: 'assistant', content: 'Here.', tool_calls: [{ id: 'c1' }] },
    { role: 'tool', tool_call_id: 'c1', content: 'drawn\n[file]' },
  ]);
  const asked: LanguageModelV4CallOptions['prompt'] = [
    { role: 'user', content: [{ type: 'file', data: file, mediaType: 'image/png' }] },
  ];
  expect(() => requestOf({ prompt: asked })).toThrow(/image\/png/);
});

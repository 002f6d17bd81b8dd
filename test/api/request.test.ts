import type OpenAI from 'openai';
import type { ParsedChatCompletionMessage } from 'openai/resources/chat/completions';
import { describe, expect, test } from 'vitest';
import { chatRequest } from '../../src/api/chat_request';
import { completionRequest } from '../../src/api/completions';
import { signalOf } from '../../src/api/request';
import type { ChatRequest, CompletionRequest, ReplyDelta, ReplyMessage } from '../../src/protocol/chat';

const messages = [{ role: 'user', content: 'x' }];
const chat = (request: object) => chatRequest({ messages, ...request } as ChatRequest, 1000);
const complete = (request: object) => completionRequest({ prompt: 'x', ...request } as CompletionRequest, 1000);
const tool = (name: string, more: object = {}) => ({
  type: 'function',
  function: { name, parameters: { type: 'object' }, ...more },
});
const tools = [tool('a'), tool('b')];
const calling = (id: string) => ({
  role: 'assistant',
  tool_calls: [{ id, type: 'function', function: { name: 'a', arguments: '{}' } }],
});
const answer = (id: string) => ({ role: 'tool', tool_call_id: id, content: 'x' });
const sampling = {
  temperature: 0,
  top_p: 0.5,
  top_k: 3,
  min_p: 0.1,
  repetition_penalty: 1.1,
  presence_penalty: -1,
  frequency_penalty: 2,
  seed: 7,
  logit_bias: { 5: -100, 999: 1.5 },
};

test('known fields of a completion arrive', () => {
  const request = {
    ...sampling,
    max_tokens: 5,
    stop: 'a',
    n: 2,
    logprobs: 3,
    stream: true,
    stream_options: { include_usage: true },
  };
  expect(complete({ ...request, return_progress: true, allow_special_tokens: false, model: 'm' })).toEqual({
    prompt: { text: 'x', allowSpecialTokens: false },
    sampling,
    maxTokens: 5,
    stop: ['a'],
    choices: 2,
    topLogprobs: 3,
  });
});

test('known fields of a chat request arrive', () => {
  const request = {
    ...sampling,
    max_tokens: 5,
    max_completion_tokens: 9,
    logprobs: true,
    top_logprobs: 20,
    n: 128,
    stop: ['a', 'b'],
  };
  const thinking = { chat_template_kwargs: { enable_thinking: true, mood: 'calm' }, reasoning_budget_tokens: 30 };
  expect(chat({ ...request, ...thinking, tools, allow_special_tokens: true })).toEqual({
    prompt: { messages, tools, templateKwargs: { enable_thinking: true, mood: 'calm' }, allowSpecialTokens: true },
    sampling,
    maxTokens: 9,
    stop: ['a', 'b'],
    choices: 128,
    topLogprobs: 20,
    reasoningBudgetTokens: 30,
  });
});

test('unset and null fields stay unset, so that the checkpoint decides', () => {
  const unset = {
    temperature: null,
    seed: undefined,
    logit_bias: null,
    stop: null,
    n: null,
    max_tokens: null,
    stream_options: null,
  };
  expect(complete({ ...unset, logprobs: null })).toEqual({ prompt: { text: 'x' }, sampling: {}, maxTokens: undefined, stop: [] });
});

test('thinking is off unless it is asked for, whatever its budget', () => {
  const off = { prompt: { templateKwargs: { enable_thinking: false } }, reasoningBudgetTokens: 0 };
  expect(chat({})).toMatchObject(off);
  expect(chat({ reasoning_budget_tokens: 50 })).toMatchObject(off);
  expect(chat({ chat_template_kwargs: { enable_thinking: true } }).reasoningBudgetTokens).toBeUndefined();
});

test.each([
  [{ logprobs: true }, 0],
  [{ logprobs: true, top_logprobs: 4 }, 4],
  [{ logprobs: false }, undefined],
  [{ logprobs: true, top_logprobs: null }, 0],
])('%j asks for %j top log probabilities', (request, expected) => expect(chat(request).topLogprobs).toBe(expected));

describe('tools and formats', () => {
  const schema = { type: 'object', properties: {} };
  const allowed = (mode: string, ...names: string[]) => ({
    type: 'allowed_tools',
    allowed_tools: { mode, tools: names.map((name) => ({ type: 'function', function: { name } })) },
  });
  test.each<[string, object, unknown, unknown]>([
    ['auto', { tools }, tools, undefined],
    ['none', { tools, tool_choice: 'none' }, undefined, undefined],
    ['required', { tools, tool_choice: 'required' }, tools, { kind: 'tool_calls', tools }],
    [
      'a named function',
      { tools, tool_choice: { type: 'function', function: { name: 'b' } } },
      tools,
      { kind: 'tool_calls', tools, name: 'b' },
    ],
    ['one allowed tool', { tools, tool_choice: allowed('auto', 'b') }, [tools[1]], undefined],
    [
      'one allowed and required tool',
      { tools, tool_choice: allowed('required', 'b') },
      [tools[1]],
      { kind: 'tool_calls', tools: [tools[1]] },
    ],
    ['text', { response_format: { type: 'text' }, tools }, tools, undefined],
    ['JSON', { response_format: { type: 'json_object' } }, undefined, { kind: 'json_object' }],
    [
      'a schema',
      { response_format: { type: 'json_schema', json_schema: { name: 's', schema, strict: true } } },
      undefined,
      { kind: 'json_schema', schema, strict: true },
    ],
    [
      'a schema that is missing',
      { response_format: { type: 'json_schema', json_schema: { name: 's', strict: null } } },
      undefined,
      { kind: 'json_schema', schema: {} },
    ],
    [
      'a schema beside tools that may not be called',
      { response_format: { type: 'json_object' }, tools, tool_choice: 'none' },
      undefined,
      { kind: 'json_object' },
    ],
    [
      'a grammar',
      { response_format: { type: 'grammar', grammar: 'root ::= "a"' } },
      undefined,
      { kind: 'grammar', grammar: 'root ::= "a"' },
    ],
  ])('%s', (_, request, offered, constraint) => {
    const made = chat(request);
    expect('messages' in made.prompt && made.prompt.tools).toEqual(offered);
    expect(made.constraint).toEqual(constraint);
  });
});

const wrongEverywhere: [string, unknown][] = [
  ['temperature', -0.1],
  ['temperature', 2.1],
  ['temperature', Number.NaN],
  ['temperature', '1'],
  ['top_p', 0],
  ['top_p', 1.5],
  ['top_k', 1.5],
  ['min_p', -1],
  ['min_p', 1.1],
  ['repetition_penalty', 0],
  ['presence_penalty', 3],
  ['frequency_penalty', -3],
  ['seed', 0.5],
  ['max_tokens', 0],
  ['stop', ['']],
  ['stop', [1]],
  ['stop', Array.from({ length: 17 }, () => 'a')],
  ['n', 0],
  ['n', 129],
  ['n', 1.5],
  ['logit_bias', [1]],
  ['logit_bias', { a: 1 }],
  ['logit_bias', { 1000: 1 }],
  ['logit_bias', { '07': 1 }],
  ['logit_bias.7', { 7: 101 }],
  ['logit_bias.7', { 7: null }],
  ['stream', 'yes'],
  ['stream_options', { include_usage: true }], // without stream
  ['return_progress', 1],
  ['allow_special_tokens', 'no'],
  ['model', 7],
  ['best_of', 2],
  ['user', 'me'],
];
const wrongInChat: [string, unknown][] = [
  ['prompt', 'x'],
  ['messages', []],
  ['messages', 'x'],
  ['messages[0].role', [{ role: 'function', name: 'f', content: 'x' }]],
  ['messages[0].role', [null]],
  ['messages[0].content', [{ role: 'user' }]],
  ['messages[0].content', [{ role: 'user', content: 7 }]],
  ['messages[1].tool_call_id', [messages[0], { role: 'tool', content: 'x' }]],
  ['messages[1].role', [messages[0], { role: 'tool', tool_call_id: 'c', content: 'x' }]],
  ['messages[2].tool_call_id', [messages[0], calling('c'), { role: 'tool', tool_call_id: 'd', content: 'x' }]],
  ['messages[3].role', [calling('c'), answer('c'), messages[0], answer('c')]],
  ['messages[0].tool_calls', [{ ...calling('c'), role: 'user', content: 'x' }]],
  ['messages[0].reasoning_content', [{ role: 'assistant', content: '', reasoning_content: {} }]],
  ['messages[0].tool_calls', [{ role: 'assistant', tool_calls: {} }]],
  ['messages[0].function_call', [{ role: 'assistant', content: '', function_call: { name: 'f', arguments: '' } }]],
  ['messages[0].tool_calls[0]', [{ role: 'assistant', tool_calls: [{ id: '1', type: 'function', function: { name: 'f' } }] }]],
  [
    'messages[0].tool_calls[0]',
    [{ role: 'assistant', tool_calls: [{ id: '1', type: 'custom', custom: { name: 'f', input: '' } }] }],
  ],
  ['messages[0].contnet', [{ role: 'user', contnet: 'hi' }]],
  ['messages[0].contnet', [{ role: 'assistant', content: 'x', contnet: null }]],
  ['messages[0].__proto__', JSON.parse('[{"role": "user", "content": "x", "__proto__": {}}]')],
  ['messages[0].name', [{ role: 'user', content: 'x', name: 7 }]],
  ['messages[0].refusal', [{ role: 'user', content: 'x', refusal: 'no' }]],
  ['messages[0].refusal', [{ role: 'assistant', content: null, refusal: ['no'] }]],
  ['messages[0].reasoning_content', [{ role: 'user', content: 'x', reasoning_content: 'hm' }]],
  ['messages[0].annotations', [{ role: 'assistant', content: 'x', annotations: {} }]],
  ['messages[0].tool_call_id', [{ role: 'assistant', content: 'x', tool_call_id: 'c' }]],
  ['messages[0].content[1].txt', [{ role: 'user', content: ['a', { type: 'text', txt: 'hi' }] }]],
  ['messages[0].content[0].typ', [{ role: 'user', content: [{ typ: 'text', text: 'hi' }] }]],
  ['messages[0].content[0].reason', [{ role: 'assistant', content: [{ type: 'refusal', refusal: 'no', reason: 'x' }] }]],
  ['messages[0].tool_calls[0].functon', [{ role: 'assistant', tool_calls: [{ id: '1', type: 'function', functon: {} }] }]],
  [
    'messages[0].tool_calls[0].function.args',
    [{ role: 'assistant', tool_calls: [{ id: '1', type: 'function', function: { name: 'f', args: '{}' } }] }],
  ],
  ['messages[0].tool_calls[0].id', [{ role: 'assistant', tool_calls: [{ ...calling('c').tool_calls[0], id: 7 }] }]],
  ['messages[0].tool_calls[0]', [{ role: 'assistant', tool_calls: [{ ...calling('c').tool_calls[0], type: 'call' }] }]],
  ['tools[0].functon', [{ type: 'function', functon: {} }]],
  ['tools[0].function.nme', [{ type: 'function', function: { nme: 'a' } }]],
  ['logprobs', 3],
  ['top_logprobs', 5], // without logprobs
  ['max_completion_tokens', 0],
  ['reasoning_budget_tokens', -1],
  ['chat_template_kwargs', 'x'],
  ['chat_template_kwargs.enable_thinking', { enable_thinking: 'yes' }],
  ['tools', []],
  ['tools[0].type', [{ type: 'custom', custom: { name: 'x' } }]],
  ['tools[0].function.name', [tool('a b')]],
  ['tools[1].function.name', [tool('a'), tool('a')]],
  ['tools[0].function.parameters', [tool('a', { parameters: 'x' })]],
  ['tools[0].function.description', [tool('a', { description: 5 })]],
  ['tools[0].function.strict', [tool('a', { strict: 'yes' })]],
  ['tools[0].function.params', [tool('a', { params: {} })]],
  ['tools[0].name', [{ ...tool('a'), name: 'a' }]],
  ['tool_choice', 'required'], // without tools
  ['response_format', 'json'],
  ['response_format.type', { type: 'xml' }],
  ['response_format.grammar', { type: 'grammar' }],
  ['response_format.grammar', { type: 'text', grammar: 'root ::= "a"' }],
  ['response_format.schema', { type: 'json_object', schema: { type: 'object' } }],
  ['response_format.json_schema', { type: 'json_object', json_schema: { name: 's', schema: {} } }],
  ['response_format.json_schema.description', { type: 'json_schema', json_schema: { name: 's', description: 1 } }],
  ['response_format.json_schema.shema', { type: 'json_schema', json_schema: { name: 's', shema: {} } }],
  ['response_format.json_schema', { type: 'json_schema' }],
  ['response_format.json_schema.name', { type: 'json_schema', json_schema: {} }],
  ['response_format.json_schema.schema', { type: 'json_schema', json_schema: { name: 's', schema: [] } }],
];
const wrongInCompletions: [string, unknown][] = [
  ['messages', messages],
  ['prompt', ''],
  ['prompt', ['a', 'b']],
  ['prompt', [1, 2]],
  ['prompt', null],
  ['logprobs', 21],
  ['logprobs', true],
];

/** The field of the request that holds the wrong one: 'a[0].b' lies in 'a'. */
const outer = (field: string) => field.split(/[.[]/)[0]!;
const refused = (field: string) =>
  expect.objectContaining({ code: 'invalid-request', field, message: expect.stringContaining(`'${field}'`) });

describe('a wrong field is an error that names it', () => {
  test('also where it has no JSON', () => {
    const circular: { self?: unknown } = {};
    circular.self = circular;
    for (const temperature of [1n, circular, Symbol('x'), () => 1])
      expect(() => chat({ temperature })).toThrow(refused('temperature'));
  });

  test('also in a schema or an option that is no JSON', () => {
    const circular: Record<string, unknown> = { type: 'object' };
    circular.properties = { again: circular };
    for (const schema of [circular, { const: 1n }, { type: 'null', description: () => 'x' }]) {
      const format = { type: 'json_schema', json_schema: { name: 's', schema } };
      expect(() => chat({ response_format: format })).toThrow(refused('response_format.json_schema.schema'));
      expect(() => chat({ tools: [tool('a', { parameters: schema })] })).toThrow(refused('tools[0].function.parameters'));
      expect(() => chat({ chat_template_kwargs: { schema } })).toThrow(refused('chat_template_kwargs'));
    }
  });

  test.each([...wrongEverywhere, ...wrongInChat])('chat, %s: %j', (field, value) =>
    expect(() => chat({ [outer(field)]: value })).toThrow(refused(field)),
  );
  test.each([...wrongEverywhere, ...wrongInCompletions])('completions, %s: %j', (field, value) =>
    expect(() => complete({ [outer(field)]: value })).toThrow(refused(field)),
  );
  test.each([
    ['tool_choice', { tools, tool_choice: 'any' }],
    ['tool_choice.function.name', { tools, tool_choice: { type: 'function', function: { name: 'c' } } }],
    ['tool_choice', { tools, tool_choice: { type: 'custom', custom: { name: 'a' } } }],
    [
      'tool_choice.allowed_tools.mode',
      { tools, tool_choice: { type: 'allowed_tools', allowed_tools: { mode: 'x', tools: [] } } },
    ],
    ['tool_choice.name', { tools, tool_choice: { type: 'function', name: 'a', function: { name: 'a' } } }],
    ['tool_choice.function.nme', { tools, tool_choice: { type: 'function', function: { nme: 'a' } } }],
    [
      'tool_choice.allowed_tools.mod',
      { tools, tool_choice: { type: 'allowed_tools', allowed_tools: { mod: 'auto', tools: [] } } },
    ],
    [
      'tool_choice.mode',
      { tools, tool_choice: { type: 'allowed_tools', mode: 'auto', allowed_tools: { mode: 'auto', tools: [] } } },
    ],
    ['top_logprobs', { logprobs: true, top_logprobs: 21 }],
    ['seed', { seed: Number.MAX_SAFE_INTEGER, n: 3 }], // the last two of three would be the same
    ['top_logprobs', { logprobs: true, top_logprobs: -1 }],
    ['top_logprobs', { logprobs: true, top_logprobs: 1.5 }],
    ['response_format', { tools, response_format: { type: 'json_object' } }],
    ['stream_options.usage', { stream: true, stream_options: { usage: true } }],
    ['stream_options.include_usage', { stream: true, stream_options: { include_usage: 1 } }],
  ])('together, %s: %j', (field, request) => expect(() => chat(request)).toThrow(refused(field)));
  test.each([null, 7, 'x'])('%j is no request at all', (request) =>
    expect(() => chatRequest(request as never, 1000)).toThrow(expect.objectContaining({ code: 'invalid-request' })),
  );
});

describe('the signal', () => {
  test('comes from the request, from the second argument, or from both', () => {
    const [a, b] = [new AbortController(), new AbortController()];
    expect(signalOf({}, undefined)).toBeUndefined();
    expect(signalOf({ signal: a.signal }, { signal: null })).toBe(a.signal);
    expect(signalOf({}, { signal: b.signal })).toBe(b.signal);
    const both = signalOf({ signal: a.signal }, { signal: b.signal })!;
    b.abort();
    expect(both.aborted).toBe(true);
  });

  test.each([
    [{ signal: {} }, undefined, 'signal'],
    [{}, { signal: 'x' }, 'signal'],
    [{}, { timeout: 5 }, 'timeout'],
  ])('%j, %j names %s', (request, options, field) =>
    expect(() => signalOf(request as never, options as never)).toThrow(refused(field)),
  );
});

/** Everything that OpenAI's types know of messages, which holds at compile time: a field that a new version adds is to be added here. */
const call: Required<OpenAI.ChatCompletionMessageFunctionToolCall> = {
  id: 'c',
  type: 'function',
  function: { name: 'a', arguments: '{}' },
};
const part: Required<OpenAI.ChatCompletionContentPartText> = {
  type: 'text',
  text: 'hi',
  prompt_cache_breakpoint: { mode: 'explicit' },
};
const asked: [
  Required<OpenAI.ChatCompletionSystemMessageParam>,
  Required<OpenAI.ChatCompletionDeveloperMessageParam>,
  Required<OpenAI.ChatCompletionUserMessageParam>,
  Required<OpenAI.ChatCompletionAssistantMessageParam>,
  Required<OpenAI.ChatCompletionToolMessageParam>,
  Required<OpenAI.ChatCompletionMessage>,
  Required<ParsedChatCompletionMessage<unknown>>,
] = [
  { role: 'system', content: [part], name: 'n' },
  { role: 'developer', content: 'x', name: 'n' },
  { role: 'user', content: [part], name: 'n' },
  {
    role: 'assistant',
    content: [part, { type: 'refusal', refusal: 'no' }],
    name: 'n',
    refusal: 'no',
    audio: null,
    function_call: null,
    tool_calls: [call],
  },
  { role: 'tool', content: [part], tool_call_id: 'c' },
  {
    role: 'assistant',
    content: null,
    refusal: null,
    audio: null,
    function_call: null as never, // as servers send it
    annotations: [{ type: 'url_citation', url_citation: { end_index: 1, start_index: 0, title: 't', url: 'u' } }],
    tool_calls: [call],
  },
  {
    role: 'assistant',
    content: '{}',
    refusal: null,
    audio: null,
    function_call: null as never,
    annotations: [],
    parsed: {},
    tool_calls: [{ ...call, function: { ...call.function, parsed_arguments: {} } }],
  },
];
const said: Required<ReplyMessage>[] = [
  { role: 'assistant', content: 'x', refusal: null, tool_calls: [call], reasoning_content: 'hm' },
];
const delta: Required<ReplyDelta> = {
  role: 'assistant',
  content: 'x',
  refusal: null,
  tool_calls: [{ index: 0, ...call }],
  reasoning_content: 'hm',
};

test("every field that OpenAI's types, its client and Sluice's own replies know for a role goes in", () => {
  const all = [...asked, ...said, delta];
  expect(chat({ messages: all }).prompt).toMatchObject({ messages: all });
});

test('null means that a field is not there, as where all messages are written out with all fields', () => {
  const known = ['name', 'refusal', 'audio', 'function_call', 'annotations', 'parsed', 'tool_calls', 'tool_call_id'];
  const nothing = Object.fromEntries([...known, 'reasoning_content'].map((field) => [field, null]));
  expect(chat({ messages: [{ ...nothing, ...messages[0] }] }).prompt).toMatchObject({ messages });
});

test("tools' answers come after the calls that they answer, in any order", () => {
  const calls = { ...calling('c'), tool_calls: [...calling('c').tool_calls, ...calling('d').tool_calls] };
  const turn = [...messages, calls, answer('d'), answer('c'), { role: 'assistant', content: 'x' }];
  expect(chat({ messages: turn }).prompt).toMatchObject({ messages: turn });
});

test('a last message of the assistant begins the reply where that is asked for', () => {
  const begun = [...messages, { role: 'assistant', content: 'Once' }];
  expect(chat({ messages: begun, continue_final_message: true }).prompt).toMatchObject({ messages: begun, continueFinal: true });
  expect(chat({ messages: begun }).prompt).not.toHaveProperty('continueFinal');
  const calls = [{ id: '1', type: 'function', function: { name: 'a', arguments: '{}' } }];
  for (const [request, why] of [
    [{}, /needs a last message/],
    [{ messages: begun, continue_final_message: 'yes' }, /continue_final_message/],
    [{ messages: [...messages, { role: 'assistant', tool_calls: calls }] }, /tool calls/],
    [{ messages: begun, response_format: { type: 'json_object' } }, /response_format/],
    [{ messages: begun, tools, tool_choice: 'required' }, /tool_choice/],
  ] as const)
    expect(() => chat({ continue_final_message: true, ...request })).toThrow(why);
});

import { describe, expect, test } from 'vitest';
import { EngineError } from '../../src/errors';
import { ChatTemplate, type RenderRequest, utf8Exceeds } from '../../src/text/chat_template';
import { fixture, fixtureJson } from './fixtures';

type Scenario = {
  messages: Record<string, unknown>[];
  tools?: unknown[];
  add_generation_prompt?: boolean;
  enable_thinking?: boolean;
};
type Vectors = {
  scenarios: Record<string, Scenario>;
  expected: Record<string, Record<string, { rendered: string } | { error: string }>>;
};
const vectors = fixtureJson<Vectors>('chat_template_vectors.json');

/** What each template does when enable_thinking is absent, as in most scenarios; we always pass it. */
const thinksByDefault: Record<string, boolean> = {
  'Qwen3.5-0.8B.official.jinja': false,
  'Qwen3.5-4B.ik_llama.jinja': true,
  'Qwen3.5-4B.llama.cpp.jinja': true,
  'Qwen3.5-A3B-REAP.jinja': true,
  'Qwen3.8-27B-MTPLX.jinja': true,
};
/**
 * Scenarios that differ from jinja2 on purpose, and the error that they are. jinja2 writes a placeholder for an image, whose features
 * would take its place. Text models have none: theirs would read the bare placeholder and answer as if they had seen something, so the
 * image is refused before a template sees it.
 */
const refused: Record<string, RegExp> = {
  content_parts_image: /^unsupported-content: 'messages\[0\]\.content\[\d\]' is of type 'image/,
};

function outcome(template: ChatTemplate, request: RenderRequest): { rendered: string } | { error: string } {
  try {
    return { rendered: template.render(request) };
  } catch (error) {
    expect(error).toBeInstanceOf(EngineError);
    return { error: `${(error as EngineError).code}: ${(error as EngineError).message}` };
  }
}

describe.each(Object.keys(vectors.expected))('%s', (name) => {
  const template = new ChatTemplate(fixture(`templates/${name}`));
  test.each(Object.keys(vectors.scenarios))('%s', (scenario) => {
    const { messages, tools, add_generation_prompt, enable_thinking = thinksByDefault[name] } = vectors.scenarios[scenario]!;
    const request = { messages, tools, addGenerationPrompt: add_generation_prompt, templateKwargs: { enable_thinking } };
    const ours = outcome(template, request);
    const theirs = vectors.expected[name]![scenario]!;
    if (refused[scenario]) expect(ours).toEqual({ error: expect.stringMatching(refused[scenario]) });
    else if ('rendered' in theirs) expect(ours).toEqual(theirs);
    else
      expect('error' in ours && ours.error).toContain(
        `format: The chat template refuses these messages: ${theirs.error.replace('TemplateError: ', '')}`,
      );
  });
});

const user = (content: unknown) => [{ role: 'user', content }];
const render = (source: string, request: Partial<RenderRequest> = {}) =>
  new ChatTemplate(source).render({ messages: user('hi'), ...request });

test.each([
  ['{{ true }} {{ none }} {{ false|string }}', 'True None False', 'Python names'],
  ["{{ [1, 'a', none, {'k': true}] }}", "[1, 'a', None, {'k': True}]", 'repr inside lists and dicts'],
  ['{{ "it\'s"|string }}|{{ ["it\'s"] }}', 'it\'s|["it\'s"]', 'quotes as Python chooses them'],
  ['{{ {"a": [1, 2.5]}|tojson }}', '{"a": [1, 2.5]}', 'tojson as json.dumps spaces it'],
  ['{{ "a" ~ none ~ 1 ~ true }}', 'aNone1True', 'tilde joins str() of both'],
  ['{{ (1, 2) }}', '(1, 2)', 'tuples'],
  [
    '{% for x in range(900) %}{% if x == 1 %}{% continue %}{% endif %}{% for y in [1, 2] %}{% if y == 1 %}{% break %}{% endif %}{% endfor %}{% endfor %}ok',
    'ok',
    'break and continue do not count as depth',
  ],
  ['[{{ missing }}][{{ missing ~ "x" }}]', '[][x]', 'undefined prints nothing'],
  ['[{{ []|first }}]', '[]', 'the first of nothing is undefined'],
  ['{% if true %}{% for x in [true] %}{{ x }}{% endfor %}{% endif %}', 'True', 'printed inside blocks'],
  ['{% macro m(x) %}{{ x }}{% endmacro %}{{ m(none) }}', 'None', 'printed inside macros'],
  ['{% set s %}{{ false }}{% endset %}{{ s }}', 'False', 'printed inside set blocks'],
  ['{{ range(2, 11, 3) }}{{ range(3)|list|length }}{{ range(3, 0, -1)|list }}', '[2, 5, 8]3[3, 2, 1]', 'range'],
  ['{{ enable_thinking }} {{ tools }} {{ add_generation_prompt }}', 'False None True', 'what is always defined'],
  ['{{ bos_token is defined }}', 'False', 'absent special tokens are undefined'],
])('%s -> %s (%s)', (source, expected) => expect(render(source)).toBe(expected));

test('special tokens, template kwargs and the clock reach the template', () => {
  const template = new ChatTemplate('{{ bos_token }}{{ mood }} {{ strftime_now("%d %b %Y, %-d. %B") }} {{ enable_thinking }}', {
    specialTokens: { bos_token: '<s>' },
    now: () => new Date(2026, 6, 4, 9, 5),
  });
  expect(template.render({ messages: user('hi'), templateKwargs: { mood: 'calm', enable_thinking: true } })).toBe(
    '<s>calm 04 Jul 2026, 4. July True',
  );
});

test('parts are joined before the template sees them', () => {
  const parts = [
    { type: 'text', text: 'a' },
    { type: 'text', text: 'b' },
  ];
  expect(render('{{ messages[0].content is string }}{{ messages[0].content }}', { messages: user(parts) })).toBe('Trueab');
});

test.each([
  ['image', 'unsupported-content', 'messages[0].content[0]'],
  ['input_audio', 'unsupported-content', 'input_audio'],
  ['text', 'invalid-request', 'messages[0].content[0]'],
])('a part of type %s without text is %s', (type, code, named) => {
  expect(() => render('x', { messages: user([{ type }]) })).toThrow(
    expect.objectContaining({ code, message: expect.stringContaining(named) }),
  );
});

test.each([
  ['a huge range', 'limit', '{% for x in range(10**9) %}{% endfor %}'],
  ['strings do not multiply', 'format', '{{ "x" * 9 }}'],
  [
    'a doubling string',
    'limit',
    '{% set ns = namespace(s="x") %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}',
  ],
  [
    'the same with +',
    'limit',
    '{% set ns = namespace(s="x") %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}',
  ],
  [
    'the same with replace',
    'limit',
    '{% set ns = namespace(s="xx") %}{% for i in range(60) %}{% set ns.s = ns.s|replace("x", "xxxx") %}{% endfor %}',
  ],
  ['a doubling list', 'limit', '{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = ns.a + ns.a %}{% endfor %}'],
  [
    'shared lists written out',
    'limit',
    '{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a|tojson }}',
  ],
  [
    'shared dicts printed',
    'limit',
    '{% set ns = namespace(a={}) %}{% for i in range(60) %}{% set ns.a = {"x": ns.a, "y": ns.a} %}{% endfor %}{{ ns.a }}',
  ],
  ['more output than the limit', 'limit', '{% for i in range(100000) %}{{ messages[0].content }}{% endfor %}'],
  ['endless recursion', 'limit', '{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}'],
  ['deep nesting', 'limit', `{{ ${'('.repeat(50_000)}1${')'.repeat(50_000)} }}`],
  ['a template of 2 MiB', 'limit', ' '.repeat(2 ** 21)],
  ['a huge indent', 'limit', '{{ {"a": 1}|tojson(indent=1000000000) }}'],
  ['bad syntax', 'format', '{% if %}'],
  ['a call of nothing', 'format', '{{ messages.foo.bar() }}'],
  ['break outside a loop', 'format', '{% break %}'],
  ['a refusal', 'format', '{{ raise_exception("no thanks") }}'],
])('hostile %#: %s is %s', (_why, code, source) => {
  expect(() => new ChatTemplate(source, { maxOutputBytes: 2 ** 20 }).render({ messages: user('x'.repeat(1000)) })).toThrow(
    expect.objectContaining({ name: 'EngineError', code }),
  );
});

test('a kwarg cannot replace what templates rely on', () => {
  expect(() => render('x', { templateKwargs: { range: 1 } })).toThrow(expect.objectContaining({ code: 'invalid-request' }));
});

test('a long conversation stays within the work limit', () => {
  const template = new ChatTemplate(fixture('templates/Qwen3.5-0.8B.official.jinja'));
  const messages = Array.from({ length: 400 }, (_, i) => ({ role: i % 2 ? 'assistant' : 'user', content: 'word '.repeat(500) }));
  expect(template.render({ messages }).length).toBeGreaterThan(990_000);
});

test.each([
  ['é', 2],
  ['€', 3],
  ['😀', 4],
  ['a', 1],
])('%s counts as %d bytes', (text, bytes) => {
  expect(utf8Exceeds(text.repeat(10), bytes * 10)).toBe(false);
  expect(utf8Exceeds(text.repeat(10), bytes * 10 - 1)).toBe(true);
});

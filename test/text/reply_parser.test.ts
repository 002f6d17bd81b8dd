import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ReplyParser } from '../../src/text/reply_parser';
import type { ReplyPiece, ToolShape } from '../../src/text/tool_call_parser';

type Call = { id: string; name: string; arguments: string };
type Said = { reasoning: string; text: string; calls: Call[] };

const tools: ToolShape[] = [
  {
    function: {
      name: 'get_weather',
      parameters: {
        type: 'object',
        properties: {
          city: { type: 'string' },
          days: { type: 'integer' },
          where: { $ref: '#/$defs/place' },
          unit: { enum: ['c', 'f'] },
          live: { type: 'boolean' },
          note: { type: ['string', 'null'] },
          tags: { type: 'array', items: { type: 'string' } },
          wind: { anyOf: [{ type: 'number' }, { type: 'null' }] },
          any: {},
        },
        $defs: { place: { type: 'object' } },
      },
    },
  },
  { function: { name: 'now' } },
];

/** Everything that a reply in these pieces says. */
function read(pieces: readonly string[], { opensThinking = false, withTools = true } = {}): Said {
  let ids = 0;
  const parser = new ReplyParser({ opensThinking, tools: withTools ? tools : [] }, () => `call_${ids++}`);
  const said: Said = { reasoning: '', text: '', calls: [] };
  const take = (piece: ReplyPiece) => {
    if (piece.type === 'text') said.text += piece.text;
    else if (piece.type === 'reasoning') said.reasoning += piece.text;
    else if (piece.id === undefined) said.calls[piece.index]!.arguments += piece.arguments;
    else said.calls[piece.index] = { id: piece.id, name: piece.name!, arguments: piece.arguments };
  };
  for (const piece of pieces) for (const part of parser.push(piece)) take(part);
  for (const part of parser.finish()) take(part);
  return said;
}

/** Calls with their arguments parsed: pieces may cut a surrogate pair, which JSON then escapes. */
const parsed = ({ reasoning, text, calls }: Said) => ({
  reasoning,
  text,
  calls: calls.map((call) => {
    try {
      return { ...call, arguments: JSON.parse(call.arguments) };
    } catch {
      return call;
    }
  }),
});

const xml = (name: string, values: Record<string, string>) =>
  `<tool_call>\n<function=${name}>\n${Object.entries(values)
    .map(([key, value]) => `<parameter=${key}>\n${value}\n</parameter>\n`)
    .join('')}</function>\n</tool_call>`;
const json = (call: unknown) => `<tool_call>\n${JSON.stringify(call)}\n</tool_call>`;

const replies: { why: string; reply: string; opensThinking?: boolean; said: Omit<Said, 'calls'>; calls: [string, unknown][] }[] =
  [
    { why: 'plain text', reply: ' \n Hello <b>\n', said: { reasoning: '', text: ' \n Hello <b>\n' }, calls: [] },
    { why: 'nothing', reply: '', said: { reasoning: '', text: '' }, calls: [] },
    { why: 'white space alone', reply: '\n\n', said: { reasoning: '', text: '\n\n' }, calls: [] },
    {
      why: 'thinking that the prompt opened',
      reply: '\nHm, 1 < 2.\n\nYes.\n</think>\n\nIt is.\n',
      opensThinking: true,
      said: { reasoning: 'Hm, 1 < 2.\n\nYes.', text: 'It is.\n' },
      calls: [],
    },
    {
      why: 'thinking that the reply opens',
      reply: '\n<think>\nHm.\n</think>\n\nIt is.',
      said: { reasoning: 'Hm.', text: 'It is.' },
      calls: [],
    },
    {
      why: 'thinking without an end',
      reply: 'Hm </thin',
      opensThinking: true,
      said: { reasoning: 'Hm </thin', text: '' },
      calls: [],
    },
    {
      why: 'empty thinking',
      reply: '\n\n</think>\n\nIt is.',
      opensThinking: true,
      said: { reasoning: '', text: 'It is.' },
      calls: [],
    },
    { why: 'a tag of thinking in mid-text', reply: 'a <think> b', said: { reasoning: '', text: 'a <think> b' }, calls: [] },
    {
      why: 'a call in XML, after text',
      reply: `Let me look.\n\n${xml('get_weather', { city: 'Zürich "quoted"', days: '3' })}`,
      said: { reasoning: '', text: 'Let me look.' },
      calls: [['get_weather', { city: 'Zürich "quoted"', days: 3 }]],
    },
    {
      why: 'thinking, then two calls in XML',
      reply: `need both\n</think>\n\n${xml('get_weather', { city: 'A' })}\n${xml('now', {})}`,
      opensThinking: true,
      said: { reasoning: 'need both', text: '' },
      calls: [
        ['get_weather', { city: 'A' }],
        ['now', {}],
      ],
    },
    {
      why: 'values as the schema declares them, written as Python writes them',
      reply: xml('get_weather', {
        city: 'None',
        days: '-2',
        where: '{"lat": 1.5, "deep": [null, true]}',
        unit: 'c',
        live: 'True',
        note: 'None',
        tags: '["a", "b"]',
        wind: '2.5e1',
        any: 'false',
        unknown: '12',
      }),
      said: { reasoning: '', text: '' },
      calls: [
        [
          'get_weather',
          {
            city: 'None',
            days: -2,
            where: { lat: 1.5, deep: [null, true] },
            unit: 'c',
            live: true,
            note: null,
            tags: ['a', 'b'],
            wind: 25,
            any: false,
            unknown: 12,
          },
        ],
      ],
    },
    {
      why: 'values that do not fit what is declared stay what they are',
      reply: xml('get_weather', { days: 'soon', live: '"yes"', unit: '"c"' }),
      said: { reasoning: '', text: '' },
      calls: [['get_weather', { days: 'soon', live: 'yes', unit: '"c"' }]],
    },
    {
      why: 'several lines, an emoji, markup and escapes in a string',
      reply: xml('get_weather', { city: '\nline 1\n\n  <b>"2" \\n</b> </param 😀\t\n' }),
      said: { reasoning: '', text: '' },
      calls: [['get_weather', { city: '\nline 1\n\n  <b>"2" \\n</b> </param 😀\t\n' }]],
    },
    {
      why: 'empty strings, with and without line breaks',
      reply: '<tool_call><function=get_weather><parameter=city></parameter><parameter=note>\n</parameter></function></tool_call>',
      said: { reasoning: '', text: '' },
      calls: [['get_weather', { city: '', note: '' }]],
    },
    {
      why: 'calls in JSON',
      reply: `Both:\n${json({ name: 'get_weather', arguments: { city: 'a }</tool_call>" \\', days: '7' } })}\n${json({ name: 'now' })}`,
      said: { reasoning: '', text: 'Both:' },
      calls: [
        ['get_weather', { city: 'a }</tool_call>" \\', days: 7 }],
        ['now', {}],
      ],
    },
    {
      why: 'arguments in JSON as JSON text, and under their other name',
      reply: `${json({ name: 'now', arguments: '{"zone": "UTC"}' })}${json({ name: 'now', parameters: { zone: 'CET' } })}`,
      said: { reasoning: '', text: '' },
      calls: [
        ['now', { zone: 'UTC' }],
        ['now', { zone: 'CET' }],
      ],
    },
    {
      why: 'a function that nobody declared',
      reply: xml('rm', { path: '/', force: 'True' }),
      said: { reasoning: '', text: '' },
      calls: [['rm', { path: '/', force: true }]],
    },
    {
      why: 'text after a call',
      reply: `${xml('now', {})}\n\nDone.\n`,
      said: { reasoning: '', text: 'Done.' },
      calls: [['now', {}]],
    },
    {
      why: 'two functions in one block, the closing tag missing',
      reply: '<tool_call>\n<function=now>\n</function>\n<function=now>\n</tool_call>',
      said: { reasoning: '', text: '' },
      calls: [
        ['now', {}],
        ['now', {}],
      ],
    },
    {
      why: 'a marker that begins no call',
      reply: 'a \n<tool_call> b',
      said: { reasoning: '', text: 'a \n<tool_call> b' },
      calls: [],
    },
    { why: 'a marker at the end', reply: 'a\n<tool_call>\n', said: { reasoning: '', text: 'a\n<tool_call>\n' }, calls: [] },
    {
      why: 'JSON that is none',
      reply: "<tool_call>\n{'name': 'now'}\n</tool_call>",
      said: { reasoning: '', text: "<tool_call>\n{'name': 'now'}\n</tool_call>" },
      calls: [],
    },
    {
      why: 'JSON without its last brace',
      reply: '<tool_call>{"name": "now", "arguments": {}</tool_call>.',
      said: { reasoning: '', text: '<tool_call>{"name": "now", "arguments": {}</tool_call>.' },
      calls: [],
    },
  ];

describe.each(replies)('$why', ({ reply, said, calls, opensThinking = false }) => {
  const expected = { ...said, calls: calls.map(([name, values], i) => ({ id: `call_${i}`, name, arguments: values })) };
  const check = (pieces: string[]) => expect(parsed(read(pieces, { opensThinking }))).toEqual(expected);

  test('as one piece', () => check([reply]));
  test('one character at a time', () => check(reply.split('')));
  test('split at every position', () => {
    for (let at = 0; at <= reply.length; at++) check([reply.slice(0, at), reply.slice(at)]);
  });
  test('split at every two positions', () => {
    for (let a = 0; a <= reply.length; a += 3)
      for (let b = a; b <= reply.length; b += 2) check([reply.slice(0, a), reply.slice(a, b), reply.slice(b)]);
  });
});

test('pieces of any size give the same, whatever a reply is made of', () => {
  const words = [
    ...[
      '<think>',
      '</think>',
      '<tool_call>',
      '</tool_call>',
      '<function=',
      'now>',
      '<function=now>',
      '</function>',
      '<parameter=',
    ],
    ...[
      'city>',
      'days>',
      '<parameter=city>',
      '</parameter>',
      '\n',
      ' ',
      '{',
      '}',
      '"',
      '\\',
      '<',
      '😀',
      'a',
      '{"name":"now"}',
      '1',
    ],
  ];
  const reply = fc.array(fc.constantFrom(...words), { maxLength: 24 }).map((list) => list.join(''));
  fc.assert(
    fc.property(reply, fc.boolean(), fc.array(fc.nat(9), { minLength: 1, maxLength: 8 }), (text, opensThinking, sizes) => {
      const pieces: string[] = [];
      for (let at = 0, i = 0; at < text.length; i++) {
        const size = 1 + sizes[i % sizes.length]!;
        pieces.push(text.slice(at, at + size));
        at += size;
      }
      expect(parsed(read(pieces, { opensThinking }))).toEqual(parsed(read([text], { opensThinking })));
    }),
    { numRuns: 3000, seed: 7 },
  );
});

test('a call that is cut off keeps what it had, unfinished', () => {
  expect(read(['<tool_call>\n<function=get_weather>\n<parameter=city>\nPar']).calls).toEqual([
    { id: 'call_0', name: 'get_weather', arguments: '{"city":"Par' },
  ]);
});

test('whether the last call is whole is known at every moment', () => {
  const parser = new ReplyParser({ opensThinking: false, tools });
  const states = [
    '\n<tool_call>\n<function=get_weather>\n',
    '<parameter=city>\nPar',
    'is\n</parameter>\n',
    '</function>',
    '\n</tool_call>',
  ];
  expect(states.map((text) => [parser.push(text), parser.endsInCall][1])).toEqual([true, true, true, false, false]);
});

test('a string argument is passed on while it comes', () => {
  const parser = new ReplyParser({ opensThinking: false, tools }, () => 'id');
  parser.push('<tool_call>\n<function=get_weather>\n<parameter=city>\n');
  expect(parser.push('Paris, the')).toEqual([{ type: 'tool_call', index: 0, arguments: 'Paris, the' }]);
  expect(parser.push(' capital')).toEqual([{ type: 'tool_call', index: 0, arguments: ' capital' }]);
});

test('without tools a call is text', () => {
  const reply = xml('now', {});
  expect(read([reply], { withTools: false })).toEqual({ reasoning: '', text: reply, calls: [] });
});

test('ids of calls look like the ones that OpenAI gives', () => {
  const parser = new ReplyParser({ opensThinking: false, tools });
  const [piece] = parser.push(xml('now', {}));
  expect(piece).toMatchObject({ id: expect.stringMatching(/^call_[0-9a-f]{24}$/) });
});

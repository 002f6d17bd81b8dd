/** Arguments of tool calls, read by their declared schema at every depth; through the parser where the form of the call matters. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { coerceArguments } from '../../src/text/argument_coercion';
import { ReplyParser } from '../../src/text/reply_parser';

const object = (properties: object, more: object = {}) => ({ type: 'object', properties, ...more });
const integer = { type: 'integer' };
const text = { type: 'string' };

test.each([
  [
    'an object in an object',
    object({ a: object({ b: object({ n: integer }) }) }),
    { a: { b: { n: '3' } } },
    { a: { b: { n: 3 } } },
  ],
  [
    'a list and its items',
    object({ list: { type: 'array', items: object({ ok: { type: 'boolean' } }) } }),
    { list: [{ ok: 'True' }, { ok: 'false' }, { ok: true }] },
    { list: [{ ok: true }, { ok: false }, { ok: true }] },
  ],
  ['a quoted object, and what it holds', object({ a: object({ n: integer }) }), { a: '{"n": "4"}' }, { a: { n: 4 } }],
  ['a quoted list', object({ a: { type: 'array', items: { type: 'number' } } }), { a: '["1.5", 2]' }, { a: [1.5, 2] }],
  [
    'items by place, then the rest',
    object({ a: { type: 'array', prefixItems: [text, integer], items: { type: 'null' } } }),
    { a: ['1', '1', 'None'] },
    { a: ['1', 1, null] },
  ],
  [
    'items by place as before 2020-12',
    object({ a: { type: 'array', items: [text, integer], additionalItems: integer } }),
    { a: ['1', '1', '2'] },
    { a: ['1', 1, 2] },
  ],
  [
    'names that are not declared',
    object({ a: text }, { additionalProperties: integer }),
    { a: '1', other: '1' },
    { a: '1', other: 1 },
  ],
  [
    'names by pattern: nothing is known of them',
    { patternProperties: { '^s': text }, additionalProperties: integer },
    { s: '1' },
    { s: '1' },
  ],
  [
    'a reference, to itself too',
    {
      ...object({ tree: { $ref: '#/$defs/a~1b%20c' } }),
      $defs: { 'a/b c': object({ n: integer, next: { $ref: '#/$defs/a~1b%20c' } }) },
    },
    { tree: { n: '1', next: { n: '2', next: '{"n": "3"}' } } },
    { tree: { n: 1, next: { n: 2, next: { n: 3 } } } },
  ],
  [
    'allOf',
    object({ a: { allOf: [object({ n: integer }), object({ m: integer })] } }),
    { a: { n: '1', m: '2' } },
    { a: { n: 1, m: 2 } },
  ],
  [
    'a branch for the type',
    object({ a: { anyOf: [object({ n: integer }), { type: 'null' }] } }),
    { a: { n: '1' } },
    { a: { n: 1 } },
  ],
  [
    'a branch by its constant, a quoted one too',
    object({
      a: {
        anyOf: [object({ kind: { const: 1 }, size: integer }), object({ kind: { enum: [2, 3] }, size: text })],
      },
      b: { oneOf: [object({ kind: { const: 'x' }, size: integer }), object({ kind: { const: 'y' }, size: text })] },
    }),
    { a: { kind: '1', size: '5' }, b: { kind: 'y', size: '5' } },
    { a: { kind: 1, size: 5 }, b: { kind: 'y', size: '5' } },
  ],
  [
    'a branch by its required names, and by those it forbids',
    object({
      a: { anyOf: [object({ n: integer }, { required: ['n', 'm'] }), object({ n: text })] },
      b: { anyOf: [object({ n: integer }, { additionalProperties: false }), object({ n: text })] },
    }),
    { a: { n: '1' }, b: { n: '1', m: 1 } },
    { a: { n: '1' }, b: { n: '1', m: 1 } },
  ],
  [
    'branches that read it alike',
    object({ a: { anyOf: [object({ n: integer }), object({ n: { type: 'number' } })] } }),
    { a: { n: '1' } },
    { a: { n: 1 } },
  ],
  [
    'branches that do not',
    object({ a: { anyOf: [object({ n: integer }), object({ n: text })] } }),
    { a: { n: '1' } },
    { a: { n: '1' } },
  ],
  ['text where text may stand', object({ a: { anyOf: [text, object({ n: integer })] } }), { a: '{"n":"1"}' }, { a: '{"n":"1"}' }],
  [
    'what fits no declared type',
    object({ a: object({ n: integer, m: text }) }),
    { a: { n: 'x', m: 5 } },
    { a: { n: 'x', m: 5 } },
  ],
  [
    'names of every object',
    object({ a: object({}) }),
    JSON.parse('{"a": {"__proto__": "1", "constructor": "1"}}'),
    JSON.parse('{"a": {"__proto__": "1", "constructor": "1"}}'),
  ],
  ['a reference to nothing', object({ a: { $ref: '#/__proto__' }, b: { $ref: '#/%' } }), { a: '1', b: '1' }, { a: '1', b: '1' }],
])('%s', (_, schema, given, expected) => {
  const before = JSON.stringify(given);
  expect(JSON.stringify(coerceArguments(given, schema))).toBe(JSON.stringify(expected));
  expect(JSON.stringify(given)).toBe(before);
});

test('values of the declared types stay', () => {
  const schema = object({ tree: { $ref: '#' }, text, list: { type: 'array', items: { anyOf: [{ $ref: '#' }, text] } } });
  const node = fc.letrec((tie) => ({
    node: fc.record(
      { tree: tie('node'), text: fc.string(), list: fc.array(fc.oneof({ maxDepth: 4 }, fc.string(), tie('node'))) },
      { requiredKeys: [] },
    ),
  })).node;
  fc.assert(
    fc.property(node, (value) => {
      expect(coerceArguments(value as Record<string, unknown>, schema)).toEqual(value);
    }),
    { numRuns: 100 },
  );
});

describe('hostile schemas and replies end soon', () => {
  const doubling = {
    allOf: [{ $ref: '#' }, { $ref: '#' }],
    anyOf: [{ $ref: '#' }, { $ref: '#' }],
    additionalProperties: { $ref: '#' },
  };
  const branches = { anyOf: Array.from({ length: 12 }, () => ({ $ref: '#' })) };
  test.each([
    ['that refer to themselves', { $ref: '#' }],
    ['that double', doubling],
    ['of branches of themselves', branches],
    ['with names of such branches', object({ a: branches }, { anyOf: [{ $ref: '#' }, { $ref: '#' }] })],
  ])('%s', (_, schema) => {
    const given = { a: { a: { a: { a: '1' } } } };
    const began = process.cpuUsage();
    expect(coerceArguments(given, schema)).toEqual(given);
    expect(process.cpuUsage(began).user / 1000).toBeLessThan(2000); // 100 to 200 ms; not wall time, for machines that are busy
  });

  test('a long chain of references', () => {
    const links = Array.from({ length: 20_000 }, (_, i) => [`d${i}`, { $ref: `#/$defs/d${i + 1}` }]);
    const schema = object({ a: { $ref: '#/$defs/d0' } }, { $defs: { ...Object.fromEntries(links), d20000: integer } });
    expect(coerceArguments({ a: '1' }, schema)).toEqual({ a: '1' });
  });

  const deep = (levels: number) => `${'{"a":'.repeat(levels)}"1"${'}'.repeat(levels)}`;
  const nested = { name: 'f', parameters: object({ a: { $ref: '#' }, quoted: object({}) }) };
  const said = (reply: string) => {
    const parser = new ReplyParser({ opensThinking: false, tools: [{ function: nested }] }, () => 'id');
    return [...parser.push(reply), ...parser.finish()];
  };

  test('calls that nest too deeply are none', () => {
    const reply = `<tool_call>{"name":"f","arguments":${deep(20_000)}}</tool_call>`;
    expect(
      said(reply)
        .map((piece) => piece.type === 'text' && piece.text)
        .join(''),
    ).toBe(reply);
    const quoted = `<tool_call>${JSON.stringify({ name: 'f', arguments: deep(20_000) })}</tool_call>`;
    expect(
      said(quoted)
        .map((piece) => piece.type === 'text' && piece.text)
        .join(''),
    ).toBe(quoted);
  });

  test('a value that nests too deeply stays text', () => {
    const reply = `<tool_call>\n<function=f>\n<parameter=quoted>\n${deep(20_000)}\n</parameter>\n</function>\n</tool_call>`;
    const call = said(reply)
      .map((piece) => (piece.type === 'tool_call' ? piece.arguments : ''))
      .join('');
    expect(JSON.parse(call)).toEqual({ quoted: deep(20_000) });
  });

  test('200 levels are read to the last', () => {
    const call = said(`<tool_call>{"name":"f","arguments":${deep(200)}}</tool_call>`);
    expect(call).toEqual([{ type: 'tool_call', index: 0, id: 'id', name: 'f', arguments: deep(200).replace('"1"', '1') }]);
  });
});

test('both forms of a call read what an argument holds', () => {
  const parameters = object({ filter: object({ limit: integer }) });
  const read = (reply: string) => {
    const parser = new ReplyParser({ opensThinking: false, tools: [{ function: { name: 'f', parameters } }] }, () => 'id');
    return [...parser.push(reply), ...parser.finish()]
      .map((piece) => (piece.type === 'tool_call' ? piece.arguments : ''))
      .join('');
  };
  const expected = '{"filter":{"limit":5}}';
  expect(read('<tool_call>{"name":"f","arguments":{"filter":{"limit":"5"}}}</tool_call>')).toBe(expected);
  expect(read('<tool_call><function=f><parameter=filter>{"limit":"5"}</parameter></function></tool_call>')).toBe(expected);
});

describe('numbers that JavaScript would write differently stay as they were written', () => {
  const parameters = object({ id: integer, price: { type: 'number' }, list: { type: 'array' }, note: { type: 'string' } });
  const read = (reply: string) => {
    const parser = new ReplyParser({ opensThinking: false, tools: [{ function: { name: 'f', parameters } }] }, () => 'id');
    return [...parser.push(reply), ...parser.finish()]
      .map((piece) => (piece.type === 'tool_call' ? piece.arguments : ''))
      .join('');
  };
  const xml = (key: string, value: string) =>
    `<tool_call>\n<function=f>\n<parameter=${key}>\n${value}\n</parameter>\n</function>\n</tool_call>`;
  const json = (args: string, before = '"name": "f", ', after = '') =>
    `<tool_call>\n{${before}"arguments": ${args}${after}}\n</tool_call>`;

  test.each([
    { why: 'a whole number beyond 2^53', reply: xml('id', '1234567890123456789'), said: '{"id":1234567890123456789}' },
    { why: 'a whole one with a point', reply: xml('price', '1.0'), said: '{"price":1.0}' },
    { why: 'within a list', reply: xml('list', '[1.50, {"a": 1e3}]'), said: '{"list":[1.50, {"a": 1e3}]}' },
    { why: 'digits in a text', reply: xml('list', '["1.0",  2]'), said: '{"list":["1.0",2]}' },
    {
      why: 'a call in JSON',
      reply: json('{"id": 1234567890123456789, "note": "}"}'),
      said: '{"id": 1234567890123456789, "note": "}"}',
    },
    { why: 'one whose usual numbers are written anew', reply: json('{"id": 7}'), said: '{"id":7}' },
    {
      why: 'its name last',
      reply: json('{"price": 1.0}', '', ', "name": "f"'),
      said: '{"price": 1.0}',
    },
    { why: 'coerced, so written anew', reply: json('{"id": "7", "price": 1.0}'), said: '{"id":7,"price":1}' },
  ])('$why', ({ reply, said }) => expect(read(reply)).toBe(said));

  test('among 100,000 quotes that never close, too, in no time', () => {
    const text = `1.0 ${'\\"'.repeat(100_000)}`;
    const started = performance.now();
    expect(JSON.parse(read(xml('list', text)))).toEqual({ list: text });
    expect(performance.now() - started).toBeLessThan(1000);
  });
});

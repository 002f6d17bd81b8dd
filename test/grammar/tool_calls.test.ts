/** Calls by chance in both forms: the parser of tool calls must find them, with arguments that their schemas allow. */
import Ajv2020 from 'ajv/dist/2020';
import { beforeAll, describe, expect, test } from 'vitest';
import { schemaGrammar } from '../../src/grammar/schema';
import { toolCallGrammar } from '../../src/grammar/tool_calls';
import type { ToolDefinition } from '../../src/protocol/chat';
import { grammarOf } from '../../src/text/constraint_service';
import { type ReplyPiece, ToolCallParser } from '../../src/text/tool_call_parser';
import { randomFrom } from './random';
import { RandomModel, uniformly } from './reply';
import { story } from './vocabularies';

const isLong = process.env.SLUICE_LONG === '1';

const tool = (name: string, parameters?: ToolDefinition['function']['parameters']): ToolDefinition => ({
  type: 'function',
  function: { name, ...(parameters ? { parameters } : {}) },
});

const tools = [
  tool('get_weather', {
    type: 'object',
    properties: {
      city: { type: 'string' },
      unit: { type: 'string', enum: ['celsius', 'fahrenheit'] },
      days: { type: 'integer', minimum: 1, maximum: 14 },
    },
    required: ['city'],
    additionalProperties: false,
  }),
  tool('now'),
  tool('send', {
    type: 'object',
    properties: {
      to: { type: 'array', items: { type: 'string', format: 'email' }, minItems: 1, maxItems: 2 },
      subject: { type: 'string', minLength: 3, maxLength: 12 },
      code: { type: 'string', pattern: '^[A-Z]{2}\\d$' },
      priority: { anyOf: [{ type: 'integer', minimum: 1, maximum: 3 }, { type: 'null' }] },
      note: { type: ['string', 'null'] },
      mixed: { enum: ['auto', 5, null, '5'] },
      anything: {},
      point: { $ref: '#/$defs/point' },
    },
    required: ['to', 'subject', 'code', 'priority', 'note', 'mixed', 'anything', 'point'],
    $defs: { point: { type: 'object', properties: { x: { type: 'number' }, y: { type: 'number' } }, required: ['x', 'y'] } },
  }),
];

function callsIn(text: string): { name: string; arguments: string }[] {
  const parser = new ToolCallParser(tools, () => 'id');
  const pieces: ReplyPiece[] = [...parser.push(text), ...parser.finish()];
  const calls: { name: string; arguments: string }[] = [];
  for (const piece of pieces) {
    if (piece.type !== 'tool_call') throw new Error(`not a call: ${JSON.stringify(piece)} in ${text}`);
    const call = calls[piece.index] ?? { name: piece.name!, arguments: '' };
    call.arguments += piece.arguments;
    calls[piece.index] = call;
  }
  return calls;
}

const ajv = new Ajv2020({ strict: false, logger: false, formats: { email: true } });

describe.each(['json', 'xml'] as const)('in the %s form', (form) => {
  let model: RandomModel;
  beforeAll(async () => {
    model = await RandomModel.create(story());
  });

  test.each([undefined, 'get_weather', 'now', 'send'])('calls of %s', { timeout: 600_000 }, async (name) => {
    const grammar = grammarOf({ kind: 'tool_calls', tools, ...(name ? { name } : {}) }, form);
    for (let seed = 1; seed <= (isLong ? 60 : 4); seed++) {
      const { text } = await model.reply(grammar, 250, randomFrom(seed), uniformly);
      const calls = callsIn(text);
      expect(calls.length, text).toBeGreaterThan(0);
      if (name) expect(calls.map((call) => call.name)).toEqual([name]);
      for (const call of calls) {
        const { parameters = { type: 'object' } } = tools.find((found) => found.function.name === call.name)!.function;
        expect(ajv.validate(parameters, JSON.parse(call.arguments)), `${text}\n${call.arguments}\n${ajv.errorsText()}`).toBe(
          true,
        );
      }
    }
  });
});

describe('refusals name the tool', () => {
  const refusal = (broken: ToolDefinition, form: 'json' | 'xml') => () =>
    toolCallGrammar({ kind: 'tool_calls', tools: [tools[1]!, broken] }, form, () => 'json');

  test.each([
    ['a keyword', tool('f', { type: 'object', properties: { a: { not: {} } } }), '#/properties/a/not'],
    ['no object', tool('f', { type: 'string' }), 'no finite object'],
  ])('%s', (_, broken, message) => {
    for (const form of ['json', 'xml'] as const) {
      expect(refusal(broken, form)).toThrow(expect.objectContaining({ field: 'tools[1].function.parameters' }));
      expect(refusal(broken, form)).toThrow(message);
    }
  });

  test('names that cannot stand in a tag', () => {
    expect(refusal(tool('a>b'), 'xml')).toThrow(/cannot stand in a tag/);
    expect(refusal(tool('f', { type: 'object', properties: { 'a>b': {} } }), 'xml')).toThrow(/#\/properties\/a>b/);
    expect(refusal(tool('f', { type: 'object', anyOf: [{ required: ['a'] }] }), 'xml')).toThrow(/#\/anyOf/);
  });

  test('no tool of that name', () => {
    expect(() => grammarOf({ kind: 'tool_calls', tools, name: 'none' }, 'json')).toThrow(/no tool to call/);
  });

  test('a schema of a response format names its field', () => {
    expect(() => grammarOf({ kind: 'json_schema', schema: { not: {} } }, 'json')).toThrow(
      expect.objectContaining({ field: 'response_format.json_schema.schema', code: 'unsupported-schema' }),
    );
    expect(() => schemaGrammar({ not: {} })).toThrow(expect.objectContaining({ field: undefined }));
  });
});

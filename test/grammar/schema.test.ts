import { describe, expect, test } from 'vitest';
import { EngineError } from '../../src/errors';
import { Automaton, Position } from '../../src/grammar/automaton';
import { checkSchema, schemaGrammar } from '../../src/grammar/schema';

const utf8 = new TextEncoder();

function admits(schema: unknown, text: string): boolean {
  return Position.start(new Automaton(schemaGrammar(schema))).read(utf8.encode(text))?.isComplete ?? false;
}

function refusal(schema: unknown): EngineError {
  try {
    checkSchema(schema);
  } catch (error) {
    if (error instanceof EngineError) return error;
    throw error;
  }
  throw new Error(`accepted: ${JSON.stringify(schema)}`);
}

const within = (schema: unknown) => ({ type: 'object', properties: { 'a/b': schema } });

describe('what cannot be enforced is refused where it stands', () => {
  test.each([
    ['multipleOf', { type: 'integer', multipleOf: 5 }, '/multipleOf'],
    ['multipleOf of any number', { multipleOf: 0.1 }, '/multipleOf'],
    ['multipleOf beside enum', { enum: [3, 4], multipleOf: 2 }, '/multipleOf'],
    ['multipleOf beside const', { const: 3, multipleOf: 2 }, '/multipleOf'],
    [
      'not within what an enum names',
      { enum: [{ a: 1 }, { a: 2 }], properties: { a: { not: { const: 1 } } } },
      '/properties/a/not',
    ],
    ['a pattern beside enum that is none', { enum: ['a'], pattern: '(' }, '/pattern'],
    ['an unknown format beside enum', { enum: ['a'], format: 'telephone' }, '/format'],
    ['uniqueItems', { type: 'array', uniqueItems: true }, '/uniqueItems'],
    ['not', { not: { type: 'null' } }, '/not'],
    ['if', JSON.parse('{"if": {}, "then": {}}'), '/if'],
    ['then', JSON.parse('{"then": {}}'), '/then'],
    ['else', { else: {} }, '/else'],
    ['oneOf that may overlap', { oneOf: [{ type: 'integer' }, { type: 'number' }] }, '/oneOf'],
    ['oneOf of strings', { oneOf: [{ type: 'string', maxLength: 3 }, { type: 'string' }] }, '/oneOf'],
    ['dependentRequired', { type: 'object', dependentRequired: { a: ['b'] } }, '/dependentRequired'],
    ['dependentSchemas', { type: 'object', dependentSchemas: {} }, '/dependentSchemas'],
    ['dependencies', { type: 'object', dependencies: {} }, '/dependencies'],
    ['contains', { type: 'array', contains: {} }, '/contains'],
    ['additionalItems', { type: 'array', additionalItems: false }, '/additionalItems'],
    ['unevaluatedProperties', { unevaluatedProperties: false }, '/unevaluatedProperties'],
    ['unevaluatedItems', { unevaluatedItems: false }, '/unevaluatedItems'],
    ['nullable', { type: 'string', nullable: true }, '/nullable'],
    ['$dynamicRef', { $dynamicRef: '#x' }, '/$dynamicRef'],
    ['$anchor', { $anchor: 'x' }, '/$anchor'],
    ['an unknown keyword', { type: 'string', maxlength: 3 }, '/maxlength'],
    ['a reference elsewhere', { $ref: 'https://example.com/schema' }, '/$ref'],
    ['a reference to an anchor', { $ref: '#name' }, '/$ref'],
    ['an unknown format', { type: 'string', format: 'iri' }, '/format'],
    ['an unknown format of a number', { type: 'number', format: 'money' }, '/format'],
    ['an unknown format beside enum of numbers', { enum: [1], format: 'money' }, '/format'],
    ['lookahead', { type: 'string', pattern: '^(?=a)' }, '/pattern'],
    ['negative lookahead', { type: 'string', pattern: '^(?!a)' }, '/pattern'],
    ['lookbehind', { type: 'string', pattern: '(?<=a)b' }, '/pattern'],
    ['a back reference', { type: 'string', pattern: '(a)\\1' }, '/pattern'],
    ['a named back reference', { type: 'string', pattern: '(?<x>a)\\k<x>' }, '/pattern'],
    ['a word boundary', { type: 'string', pattern: '\\bword' }, '/pattern'],
    ['an anchor within', { type: 'string', pattern: 'a^b' }, '/pattern'],
    ['a repeated anchor', { type: 'string', pattern: '(^a)*' }, '/pattern'],
    ['no regular expression', { type: 'string', pattern: '(' }, '/pattern'],
    ['too many repetitions', { type: 'string', pattern: '^a{5000}$' }, '/pattern'],
    ['too many states', { type: 'string', pattern: '^(a|b)*a(a|b){20}$', minLength: 3 }, '/pattern'],
    ['a long minLength', { type: 'string', minLength: 100_000 }, '/minLength'],
    ['many minItems', { type: 'array', minItems: 100_000 }, '/minItems'],
    ['several patterns of names', { type: 'object', patternProperties: { '^a': {}, '^b': {} } }, '/patternProperties'],
    ['members that cannot be counted', { type: 'object', additionalProperties: {}, minProperties: 3 }, '/minProperties'],
    ['numbers past 15 digits', { type: 'integer', minimum: 1e18 }, ''],
  ])('%s', (_, schema, pointer) => {
    for (const [place, prefix] of [[schema, ''] as const, [within(schema), '/properties/a~1b'] as const]) {
      const error = refusal(place);
      expect(error.code).toBe('unsupported-schema');
      expect(error.message).toContain(`"#${prefix}${pointer}"`);
    }
  });

  test('an $id within', () => {
    const error = refusal(within({ $id: 'https://example.com/a', type: 'null' }));
    expect(error.code).toBe('unsupported-schema');
    expect(error.message).toContain('"#/properties/a~1b/$id"');
  });

  test.each([
    ['a type that is none', { type: 'text' }, '/type'],
    ['no types', { type: [] }, '/type'],
    ['an empty enum', { enum: [] }, '/enum'],
    ['a list for items', { items: [{}] }, '/items'],
    ['draft 4', { minimum: 1, exclusiveMinimum: true }, '/exclusiveMinimum'],
    ['a negative length', { minLength: -1 }, '/minLength'],
    ['required that is no list', { required: true }, '/required'],
    ['a reference to nothing', { $ref: '#/$defs/nothing' }, '/$ref'],
    ['no value between bounds', { type: 'number', minimum: 2, maximum: 1 }, ''],
    ['no value at all', false, ''],
    ['values that do not fit', { type: 'string', enum: [1, 2] }, ''],
    ['a required member that cannot be', { required: ['a'], properties: { a: false } }, '/properties/a'],
    ['endless', { type: 'object', properties: { a: { $ref: '#' } }, required: ['a'] }, ''],
  ])('%s is not valid', (_, schema, pointer) => {
    const error = refusal(schema);
    expect(error.code).toBe('invalid-request');
    expect(error.message).toContain(`"#${pointer}"`);
  });

  test('a schema that is none, too large or too deep', () => {
    expect(refusal(3).code).toBe('invalid-request');
    expect(refusal({ enum: ['x'.repeat(300_000)] }).message).toContain('longer than');
    let deep: unknown = {};
    for (let i = 0; i < 300; i++) deep = { type: 'array', items: deep };
    expect(refusal(deep).message).toContain('nested too deep');
  });

  test('what stands where nothing refers to it does not matter, nor do notes', () => {
    checkSchema({ type: 'null', $defs: { unused: { not: {} } }, $comment: 'c', 'x-note': 1, default: 3, examples: [1] });
    checkSchema({ type: 'string', uniqueItems: true });
  });
});

/** `blank` in each place where some may stand, in turn. */
const inAllPlaces = (blank: string): string[] =>
  ['{', '[', ',']
    .map((mark) => '{"a":[null,null]}'.replace(mark, mark + blank))
    .concat(['}', ']'].map((mark) => '{"a":[null,null]}'.replace(mark, blank + mark)));

const object = (properties: object, more: object = {}) => ({ type: 'object', properties, ...more });

describe('what is enforced', () => {
  test.each<[string, unknown, string[], string[]]>([
    ['types', { type: ['integer', 'null'] }, ['1', '-20', 'null', '0'], ['1.5', '"a"', '01', '1e2', 'true']],
    ['numbers', { type: 'number' }, ['0', '-1.50', '1e-7', '12E+3'], ['.5', '1.', '+1', 'NaN', '1e999']],
    ['bounds', { type: 'integer', minimum: -3, exclusiveMaximum: 12 }, ['-3', '0', '9', '11'], ['-4', '12', '-0', '100']],
    [
      'fractions',
      { type: 'number', exclusiveMinimum: 0, maximum: 1.5 },
      ['0.001', '1', '1.5', '1.50', '0.10'],
      ['0', '0.0', '1.51', '-1', '2'],
    ],
    ['multipleOf 1', { type: 'number', multipleOf: 1 }, ['0', '-20', '7'], ['1.5', '1.0', '2e1', '"a"']],
    ['multipleOf 1, within bounds', { type: 'number', multipleOf: 1, minimum: 1.5, maximum: 3 }, ['2', '3'], ['1', '2.5', '4']],
    ['enum', { enum: ['a', 1, null, { b: [] }] }, ['"a"', '1', 'null', '{"b":[]}'], ['"b"', '2', '']],
    ['enum with type', { type: 'string', enum: ['a', 1], minLength: 1 }, ['"a"'], ['1']],
    ['const', { const: 'é"\n' }, ['"é\\"\\n"'], ['"e"']],
    [
      'lengths',
      { type: 'string', minLength: 2, maxLength: 3 },
      ['"ab"', '"é😀中"', '"\\n\\u00e9"'],
      ['"a"', '"abcd"', '"\\ud83d\\ude00"'],
    ],
    ['a pattern, anywhere', { type: 'string', pattern: 'b+' }, ['"abbc"', '"b"'], ['"ac"', '""']],
    ['a pattern and a length', { type: 'string', pattern: '^a*b$', maxLength: 3 }, ['"b"', '"aab"'], ['"aaab"', '"aa"']],
    ['a pattern of what is escaped', { type: 'string', pattern: '^["\\\\\\n]$' }, ['"\\""', '"\\\\"', '"\\n"'], ['"n"', '"""']],
    ['two patterns', { allOf: [{ pattern: '^a' }, { pattern: 'z$' }], type: 'string' }, ['"az"', '"abcz"'], ['"a"', '"za"']],
    ['a date', { type: 'string', format: 'date' }, ['"2024-02-28"', '"1999-12-31"'], ['"2024-02-30"', '"2024-13-01"']],
    ['a host', { type: 'string', format: 'hostname' }, ['"a-b.example"'], ['"xn--a.example"', '"a-.example"', '"-a.example"']],
    [
      'a number of 32 bits',
      { type: 'integer', format: 'int32' },
      ['0', '2147483647', '-2147483648'],
      ['2147483648', '-2147483649', '1.5'],
    ],
    ['a format that makes a number whole', { type: 'number', format: 'int64' }, ['5', '999999999999999'], ['1.5', '1e3']],
    ['an unsigned number', { format: 'uint8', minimum: 250 }, ['250', '255'], ['249', '256', '"a"']],
    ['a format of numbers beside enum', { enum: [-1, 7, 'a'], format: 'uint32' }, ['7', '"a"'], ['-1']],
    ['a number of any size', { type: 'number', format: 'double' }, ['0.5', '1e40'], ['"a"']],
    ['a format of another type', { type: ['integer', 'string'], format: 'date' }, ['5', '"2024-02-28"'], ['"a"']],
    ['a format of numbers for a string', { type: 'string', format: 'int64' }, ['"a"'], ['5']],
    [
      'members in order',
      object({ a: { type: 'null' }, b: { type: 'null' } }),
      ['{}', '{"a": null}', '{"b":null}', '{"a":null, "b":null}'],
      ['{"b":null,"a":null}', '{"c":1}', '{"a":null,}'],
    ],
    [
      'required',
      object({ a: { type: 'null' }, b: { type: 'null' } }, { required: ['b'] }),
      ['{"b":null}', '{"a":null,"b":null}'],
      ['{}', '{"a":null}'],
    ],
    ['required, undeclared', { type: 'object', required: ['x'] }, ['{"x":[1]}'], ['{}']],
    [
      'additionalProperties',
      object({ a: { type: 'null' } }, { additionalProperties: { type: 'boolean' } }),
      ['{"b":true}', '{"a":null,"ab":false}', '{"":true}'],
      ['{"a":true}', '{"b":null}', '{"\\u0061":true}'],
    ],
    [
      'a map',
      { additionalProperties: { type: 'integer' }, type: 'object', minProperties: 1 },
      ['{"k":1}', '{"k":1,"l":2}'],
      ['{}', '{"k":"v"}'],
    ],
    [
      'counts of members',
      object({ a: {}, b: {}, c: {} }, { minProperties: 2, maxProperties: 2 }),
      ['{"a":1,"c":1}', '{"b":1,"c":1}'],
      ['{"a":1}', '{"a":1,"b":1,"c":1}'],
    ],
    [
      'names by pattern',
      { type: 'object', patternProperties: { '^k\\d$': { type: 'null' } }, additionalProperties: false },
      ['{}', '{"k1":null,"k2":null}'],
      ['{"k":null}', '{"k1":1}'],
    ],
    [
      'names of a map',
      { type: 'object', propertyNames: { pattern: '^k', maxLength: 2 }, additionalProperties: { type: 'null' } },
      ['{}', '{"k":null}', '{"k1":null,"kk":null}'],
      ['{"a":null}', '{"k12":null}', '{"k":1}', '{"k":null,"a":null}'],
    ],
    [
      'names of a map of anything',
      { type: 'object', propertyNames: { enum: ['x', 'y'] } },
      ['{"x":[1]}', '{"y":"a","x":null}'],
      ['{"z":1}', '{"xy":1}'],
    ],
    [
      'names, where some are declared',
      object({ ab: { type: 'null' }, abc: { type: 'null' } }, { propertyNames: { maxLength: 2 } }),
      ['{}', '{"ab":null}'],
      ['{"abc":null}', '{"ab":null,"abc":null}', '{"a":null}'],
    ],
    [
      'names and a pattern of names',
      { type: 'object', propertyNames: { maxLength: 2 }, patternProperties: { '^k': { type: 'null' } } },
      ['{"k":null}', '{"ka":null}'],
      ['{"kab":null}', '{"k":1}', '{"a":null}'],
    ],
    [
      'items',
      { type: 'array', items: { type: 'boolean' }, minItems: 1, maxItems: 2 },
      ['[true]', '[true, false]'],
      ['[]', '[true,true,true]', '[1]'],
    ],
    [
      'prefixItems',
      { type: 'array', prefixItems: [{ type: 'null' }, { type: 'boolean' }], items: false },
      ['[]', '[null]', '[null,true]'],
      ['[true]', '[null,true,1]'],
    ],
    [
      'uniqueItems of one',
      { type: 'array', items: { type: 'null' }, uniqueItems: true, maxItems: 1 },
      ['[]', '[null]'],
      ['[null,null]'],
    ],
    [
      'anyOf with siblings',
      { type: 'string', anyOf: [{ maxLength: 1 }, { pattern: '^long' }], minLength: 1 },
      ['"a"', '"longer"'],
      ['""', '"ab"'],
    ],
    ['oneOf by type', { oneOf: [{ type: 'string' }, { type: 'null' }] }, ['"x"', 'null'], ['1']],
    [
      'a reference with siblings',
      { $ref: '#/$defs/n', maximum: 3, $defs: { n: { type: 'integer', minimum: 1 } } },
      ['1', '3'],
      ['0', '4'],
    ],
    ['recursion', { type: 'array', items: { $ref: '#' } }, ['[]', '[[],[[]]]'], ['[1]', '[']],
    ['no type', { minimum: 2 }, ['2', '3.5'], ['1', '"a"']],
    ['anything', true, ['{"a":[1,"x",null,{}]}', '-1.5e3', '"\\u00e9"'], ['"\u0001"', "'a'", '[1,]', '"\\ud800"']],
    [
      'whitespace, some',
      object({ a: { type: 'null' } }),
      ['{ "a": null }', '{\n  "a": null\n}'],
      ['{\n\n"a":null}', '{"a" :null}', '{"a":  null}', ' {}', '{} '],
    ],
    [
      'an indent of up to 40 spaces',
      object({ a: { type: 'array', items: { type: 'null' } } }),
      [40, 0].flatMap((n) => inAllPlaces(`\n${' '.repeat(n)}`)),
      [`\n${' '.repeat(41)}`, '  ', ' \n', '\t', '\n\t', '\r\n', '\n \n'].flatMap(inAllPlaces),
    ],
    ['names that need escapes', object({ 'a"\\': { type: 'null' } }), ['{"a\\"\\\\":null}'], []],
    [
      'names of prototypes',
      object(JSON.parse('{"__proto__":{"type":"null"},"constructor":{"type":"null"}}')),
      ['{"__proto__":null,"constructor":null}'],
      ['{"toString":null}'],
    ],
  ])('%s', (_, schema, valid, invalid) => {
    for (const text of valid) expect(admits(schema, text), text).toBe(true);
    for (const text of invalid) expect(admits(schema, text), text).toBe(false);
  });
});

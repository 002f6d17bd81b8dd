/**
 * Replies that are tool calls, in the syntax of the model's family. Every call holds arguments that its function's schema allows, as
 * `text/tool_call_parser.ts` reads them.
 */
import { EngineError } from '../errors';
import type { Constraint } from '../protocol/chat';
import {
  anyChar,
  type CodeRange,
  chars,
  choice,
  complement,
  type Expression,
  type Grammar,
  intersection,
  literal,
  optional,
  repeat,
  rule,
  sequence,
} from './expression';
import { type Language, languageRules } from './language';
import { prune } from './prune';
import { SchemaConverter } from './schema';
import { statedTypes } from './schema_facts';
import { own, type SchemaObject } from './schema_keywords';
import type { Conjunct, Place } from './schema_places';
import { child, invalidSchema, unsupportedSchema } from './schema_problem';
import type { TextForm } from './schema_strings';

type ToolCalls = Extract<Constraint, { kind: 'tool_calls' }>;

/** 'json': `{"name": …, "arguments": …}`; 'xml': a tag for the function and one for each argument (Qwen3.5, Qwen3-Coder). */
export type CallForm = 'json' | 'xml';

/**
 * How an argument's bare text is read: 'text' as it stands, 'json' as JSON, 'mixed' as JSON where that gives a declared type, else
 * as it stands.
 */
export type ArgumentReading = 'text' | 'json' | 'mixed';
export type ReadingOf = (parameters: unknown, name: string) => ArgumentReading;

const maxCalls = 32;

/** One call of `name` where one is named, else one to 32 calls. @throws EngineError 'unsupported-schema', 'invalid-request' */
export function toolCallGrammar({ tools, name }: ToolCalls, form: CallForm, readingOf: ReadingOf): Grammar {
  const rules = new Map<string, Expression>();
  const calls = tools.flatMap(({ function: { name: own, parameters = { type: 'object', properties: {} } } }, i) => {
    if (name !== undefined && own !== name) return [];
    const field = `tools[${i}].function.parameters`;
    const call = inField(field, () => {
      const converter = new SchemaConverter(parameters, `${i}:`);
      const values = form === 'json' ? jsonArguments(converter) : new XmlArguments(converter, parameters, readingOf).text();
      for (const [key, expression] of converter.rules) rules.set(key, expression);
      const text = form === 'json' ? jsonCall(own, values) : xmlCall(own, values, `tools[${i}].function.name`);
      if (!prune({ rules: new Map(rules).set('root', text), root: 'root' }))
        throw invalidSchema(converter.firstImpossible ?? '', 'no finite object satisfies it.');
      return text;
    });
    return [call];
  });
  if (calls.length === 0)
    throw new EngineError('invalid-request', 'There is no tool to call. Pass tools, and name one of them.', {
      field: 'tool_choice',
    });
  const any = choice(...calls);
  const more = name === undefined ? repeat(sequence(literal('\n'), rule('call')), 0, maxCalls - 1) : literal('');
  return prune({ rules: rules.set('call', any).set('root', sequence(rule('call'), more)), root: 'root' })!;
}

/** A problem of a schema is one of the field that holds it. */
export function inField<T>(field: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof EngineError) || error.field !== undefined) throw error;
    throw new EngineError(error.code, `${field}: ${error.message}`, { cause: error, field });
  }
}

function jsonArguments(converter: SchemaConverter): Expression {
  const onlyObjects: Place = { schema: { type: 'object' }, pointer: '' };
  return converter.ruleFor([converter.root, onlyObjects]);
}

function jsonCall(name: string, values: Expression): Expression {
  const begin = literal(`<tool_call>\n{"name": ${JSON.stringify(name)}, "arguments": `);
  return sequence(begin, values, literal('}\n</tool_call>'));
}

function xmlCall(name: string, values: Expression, field: string): Expression {
  if (!isTagName(name))
    throw new EngineError('invalid-request', `${field} cannot stand in a tag. Use letters, digits, _ and -.`, { field });
  return sequence(literal(`<tool_call>\n<function=${name}>\n`), values, literal('</function>\n</tool_call>'));
}

const isTagName = (name: string) => name !== '' && name === name.trim() && !/[>\r\n]/.test(name);

const closingTag = '</parameter>';
const valueEnd = literal(`\n${closingTag}\n`);
/** No control characters but tabs and line breaks. */
const plainText: CodeRange[] = intersection(anyChar, [
  [9, 10],
  [0x20, 0x10ffff],
]);
/** Where a value's length or form is bounded, it has no `<`: it cannot end its own tag then. */
const withoutTags = intersection(plainText, complement([[0x3c, 0x3c]]));
/** What begins no JSON and no Python constant, so that it stays text whatever types are declared. */
const plainlyText = '^[^\\s0-9"{\\[tfnTFN-]';

class XmlArguments {
  readonly #converter: SchemaConverter;
  readonly #parameters: unknown;
  readonly #readingOf: ReadingOf;
  readonly #textForm: TextForm;
  #anyText: Expression | undefined;

  constructor(converter: SchemaConverter, parameters: unknown, readingOf: ReadingOf) {
    this.#converter = converter;
    this.#parameters = parameters;
    this.#readingOf = readingOf;
    this.#textForm = { char: chars(...withoutTags), encode: (value) => restricted(value), end: valueEnd };
  }

  /** Members in the order of their declaration; optional ones may be left out. */
  text(): Expression {
    const conjuncts = this.#converter.places.expand([this.#converter.root, { schema: { type: 'object' }, pointer: '' }]);
    if (!conjuncts || !statedTypes(conjuncts)?.includes('object')) throw invalidSchema('', 'no finite object satisfies it.');
    for (const conjunct of conjuncts) refuseWhole(conjunct);
    const properties = conjuncts.flatMap(({ schema }) =>
      Object.keys((own(schema, 'properties') as SchemaObject | undefined) ?? {}),
    );
    const required = new Set(conjuncts.flatMap(({ schema }) => (own(schema, 'required') as string[] | undefined) ?? []));
    const names = [...new Set([...properties, ...required])];
    const members = names.map((name) => {
      if (!isTagName(name)) throw unsupportedSchema(child('', 'properties', name), 'its name cannot stand in a tag.');
      const text = sequence(literal(`<parameter=${name}>\n`), this.#value(name, this.#converter.memberPlaces(conjuncts, name)));
      return required.has(name) ? text : optional(text);
    });
    return sequence(...members);
  }

  #value(name: string, places: readonly Place[]): Expression {
    const reading = this.#readingOf(this.#parameters, name);
    if (reading === 'json') return sequence(this.#converter.ruleFor(places), valueEnd);
    return this.#converter.bareValue(
      places,
      (type, conjuncts) => {
        if (type !== 'string') return undefined;
        const first = conjuncts.filter(
          ({ schema }) => own(schema, 'pattern') !== undefined || own(schema, 'format') !== undefined,
        );
        const counted = conjuncts.some(
          ({ schema }) => own(schema, 'minLength') !== undefined || own(schema, 'maxLength') !== undefined,
        );
        if (reading === 'text' && first.length === 0 && !counted) return this.#unboundedText();
        const marked =
          reading === 'mixed'
            ? [...conjuncts, { schema: { pattern: plainlyText }, pointer: conjuncts[0]?.pointer ?? '' }]
            : conjuncts;
        return this.#converter.stringIn(marked, this.#textForm);
      },
      (value) => {
        const text = typeof value === 'string' ? value : JSON.stringify(value);
        const isSafe =
          !text.includes(closingTag) &&
          (reading === 'text' || typeof value !== 'string' || new RegExp(plainlyText, 'u').test(value));
        return isSafe ? sequence(literal(text), valueEnd) : undefined;
      },
      valueEnd,
    );
  }

  /** Any text that does not hold the closing tag. */
  #unboundedText(): Expression {
    this.#anyText ??= rule(
      this.#converter.addRules((name) => languageRules(textWithout(closingTag), name, (value) => value, valueEnd)),
    );
    return this.#anyText;
  }
}

/** The members are written one by one, so what a schema says of the object as a whole must be little. */
function refuseWhole({ schema, pointer }: Conjunct): void {
  for (const keyword of ['anyOf', 'oneOf', 'enum', 'const', 'minProperties', 'maxProperties'] as const) {
    if (own(schema, keyword) !== undefined)
      throw unsupportedSchema(child(pointer, keyword), `in a tool's parameters ${keyword} is supported within properties only.`);
  }
}

function restricted(value: Expression): Expression {
  return value.kind === 'chars' ? chars(...intersection(value.ranges, withoutTags)) : value;
}

/** Every text that does not hold `word`, whose first character stands nowhere else in it: a state for each of its beginnings. */
function textWithout(word: string): Language {
  const letters = Array.from(word, (letter) => letter.codePointAt(0)!);
  const first = letters[0]!;
  const states = letters.map((letter, i) => {
    const steps: Language['states'][number]['steps'] = [];
    if (i + 1 < letters.length) steps.push({ range: [letter, letter], to: i + 1 });
    if (i > 0) steps.push({ range: [first, first], to: 1 });
    const others = intersection(
      plainText,
      complement([
        [letter, letter],
        [first, first],
      ]),
    );
    return { steps: [...steps, ...others.map((range) => ({ range, to: 0 }))], accepts: true };
  });
  return { states };
}

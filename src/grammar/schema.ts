/**
 * JSON Schema to a grammar, so that every text of the grammar parses and validates. The grammar may admit less than the schema
 * (members in the order in which they are declared, no undeclared ones unless `additionalProperties` asks for them), never more. What
 * cannot be said is refused here, before anything is generated. xgrammar's own conversion (0.1.27) is not used: it drops multipleOf,
 * uniqueItems, not, if/then, oneOf, allOf, dependentRequired, contains, exclusive bounds of numbers, what stands beside $ref or anyOf
 * and lengths beside a pattern in silence, writes 1e999, and aborts on lookaround.
 */
import {
  type CodeRange,
  chars,
  choice,
  complement,
  type Expression,
  empty,
  type Grammar,
  intersection,
  literal,
  nothing,
  optional,
  repeat,
  rule,
  sequence,
} from './expression';
import { numberFormat } from './formats';
import { anyRules, colon, comma, encoded, inBraces, inBrackets, jsonRules, plainChars, stringChar, stringOf } from './json_text';
import { type NumberBounds, numberExpression } from './numbers';
import { prune } from './prune';
import { areExclusive, typesOf } from './schema_facts';
import { isObject, type JsonType, own, type SchemaObject } from './schema_keywords';
import { type Conjunct, type Place, SchemaPlaces } from './schema_places';
import { child, invalidSchema, unsupportedSchema } from './schema_problem';
import { stringText, type TextForm } from './schema_strings';
import { ValueCheck } from './schema_values';

const maxRules = 20_000;
const maxDepth = 100;
const maxSchemaBytes = 1 << 18;
/** More items than this are never written; no context holds them. */
const maxItemsWritten = 4096;

const objectKeywords = [
  'properties',
  'required',
  'additionalProperties',
  'patternProperties',
  'propertyNames',
  'minProperties',
  'maxProperties',
];

const jsonString: TextForm = { char: stringChar, encode: encoded, end: literal('"') };

/** @throws EngineError 'unsupported-schema' or 'invalid-request', with a JSON pointer */
export function checkSchema(schema: unknown): void {
  schemaGrammar(schema);
}

/** @throws EngineError 'unsupported-schema' or 'invalid-request', with a JSON pointer */
export function schemaGrammar(schema: unknown): Grammar {
  const converter = new SchemaConverter(schema);
  const root = converter.ruleFor([converter.root]);
  const grammar = prune({ rules: converter.rules.set('root', root), root: 'root' });
  if (!grammar) throw invalidSchema(converter.firstImpossible ?? '', 'no finite value satisfies it.');
  return grammar;
}

/** Of more rules than that, written out to be compared, equal ones are not looked for. */
const mostShared = 200;

export class SchemaConverter {
  readonly rules: Map<string, Expression> = jsonRules();
  readonly root: Place;
  /** Where something was found that no value satisfies: not an error by itself, since an optional property may go. */
  firstImpossible: string | undefined;
  readonly places: SchemaPlaces;
  readonly #values: ValueCheck;
  readonly #names = new Map<string, string>();
  /** Of numbered rules, by what they say. */
  readonly #stems = new Map<string, string>();
  readonly #ids = new Map<SchemaObject, number>();
  readonly #prefix: string;
  #depth = 0;

  /** `prefix` keeps the rules of several schemas apart. */
  constructor(schema: unknown, prefix = '') {
    this.#prefix = prefix;
    if (!isObject(schema) && typeof schema !== 'boolean') throw invalidSchema('', 'a schema is an object, true or false.');
    if (JSON.stringify(schema).length > maxSchemaBytes)
      throw invalidSchema('', `it is longer than ${maxSchemaBytes} characters.`);
    this.root = { schema, pointer: '' };
    this.places = new SchemaPlaces(schema);
    this.#values = new ValueCheck(this.places);
  }

  /** A value that satisfies all of `places`, and `conjuncts` besides. */
  ruleFor(places: readonly Place[], conjuncts: readonly Conjunct[] = []): Expression {
    const all = this.places.expand(places, conjuncts);
    if (!all) {
      this.firstImpossible ??= places.find(({ schema }) => schema === false)?.pointer;
      return nothing;
    }
    if (all.length === 0) return rule(anyRules.value);
    const key = all.map((conjunct) => this.#key(conjunct)).join(' ');
    const known = this.#names.get(key);
    if (known !== undefined) return rule(known);
    const name = `${this.#prefix}s${this.#names.size}`;
    this.#names.set(key, name);
    this.#enter(all[0]!.pointer);
    this.rules.set(name, this.#convert(all));
    this.#depth--;
    return rule(name);
  }

  #enter(pointer: string): void {
    if (++this.#depth > maxDepth || this.rules.size > maxRules)
      throw unsupportedSchema(pointer, 'the schema is too large or nested too deep.');
  }

  #key({ schema, chosen }: Conjunct): string {
    const id = this.#ids.get(schema) ?? this.#ids.size;
    this.#ids.set(schema, id);
    return `${id}${[...chosen].join('')}`;
  }

  #convert(conjuncts: readonly Conjunct[]): Expression {
    const branching = this.#branching(conjuncts);
    if (branching) return choice(...branching.branches.map((branch) => this.ruleFor([branch], branching.others)));
    const values = this.#fittingValues(conjuncts);
    if (values) return choice(...[...new Set(values.map((value) => JSON.stringify(value)))].map(literal));
    return choice(...typesOf(conjuncts).map((type) => this.#ofType(type, conjuncts)));
  }

  /** The branches of the first anyOf or oneOf that is left, and what holds beside them. */
  #branching(conjuncts: readonly Conjunct[]): { branches: Place[]; others: Conjunct[] } | undefined {
    for (const keyword of ['anyOf', 'oneOf'] as const) {
      const at = conjuncts.findIndex(({ schema, chosen }) => own(schema, keyword) !== undefined && !chosen.has(keyword));
      if (at >= 0) return this.#branches(conjuncts, at, keyword);
    }
    return undefined;
  }

  #branches(conjuncts: readonly Conjunct[], at: number, keyword: 'anyOf' | 'oneOf'): { branches: Place[]; others: Conjunct[] } {
    const { schema, pointer, chosen } = conjuncts[at]!;
    const replaced = { schema, pointer, chosen: new Set([...chosen, keyword]) };
    const others = conjuncts.map((conjunct, i) => (i === at ? replaced : conjunct));
    const branches = (schema[keyword] as SchemaObject[]).map((part, i) => ({
      schema: part,
      pointer: child(pointer, keyword, i),
    }));
    if (keyword === 'oneOf' && !areExclusive(branches, others, this.places, this.#values)) {
      throw unsupportedSchema(
        child(pointer, 'oneOf'),
        'its branches must exclude each other by type, or by a required property with different const or enum values. Use anyOf otherwise.',
      );
    }
    return { branches, others };
  }

  /** Of `enum` and `const`, what satisfies everything else too; undefined where there is neither. */
  #fittingValues(conjuncts: readonly Conjunct[]): unknown[] | undefined {
    const source = conjuncts.find(({ schema }) => own(schema, 'enum') !== undefined || Object.hasOwn(schema, 'const'));
    if (!source) return undefined;
    const { schema, pointer } = source;
    const values = Object.hasOwn(schema, 'const') ? [schema.const] : (schema.enum as unknown[]);
    const fitting = values.filter((value) => this.#values.satisfiesAll(value, conjuncts));
    if (fitting.length === 0) this.firstImpossible ??= pointer;
    return fitting;
  }

  #ofType(type: JsonType, conjuncts: readonly Conjunct[]): Expression {
    switch (type) {
      case 'null':
        return literal('null');
      case 'boolean':
        return choice(literal('true'), literal('false'));
      case 'string':
        return sequence(
          literal('"'),
          stringText(conjuncts, jsonString, (make) => this.addRules(make)),
        );
      case 'number':
      case 'integer':
        return this.#number(type, conjuncts);
      case 'array':
        return this.#array(conjuncts);
      case 'object':
        return this.#object(conjuncts);
    }
  }

  /**
   * A value written without the syntax of JSON where `bare` gives an expression for its type, or `literalOf` one for a value of an
   * enum; `end` follows all others.
   */
  bareValue(
    places: readonly Place[],
    bare: (type: JsonType, conjuncts: readonly Conjunct[]) => Expression | undefined,
    literalOf: (value: unknown) => Expression | undefined,
    end: Expression,
    conjuncts: readonly Conjunct[] = [],
  ): Expression {
    const all = this.places.expand(places, conjuncts);
    if (!all) return nothing;
    const branching = this.#branching(all);
    if (branching) {
      const options = branching.branches.map((branch) => this.bareValue([branch], bare, literalOf, end, branching.others));
      return choice(...options);
    }
    const values = this.#fittingValues(all);
    if (values) return choice(...values.map(literalOf).filter((text) => text !== undefined));
    return choice(...typesOf(all).map((type) => bare(type, all) ?? sequence(this.#ofType(type, all), end)));
  }

  stringIn(conjuncts: readonly { schema: SchemaObject; pointer: string }[], form: TextForm): Expression {
    return stringText(conjuncts, form, (make) => this.addRules(make));
  }

  /** Adds numbered rules under a fresh name, unless the same few were added before; gives the name of the first. */
  addRules(make: (name: (state: number) => string) => [string, Expression][]): string {
    const stem = `${this.#prefix}l${this.rules.size}`;
    const rules = make((state) => `${stem}.${state}`);
    if (rules.length <= mostShared) {
      const key = JSON.stringify(rules).replaceAll(`"${stem}.`, '"');
      const known = this.#stems.get(key);
      if (known !== undefined) return `${known}.0`;
      this.#stems.set(key, stem);
    }
    for (const [name, expression] of rules) this.rules.set(name, expression);
    return `${stem}.0`;
  }

  #number(type: 'number' | 'integer', conjuncts: readonly Conjunct[]): Expression {
    const bounds: NumberBounds = { low: -Infinity, lowExclusive: false, high: Infinity, highExclusive: false };
    let integer = type === 'integer';
    for (const { schema, pointer } of conjuncts) {
      const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema as Record<string, number | undefined>;
      raise(bounds, minimum, false);
      raise(bounds, exclusiveMinimum, true);
      lower(bounds, maximum, false);
      lower(bounds, exclusiveMaximum, true);
      const format = own(schema, 'format') as string | undefined;
      const form = format === undefined ? undefined : numberFormat(format, pointer);
      raise(bounds, form?.least, false);
      lower(bounds, form?.most, false);
      if (multipleOf === 1 || form?.integer) integer = true;
      if (multipleOf !== undefined && multipleOf !== 1)
        throw unsupportedSchema(child(pointer, 'multipleOf'), 'only multipleOf 1 is, as type integer.');
    }
    const expression = numberExpression(bounds, integer);
    if (expression === nothing) {
      const { pointer } = conjuncts.find(({ schema }) => 'minimum' in schema || 'exclusiveMinimum' in schema) ?? conjuncts[0]!;
      if (bounds.low > bounds.high || Math.min(Math.abs(bounds.low), Math.abs(bounds.high)) < 1e15)
        this.firstImpossible ??= pointer;
      else throw unsupportedSchema(pointer, 'numbers are written with at most 15 digits.');
    }
    return expression;
  }

  #array(conjuncts: readonly Conjunct[]): Expression {
    let [min, max] = [0, Number.POSITIVE_INFINITY];
    for (const { schema } of conjuncts) {
      min = Math.max(min, (schema.minItems as number | undefined) ?? 0);
      max = Math.min(max, (schema.maxItems as number | undefined) ?? Number.POSITIVE_INFINITY);
    }
    for (const { schema, pointer } of conjuncts) {
      if (schema.uniqueItems === true && max > 1)
        throw unsupportedSchema(
          child(pointer, 'uniqueItems'),
          'a grammar cannot compare items. Remove it and check the reply, or use an object.',
        );
      if (schema.minItems === min && min > maxItemsWritten)
        throw unsupportedSchema(child(pointer, 'minItems'), `at least ${maxItemsWritten} items can be asked for.`);
    }
    if (max !== Number.POSITIVE_INFINITY) max = Math.min(max, maxItemsWritten);
    if (min > max) {
      this.firstImpossible ??= conjuncts[0]!.pointer;
      return nothing;
    }
    const prefixLength = Math.max(
      ...conjuncts.map(({ schema }) => (own(schema, 'prefixItems') as unknown[] | undefined)?.length ?? 0),
    );
    const prefix = Array.from({ length: Math.min(prefixLength, max) }, (_, i) => this.ruleFor(itemPlaces(conjuncts, i)));
    const rest = max > prefix.length ? this.ruleFor(itemPlaces(conjuncts, prefixLength)) : nothing;
    return arrayText(prefix, rest, min, max);
  }

  #object(conjuncts: readonly Conjunct[]): Expression {
    // One rule for all of these: every further one costs a pass over the vocabulary.
    if (conjuncts.every(({ schema }) => !objectKeywords.some((keyword) => Object.hasOwn(schema, keyword))))
      return rule(anyRules.object);
    const limits = {
      min: Math.max(0, ...conjuncts.map(({ schema }) => (schema.minProperties as number | undefined) ?? 0)),
      max: Math.min(...conjuncts.map(({ schema }) => (schema.maxProperties as number | undefined) ?? Number.POSITIVE_INFINITY)),
    };
    const names = new Set(
      conjuncts.flatMap(({ schema }) => Object.keys((own(schema, 'properties') as SchemaObject | undefined) ?? {})),
    );
    const required = new Set(conjuncts.flatMap(({ schema }) => (own(schema, 'required') as string[] | undefined) ?? []));
    for (const name of required) names.add(name);
    const members = [...names].map((name) => ({
      text: sequence(literal(JSON.stringify(name)), colon, this.ruleFor(this.memberPlaces(conjuncts, name))),
      required: required.has(name),
    }));
    const other = this.#otherMember(conjuncts, [...names]);
    const needed = conjuncts.find(({ schema }) => schema.minProperties === limits.min);
    if (limits.min > members.length + (other ? 1 : 0) && other)
      throw unsupportedSchema(
        child(needed!.pointer, 'minProperties'),
        'more members than are declared cannot be counted. Declare them.',
      );
    return this.#objectText(members, other, limits);
  }

  /** What the member `name` must satisfy: by name and by pattern, else as an additional one. */
  memberPlaces(conjuncts: readonly Conjunct[], name: string): Place[] {
    return conjuncts.flatMap(({ schema, pointer }) => {
      const found: Place[] = [];
      const declared = own((own(schema, 'properties') as SchemaObject | undefined) ?? {}, name);
      if (declared !== undefined) found.push({ schema: declared as SchemaObject, pointer: child(pointer, 'properties', name) });
      for (const [pattern, part] of Object.entries((own(schema, 'patternProperties') as SchemaObject | undefined) ?? {})) {
        const at = child(pointer, 'patternProperties', pattern);
        if (patternOf(pattern, at).test(name)) found.push({ schema: part as SchemaObject, pointer: at });
      }
      const additional = own(schema, 'additionalProperties') as SchemaObject | boolean | undefined;
      if (found.length === 0 && additional !== undefined)
        found.push({ schema: additional, pointer: child(pointer, 'additionalProperties') });
      const names = own(schema, 'propertyNames') as SchemaObject | boolean | undefined;
      if (names !== undefined && !this.#values.satisfies(name, names, child(pointer, 'propertyNames')))
        found.push({ schema: false, pointer: child(pointer, 'propertyNames') });
      return found;
    });
  }

  /** A member whose name is not declared; undefined where none is written. */
  #otherMember(conjuncts: readonly Conjunct[], names: readonly string[]): Expression | undefined {
    const asked = conjuncts.filter(({ schema }) =>
      ['additionalProperties', 'patternProperties', 'propertyNames'].some((keyword) => own(schema, keyword) !== undefined),
    );
    if (asked.length === 0 && names.length > 0) return undefined;
    const patterned = asked.filter(
      ({ schema }) => Object.keys((schema.patternProperties as SchemaObject | undefined) ?? {}).length > 0,
    );
    const named = asked.filter(({ schema }) => own(schema, 'propertyNames') !== undefined);
    if ((patterned.length > 0 || named.length > 0) && names.length > 0) return undefined; // only declared names are certain to fit
    if (patterned.length > 0) return this.#patternMember(patterned, asked, named);
    const additional = asked.filter(({ schema }) => own(schema, 'additionalProperties') !== undefined);
    if (additional.some(({ schema }) => schema.additionalProperties === false)) return undefined;
    const value = this.ruleFor(
      additional.map(({ schema, pointer }) => ({
        schema: schema.additionalProperties as SchemaObject,
        pointer: child(pointer, 'additionalProperties'),
      })),
    );
    const name = named.length > 0 ? this.#name(named, []) : names.length > 0 ? nameBesides(names) : rule(anyRules.string);
    return sequence(name, colon, value);
  }

  #patternMember(patterned: readonly Conjunct[], asked: readonly Conjunct[], named: readonly Conjunct[]): Expression {
    const { schema, pointer } = patterned[0]!;
    const patterns = Object.entries(schema.patternProperties as SchemaObject);
    if (patterned.length > 1 || patterns.length > 1)
      throw unsupportedSchema(child(pointer, 'patternProperties'), 'one pattern at a time is. Declare the names as properties.');
    const [pattern, part] = patterns[0]!;
    const at = child(pointer, 'patternProperties', pattern);
    const others = asked.filter(
      (conjunct) => conjunct.schema !== schema && own(conjunct.schema, 'additionalProperties') !== undefined,
    );
    const value = this.ruleFor([
      { schema: part as SchemaObject, pointer: at },
      ...others.map((other) => ({
        schema: other.schema.additionalProperties as SchemaObject,
        pointer: child(other.pointer, 'additionalProperties'),
      })),
    ]);
    return sequence(this.#name(named, [{ schema: { pattern }, pointer: at }]), colon, value);
  }

  /** A member's name as a string of its own schema. */
  #name(named: readonly Conjunct[], more: readonly Place[]): Expression {
    const places = named.map(({ schema, pointer }) => ({
      schema: schema.propertyNames as SchemaObject,
      pointer: child(pointer, 'propertyNames'),
    }));
    return this.ruleFor([{ schema: { type: 'string' }, pointer: places[0]?.pointer ?? more[0]!.pointer }, ...places, ...more]);
  }

  /**
   * Members in order, each required one for certain, then others. `min` and `max` count members; undeclared ones count once at
   * least, because two of them may have one name.
   */
  #objectText(
    members: readonly { text: Expression; required: boolean }[],
    other: Expression | undefined,
    { min, max }: { min: number; max: number },
  ): Expression {
    if (!other && max >= members.length) max = Number.POSITIVE_INFINITY; // it cannot be reached
    const counts = max !== Number.POSITIVE_INFINITY ? members.length : Math.min(min, members.length); // those beyond are alike
    if (members.length * counts > maxRules)
      throw unsupportedSchema('', 'it has too many properties for minProperties or maxProperties.');
    const stem = `${this.#prefix}o${this.rules.size}`;
    const tail = (i: number, count: number) => rule(`${stem}.${i}.${Math.min(count, counts)}`);
    const tailText = (i: number, count: number): Expression => {
      const member = members[i];
      if (!member) {
        if (!other) return count >= min ? empty : nothing;
        return count + 1 < min ? nothing : repeat(sequence(comma, other), count < min ? 1 : 0, max - count);
      }
      const options = count < max ? [sequence(comma, member.text, tail(i + 1, count + 1))] : [];
      if (!member.required) options.push(tail(i + 1, count));
      return choice(...options);
    };
    for (let i = members.length; i > 0; i--) {
      for (let count = 0; count <= counts; count++) this.rules.set(`${stem}.${i}.${count}`, tailText(i, count));
    }
    const firstRequired = members.findIndex((member) => member.required);
    const starts = firstRequired < 0 ? members : members.slice(0, firstRequired + 1);
    const options = max > 0 ? starts.map((member, i) => sequence(member.text, tail(i + 1, 1))) : [];
    if (firstRequired < 0 && other && max > 0 && min <= 1)
      options.push(sequence(other, repeat(sequence(comma, other), 0, max - 1)));
    const filled = options.length > 0 ? inBraces(choice(...options)) : nothing;
    return firstRequired < 0 && min === 0 ? choice(literal('{}'), filled) : filled;
  }
}

function itemPlaces(conjuncts: readonly Conjunct[], i: number): Place[] {
  return conjuncts.flatMap(({ schema, pointer }) => {
    const prefix = own(schema, 'prefixItems') as SchemaObject[] | undefined;
    if (prefix && i < prefix.length) return [{ schema: prefix[i]!, pointer: child(pointer, 'prefixItems', i) }];
    const items = own(schema, 'items') as SchemaObject | boolean | undefined;
    return items === undefined ? [] : [{ schema: items, pointer: child(pointer, 'items') }];
  });
}

/** The items of `prefix`, each by its place, then `rest`; `min` to `max` in all. */
function arrayText(prefix: readonly Expression[], rest: Expression, min: number, max: number): Expression {
  const following = (i: number): Expression => {
    if (i >= prefix.length) return repeat(sequence(comma, rest), Math.max(0, min - i), max - i);
    const more = sequence(comma, prefix[i]!, following(i + 1));
    return i < min ? more : optional(more);
  };
  const options: Expression[] = min === 0 ? [literal('[]')] : [];
  if (max > 0) {
    const first = prefix[0] ?? rest;
    options.push(
      inBrackets(
        sequence(first, prefix.length > 0 ? following(1) : repeat(sequence(comma, rest), Math.max(0, min - 1), max - 1)),
      ),
    );
  }
  return choice(...options);
}

function raise(bounds: NumberBounds, value: number | undefined, exclusive: boolean): void {
  if (value === undefined || value < bounds.low) return;
  bounds.lowExclusive = exclusive || (bounds.lowExclusive && value === bounds.low);
  bounds.low = value;
}

function lower(bounds: NumberBounds, value: number | undefined, exclusive: boolean): void {
  if (value === undefined || value > bounds.high) return;
  bounds.highExclusive = exclusive || (bounds.highExclusive && value === bounds.high);
  bounds.high = value;
}

function patternOf(pattern: string, pointer: string): RegExp {
  try {
    return new RegExp(pattern, 'u');
  } catch {
    throw unsupportedSchema(pointer, 'its name is no regular expression in Unicode mode.');
  }
}

/** A name, written without escapes, that is none of `names`: a tree of their common beginnings, left at any point. */
function nameBesides(names: readonly string[]): Expression {
  const any = repeat(chars(...plainChars), 0);
  const inTree = (rests: readonly string[][]): Expression => {
    const byFirst = new Map<string, string[][]>();
    for (const [first, ...rest] of rests) {
      if (first !== undefined) byFirst.set(first, [...(byFirst.get(first) ?? []), rest]);
    }
    const used = [...byFirst.keys()].map((character): CodeRange => [character.codePointAt(0)!, character.codePointAt(0)!]);
    const options: Expression[] = [sequence(chars(...intersection(complement(used), plainChars)), any)];
    for (const [first, inner] of byFirst) options.push(sequence(literal(first), inTree(inner)));
    if (rests.every((rest) => rest.length > 0)) options.push(empty);
    return choice(...options);
  };
  const exact = inTree(names.filter((name) => JSON.stringify(name).slice(1, -1) === name).map((name) => Array.from(name)));
  return { kind: 'narrow', exact: stringOf(exact), loose: rule(anyRules.string) };
}

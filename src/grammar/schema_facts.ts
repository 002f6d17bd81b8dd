/** What can be told of schemas without making their grammar: types, and whether branches exclude each other. */
import { isNumberFormat } from './formats';
import { isObject, type JsonType, own, type SchemaObject } from './schema_keywords';
import type { Conjunct, Place, SchemaPlaces } from './schema_places';
import type { ValueCheck } from './schema_values';

const allTypes: readonly JsonType[] = ['object', 'array', 'string', 'number', 'boolean', 'null'];

/** Keywords that speak of one type only; for `format` it depends on which. */
const keywordsOf: [JsonType, string[]][] = [
  [
    'object',
    ['properties', 'required', 'additionalProperties', 'patternProperties', 'propertyNames', 'minProperties', 'maxProperties'],
  ],
  ['array', ['items', 'prefixItems', 'minItems', 'maxItems', 'uniqueItems']],
  ['string', ['minLength', 'maxLength', 'pattern']],
  ['number', ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf']],
];

/** The types that `type` admits in all of them; undefined where none has one. */
export function statedTypes(conjuncts: readonly Conjunct[]): JsonType[] | undefined {
  const lists = conjuncts.flatMap(({ schema }) => {
    const type = own(schema, 'type') as JsonType | JsonType[] | undefined;
    return type === undefined ? [] : [[type].flat() as JsonType[]];
  });
  if (lists.length === 0) return undefined;
  return lists.reduce(
    (a, b) => {
      const both = a.filter((type) => b.includes(type) || (type === 'integer' && b.includes('number')));
      if (a.includes('number') && !b.includes('number') && b.includes('integer')) both.push('integer');
      return both.filter((type) => type !== 'integer' || !both.includes('number'));
    },
    lists[0]!.filter((type) => type !== 'integer' || !lists[0]!.includes('number')),
  );
}

/** Types to write. Where `type` is missing, those that the other keywords speak of: what they say of others is nothing. */
export function typesOf(conjuncts: readonly Conjunct[]): readonly JsonType[] {
  const stated = statedTypes(conjuncts);
  if (stated) return [...new Set(stated)];
  const hinted = keywordsOf.filter(([type, keywords]) =>
    conjuncts.some(
      ({ schema }) =>
        keywords.some((keyword) => own(schema, keyword) !== undefined) || formatType(own(schema, 'format')) === type,
    ),
  );
  return hinted.length > 0 ? hinted.map(([type]) => type) : allTypes;
}

function formatType(format: unknown): JsonType | undefined {
  if (format === undefined) return undefined;
  return isNumberFormat(format) ? 'number' : 'string';
}

/** Whether no value satisfies two of the branches, as far as that can be seen: only then is `oneOf` the same as `anyOf`. */
export function areExclusive(
  branches: readonly Place[],
  others: readonly Conjunct[],
  places: SchemaPlaces,
  values: ValueCheck,
): boolean {
  const expanded = branches.map((branch) => places.expand([branch], others));
  return expanded.every((a, i) => expanded.slice(i + 1).every((b) => !a || !b || excludeEachOther(a, b, places, values)));
}

function excludeEachOther(
  a: readonly Conjunct[],
  b: readonly Conjunct[],
  places: SchemaPlaces,
  values: ValueCheck,
  depth = 0,
): boolean {
  if (haveDisjointTypes(statedTypes(a), statedTypes(b))) return true;
  const [listA, listB] = [enumeration(a), enumeration(b)];
  if (listA?.every((value) => !values.satisfiesAll(value, b))) return true;
  if (listB?.every((value) => !values.satisfiesAll(value, a))) return true;
  if (depth > 3 || !onlyObjects(a) || !onlyObjects(b)) return false;
  const requiredInBoth = [...requiredNames(a)].filter((name) => requiredNames(b).has(name));
  const differ = requiredInBoth.some((name) => {
    const [memberA, memberB] = [places.expand(members(a, name)), places.expand(members(b, name))];
    return !memberA || !memberB || excludeEachOther(memberA, memberB, places, values, depth + 1);
  });
  return differ || needsWhatOtherForbids(a, b) || needsWhatOtherForbids(b, a);
}

function haveDisjointTypes(a: JsonType[] | undefined, b: JsonType[] | undefined): boolean {
  if (!a || !b) return false;
  const wide = (types: JsonType[]) => types.map((type) => (type === 'integer' ? 'number' : type));
  return !wide(a).some((type) => wide(b).includes(type));
}

function onlyObjects(conjuncts: readonly Conjunct[]): boolean {
  const types = statedTypes(conjuncts);
  return types?.length === 1 && types[0] === 'object';
}

function enumeration(conjuncts: readonly Conjunct[]): unknown[] | undefined {
  const source = conjuncts.find(({ schema }) => Object.hasOwn(schema, 'const') || own(schema, 'enum') !== undefined)?.schema;
  if (!source) return undefined;
  return Object.hasOwn(source, 'const') ? [source.const] : (source.enum as unknown[]);
}

function requiredNames(conjuncts: readonly Conjunct[]): Set<string> {
  return new Set(conjuncts.flatMap(({ schema }) => (own(schema, 'required') as string[] | undefined) ?? []));
}

function members(conjuncts: readonly Conjunct[], name: string): Place[] {
  return conjuncts.flatMap(({ schema, pointer }) => {
    const properties = own(schema, 'properties');
    const member = isObject(properties) ? own(properties, name) : undefined;
    return member === undefined ? [] : [{ schema: member as SchemaObject, pointer: `${pointer}/properties` }];
  });
}

function needsWhatOtherForbids(a: readonly Conjunct[], b: readonly Conjunct[]): boolean {
  return b.some(({ schema }) => {
    if (own(schema, 'additionalProperties') !== false || own(schema, 'patternProperties') !== undefined) return false;
    const declared = (own(schema, 'properties') as SchemaObject | undefined) ?? {};
    return [...requiredNames(a)].some((name) => !Object.hasOwn(declared, name));
  });
}

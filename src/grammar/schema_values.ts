/** Whether one value satisfies a schema, over the keywords that are enforced: what sorts out the values of an `enum`. */
import { numberFormat, stringFormat } from './formats';
import { isObject, own, type SchemaObject } from './schema_keywords';
import type { Conjunct, SchemaPlaces } from './schema_places';
import { child, unsupportedSchema } from './schema_problem';

const maxDepth = 200;

export class ValueCheck {
  readonly #places: SchemaPlaces;
  #depth = 0;

  constructor(places: SchemaPlaces) {
    this.#places = places;
  }

  satisfiesAll(value: unknown, conjuncts: readonly Conjunct[]): boolean {
    return conjuncts.every(({ schema, pointer, chosen }) => {
      const { anyOf, oneOf, allOf: _, $ref: __, ...rest } = schema;
      const left = {
        ...rest,
        ...(anyOf && !chosen.has('anyOf') ? { anyOf } : {}),
        ...(oneOf && !chosen.has('oneOf') ? { oneOf } : {}),
      };
      return this.satisfies(value, left, pointer);
    });
  }

  satisfies(value: unknown, schema: SchemaObject | boolean, pointer: string): boolean {
    if (typeof schema === 'boolean') return schema;
    this.#places.check(schema, pointer);
    if (++this.#depth > maxDepth) throw unsupportedSchema(pointer, 'it is nested too deep.');
    try {
      return this.#generic(value, schema, pointer) && this.#byType(value, schema, pointer);
    } finally {
      this.#depth--;
    }
  }

  #generic(value: unknown, schema: SchemaObject, pointer: string): boolean {
    const type = own(schema, 'type') as string | string[] | undefined;
    if (type !== undefined && ![type].flat().some((name) => hasType(value, name))) return false;
    const values = own(schema, 'enum') as unknown[] | undefined;
    if (values && !values.some((candidate) => equal(candidate, value))) return false;
    if (Object.hasOwn(schema, 'const') && !equal(schema.const, value)) return false;
    const ref = own(schema, '$ref') as string | undefined;
    if (ref !== undefined) {
      const place = this.#places.resolve(ref, child(pointer, '$ref'));
      if (!this.satisfies(value, place.schema, place.pointer)) return false;
    }
    const matches = (keyword: string) =>
      ((own(schema, keyword) as SchemaObject[] | undefined) ?? []).map((part, i) =>
        this.satisfies(value, part, child(pointer, keyword, i)),
      );
    const [any, one] = [matches('anyOf'), matches('oneOf')];
    return (
      matches('allOf').every(Boolean) &&
      (any.length === 0 || any.includes(true)) &&
      (one.length === 0 || one.filter(Boolean).length === 1)
    );
  }

  #byType(value: unknown, schema: SchemaObject, pointer: string): boolean {
    if (typeof value === 'string') return stringFits(value, schema, pointer);
    if (typeof value === 'number') return numberFits(value, schema, pointer);
    if (Array.isArray(value)) return this.#arrayFits(value, schema, pointer);
    return isObject(value) ? this.#objectFits(value, schema, pointer) : true;
  }

  #arrayFits(value: readonly unknown[], schema: SchemaObject, pointer: string): boolean {
    const { minItems = 0, maxItems = Number.POSITIVE_INFINITY, uniqueItems } = schema as Record<string, number>;
    if (value.length < minItems || value.length > maxItems) return false;
    if (uniqueItems && value.some((item, i) => value.slice(0, i).some((other) => equal(item, other)))) return false;
    const prefix = (own(schema, 'prefixItems') as SchemaObject[] | undefined) ?? [];
    const items = (own(schema, 'items') as SchemaObject | boolean | undefined) ?? true;
    return value.every((item, i) => this.satisfies(item, prefix[i] ?? items, child(pointer, 'items')));
  }

  #objectFits(value: SchemaObject, schema: SchemaObject, pointer: string): boolean {
    const { minProperties = 0, maxProperties = Number.POSITIVE_INFINITY } = schema as Record<string, number>;
    const entries = Object.entries(value);
    if (entries.length < minProperties || entries.length > maxProperties) return false;
    const required = (own(schema, 'required') as string[] | undefined) ?? [];
    if (!required.every((name) => Object.hasOwn(value, name))) return false;
    const properties = (own(schema, 'properties') as SchemaObject | undefined) ?? {};
    const patterns = Object.entries((own(schema, 'patternProperties') as SchemaObject | undefined) ?? {});
    const additional = (own(schema, 'additionalProperties') as SchemaObject | boolean | undefined) ?? true;
    const names = (own(schema, 'propertyNames') as SchemaObject | boolean | undefined) ?? true;
    return entries.every(([name, item]) => {
      const byName = own(properties, name) as SchemaObject | boolean | undefined;
      const byPattern = patterns
        .filter(([pattern]) => patternOf(pattern, child(pointer, 'patternProperties', pattern)).test(name))
        .map(([, part]) => part as SchemaObject);
      const schemas = [...(byName === undefined ? [] : [byName]), ...byPattern];
      const at = child(pointer, 'properties', name);
      if (!this.satisfies(name, names, child(pointer, 'propertyNames'))) return false;
      return (schemas.length > 0 ? schemas : [additional]).every((part) => this.satisfies(item, part, at));
    });
  }
}

export function hasType(value: unknown, type: string): boolean {
  switch (type) {
    case 'null':
      return value === null;
    case 'array':
      return Array.isArray(value);
    case 'object':
      return isObject(value);
    case 'integer':
      return Number.isInteger(value);
    default:
      return typeof value === type;
  }
}

/** Equality of JSON values: the order of an object's members does not count. */
export function equal(a: unknown, b: unknown): boolean {
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((item, i) => equal(item, b[i]));
  if (!isObject(a) || !isObject(b)) return a === b;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && equal(a[name], b[name]));
}

function stringFits(value: string, schema: SchemaObject, pointer: string): boolean {
  const { minLength = 0, maxLength = Number.POSITIVE_INFINITY } = schema as Record<string, number>;
  const length = Array.from(value).length;
  const { pattern, format } = schema as Record<string, string>;
  const form = format === undefined ? undefined : stringFormat(format, pointer);
  const patterns = [
    pattern === undefined ? undefined : patternOf(pattern, child(pointer, 'pattern')),
    form === undefined ? undefined : new RegExp(form, 'u'),
  ];
  return length >= minLength && length <= maxLength && patterns.every((each) => !each || each.test(value));
}

/** @throws EngineError 'unsupported-schema' */
export function patternOf(pattern: string, pointer: string): RegExp {
  try {
    return new RegExp(pattern, 'u');
  } catch {
    throw unsupportedSchema(pointer, 'it is no regular expression in Unicode mode.');
  }
}

function numberFits(value: number, schema: SchemaObject, pointer: string): boolean {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema as Record<string, number>;
  if (multipleOf !== undefined && multipleOf !== 1)
    throw unsupportedSchema(child(pointer, 'multipleOf'), 'only multipleOf 1 is, as type integer.');
  const format = own(schema, 'format') as string | undefined;
  const form = format === undefined ? undefined : numberFormat(format, pointer);
  if (form && (value < form.least || value > form.most || (form.integer && !Number.isInteger(value)))) return false;
  return (
    value >= (minimum ?? Number.NEGATIVE_INFINITY) &&
    value <= (maximum ?? Number.POSITIVE_INFINITY) &&
    value > (exclusiveMinimum ?? Number.NEGATIVE_INFINITY) &&
    value < (exclusiveMaximum ?? Number.POSITIVE_INFINITY) &&
    (multipleOf === undefined || Number.isInteger(value))
  );
}

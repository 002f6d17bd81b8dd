/** Schemas with the place they stand at, and what holds at one place at once. */
import { checkKeywords, isObject, own, type SchemaObject } from './schema_keywords';
import { child, invalidSchema, unsupportedSchema } from './schema_problem';

export type Place = { schema: SchemaObject | boolean; pointer: string };

/** One of several schemas that a value must satisfy at once; `chosen` holds the keywords already replaced by one of their branches. */
export type Conjunct = { schema: SchemaObject; pointer: string; chosen: ReadonlySet<'anyOf' | 'oneOf'> };

const annotationsOnly = (schema: SchemaObject) => Object.keys(schema).every((key) => !constraining.has(key));
const constraining = new Set(
  (
    'type enum const properties required additionalProperties patternProperties propertyNames minProperties maxProperties items prefixItems ' +
    'minItems maxItems uniqueItems minLength maxLength pattern format minimum maximum exclusiveMinimum exclusiveMaximum multipleOf anyOf oneOf'
  ).split(' '),
);

export class SchemaPlaces {
  readonly #root: unknown;
  readonly #checked = new Set<SchemaObject>();

  constructor(root: unknown) {
    this.#root = root;
  }

  /**
   * The schemas that hold together at `places`, with those that `$ref` and `allOf` bring in; undefined where one of them is `false`.
   * @throws EngineError 'unsupported-schema', 'invalid-request'
   */
  expand(places: readonly Place[], conjuncts: readonly Conjunct[] = []): Conjunct[] | undefined {
    const found = [...conjuncts];
    const ok = places.every((place) => this.#add(found, place, []));
    return ok ? found : undefined;
  }

  /** @throws EngineError 'unsupported-schema', 'invalid-request' for a keyword of this schema */
  check(schema: SchemaObject, pointer: string): void {
    if (!this.#checked.has(schema)) checkKeywords(schema, pointer);
    this.#checked.add(schema);
  }

  #add(found: Conjunct[], { schema, pointer }: Place, path: readonly SchemaObject[]): boolean {
    if (typeof schema === 'boolean') return schema;
    if (path.includes(schema)) throw unsupportedSchema(pointer, 'it refers to itself without an object or array in between.');
    this.check(schema, pointer);
    const inner = [...path, schema];
    const known = found.some((conjunct) => conjunct.schema === schema);
    if (!known && !annotationsOnly(schema)) found.push({ schema, pointer, chosen: new Set() });
    const ref = own(schema, '$ref') as string | undefined;
    if (ref !== undefined && !this.#add(found, this.resolve(ref, child(pointer, '$ref')), inner)) return false;
    const all = (own(schema, 'allOf') as SchemaObject[] | undefined) ?? [];
    return all.every((part, i) => this.#add(found, { schema: part, pointer: child(pointer, 'allOf', i) }, inner));
  }

  /** @throws EngineError 'unsupported-schema' for a reference out of the schema, 'invalid-request' for one to nothing */
  resolve(ref: string, pointer: string): Place {
    if (!/^#(\/|$)/.test(ref)) {
      throw unsupportedSchema(pointer, 'only references within the schema by JSON pointer ("#/$defs/name") are followed.');
    }
    let target: unknown = this.#root;
    for (const step of decoded(ref.slice(1), pointer).split('/').slice(1)) {
      const key = step.replaceAll('~1', '/').replaceAll('~0', '~');
      if (Array.isArray(target)) target = /^\d+$/.test(key) ? target[Number(key)] : undefined;
      else target = isObject(target) ? own(target, key) : undefined;
    }
    if (!isObject(target) && typeof target !== 'boolean') throw invalidSchema(pointer, 'there is no schema where it points.');
    return { schema: target, pointer: decoded(ref.slice(1), pointer) };
  }
}

function decoded(text: string, pointer: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalidSchema(pointer, 'its percent signs do not decode.');
  }
}

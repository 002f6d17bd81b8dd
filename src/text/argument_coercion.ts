/** Arguments that came as JSON, read as their schema declares them at every depth: models quote numbers, booleans and whole objects. */

import { isObject } from './tokenizer_config';
import { type ArgumentSchema, resolve, typeOf, typesOf, valueOfText } from './tool_values';

type Values = Record<string, unknown>;

/** Deeper values stay as they are. A `$ref`, and a branch of `anyOf`, is a level too, since a schema may refer to itself. */
const maxDepth = 500;
/** So many values are looked at, each once for every schema that may hold it; the others stay as they are. */
const maxSteps = 50_000;

/** Text where another type is declared is read as `valueOfText` does; all else stays. `parameters`: the schema of a function's arguments. */
export function coerceArguments(values: Values, parameters: unknown): Values {
  const coerced = coerceValue(values, { schema: parameters, root: parameters });
  return isObject(coerced) ? coerced : values;
}

/** One value, and what it holds. The value given is not changed. */
export function coerceValue(value: unknown, { schema, root }: ArgumentSchema): unknown {
  return new Coercion(root).read(value, schema, 0);
}

class Coercion {
  readonly #root: unknown;
  #steps = maxSteps;

  constructor(root: unknown) {
    this.#root = root;
  }

  /** All that a schema says at one place holds at once, so each part of it goes on from what the one before made. */
  read(given: unknown, schema: unknown, depth: number): unknown {
    if (!isObject(schema) || depth > maxDepth || this.#steps-- <= 0) return given;
    let value = this.#unquoted(given, schema);
    if (typeof schema.$ref === 'string') value = this.read(value, resolve(schema.$ref, this.#root), depth + 1);
    if (Array.isArray(schema.allOf)) for (const part of schema.allOf) value = this.read(value, part, depth + 1);
    for (const options of [schema.anyOf, schema.oneOf])
      if (Array.isArray(options)) value = this.#readOneOf(value, options, depth + 1);
    if (Array.isArray(value)) return this.#readItems(value, schema, depth + 1);
    return isObject(value) ? this.#readProperties(value, schema, depth + 1) : value;
  }

  #unquoted(value: unknown, schema: unknown): unknown {
    if (typeof value !== 'string') return value;
    const argument = { schema, root: this.#root };
    const types = typesOf(argument);
    return types && !types.has('string') ? valueOfText(value, argument) : value;
  }

  #readItems(values: readonly unknown[], schema: Values, depth: number): unknown[] {
    const { prefixItems, items } = schema;
    // Before 2020-12 a list of schemas, one for each place, was called items.
    const places = Array.isArray(prefixItems) ? prefixItems : Array.isArray(items) ? items : [];
    const rest = items === places ? schema.additionalItems : items;
    return values.map((value, i) => this.read(value, i < places.length ? places[i] : rest, depth));
  }

  #readProperties(values: Values, schema: Values, depth: number): Values {
    const properties = isObject(schema.properties) ? schema.properties : {};
    // Which names a pattern means is not looked at, so that nothing is known of those that are not declared by name.
    const others = schema.patternProperties === undefined ? schema.additionalProperties : undefined;
    const entries = Object.entries(values).map(([name, value]) => {
      return [name, this.read(value, Object.hasOwn(properties, name) ? properties[name] : others, depth)];
    });
    return Object.fromEntries(entries);
  }

  /** By the branch that alone may hold the value; by several where all of them read it alike. */
  #readOneOf(value: unknown, options: readonly unknown[], depth: number): unknown {
    const able = options.filter((option) => this.#mayHold(option, value, depth));
    if (able.length === 0) return value;
    const [first, ...others] = able.map((option) => this.read(value, option, depth));
    if (others.length === 0) return first;
    const text = JSON.stringify(first);
    return others.every((other) => JSON.stringify(other) === text) ? first : value;
  }

  /** As far as can be said from types, required and known names, and properties that have one value. */
  #mayHold(schema: unknown, value: unknown, depth: number): boolean {
    if (!isObject(schema) || depth > maxDepth || this.#steps-- <= 0) return schema !== false;
    if (typeof schema.$ref === 'string' && !this.#mayHold(resolve(schema.$ref, this.#root), value, depth + 1)) return false;
    if (Array.isArray(schema.allOf) && !schema.allOf.every((part) => this.#mayHold(part, value, depth + 1))) return false;
    const type = typeOf(value);
    const types = typesOf({ schema, root: this.#root });
    if (types && !types.has(type) && !(type === 'integer' && types.has('number'))) return false;
    if ('const' in schema && !isSame(schema.const, value)) return false;
    if (Array.isArray(schema.enum) && !schema.enum.some((one) => isSame(one, value))) return false;
    return isObject(value) ? this.#mayHaveProperties(schema, value, depth + 1) : true;
  }

  #mayHaveProperties(schema: Values, values: Values, depth: number): boolean {
    const properties = isObject(schema.properties) ? schema.properties : {};
    const { required, additionalProperties, patternProperties } = schema;
    if (Array.isArray(required) && !required.every((name) => Object.hasOwn(values, name))) return false;
    const isClosed = additionalProperties === false && patternProperties === undefined;
    return Object.entries(values).every(([name, value]) => {
      if (!Object.hasOwn(properties, name)) return !isClosed;
      return this.#mayHold(properties[name], this.#unquoted(value, properties[name]), depth);
    });
  }
}

function isSame(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object') return a === b;
  return JSON.stringify(a) === JSON.stringify(b);
}

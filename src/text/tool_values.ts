/** Arguments of a tool call as its JSON schema declares them: the XML-like call syntax writes every value as bare text. */
import { isObject } from './tokenizer_config';

type Schema = Record<string, unknown>;
type JsonType = 'null' | 'boolean' | 'integer' | 'number' | 'string' | 'array' | 'object';

/** The schema's part for one argument; `root` is where its `$ref`s point. */
export type ArgumentSchema = { schema: unknown; root: unknown };

/** How deep `$ref`, `anyOf` and the like are followed: a schema may refer to itself. */
const MAX_DEPTH = 16;
/** Templates of Qwen3.5 print these the way Python does, so models write them. */
const PYTHON: Record<string, unknown> = { True: true, False: false, None: null };

/** The types that a schema allows; undefined where it does not say. */
export function typesOf({ schema, root }: ArgumentSchema, depth = 0): Set<JsonType> | undefined {
  if (!isObject(schema) || depth > MAX_DEPTH) return undefined;
  if (typeof schema.$ref === 'string') return typesOf({ schema: resolve(schema.$ref, root), root }, depth + 1);
  if (typeof schema.type === 'string') return new Set([schema.type as JsonType]);
  if (Array.isArray(schema.type)) return new Set(schema.type as JsonType[]);
  if (Array.isArray(schema.enum)) return new Set(schema.enum.map(typeOf));
  if ('const' in schema) return new Set([typeOf(schema.const)]);
  const options = [schema.anyOf, schema.oneOf].find(Array.isArray);
  if (!options) return undefined;
  const types = new Set<JsonType>();
  for (const option of options) {
    const inner = typesOf({ schema: option, root }, depth + 1);
    if (!inner) return undefined;
    for (const type of inner) types.add(type);
  }
  return types;
}

/** Whether every text is a value of it as it stands, so that it need not be complete to be passed on. */
export function isPlainString(argument: ArgumentSchema): boolean {
  const types = typesOf(argument);
  return types?.size === 1 && types.has('string');
}

/** The value that bare text stands for; the text itself where it fits no declared type. */
export function valueOfText(text: string, argument: ArgumentSchema): unknown {
  const types = typesOf(argument);
  const parsed = parse(text.trim());
  if (!types) return parsed === undefined ? text : parsed;
  if (parsed !== undefined && fits(parsed, types)) return parsed;
  return types.has('string') || parsed === undefined ? text : parsed; // another type than declared: the caller's to refuse
}

/** Arguments that came as JSON: text where another type is declared is read as `valueOfText` does, all else stays. */
export function coerceArguments(values: Schema, parameters: unknown): Schema {
  const entries = Object.entries(values).map(([key, value]) => {
    const argument = argumentSchema(parameters, key);
    const types = typesOf(argument);
    const read = typeof value === 'string' && types && !types.has('string');
    return [key, read ? valueOfText(value, argument) : value];
  });
  return Object.fromEntries(entries);
}

/** `parameters`: the schema of a function's arguments. */
export function argumentSchema(parameters: unknown, key: string): ArgumentSchema {
  const properties = isObject(parameters) ? parameters.properties : undefined;
  const schema = isObject(properties) && Object.hasOwn(properties, key) ? properties[key] : undefined;
  return { schema, root: parameters };
}

function parse(text: string): unknown {
  if (Object.hasOwn(PYTHON, text)) return PYTHON[text];
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function fits(value: unknown, types: ReadonlySet<JsonType>): boolean {
  const type = typeOf(value);
  if (type === 'string') return false; // a quoted text where a string is declared keeps its quotes
  return types.has(type) || (type === 'integer' && types.has('number'));
}

function typeOf(value: unknown): JsonType {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  return typeof value as JsonType;
}

/** What a local reference (`#/$defs/city`) points to. */
function resolve(ref: string, root: unknown): unknown {
  if (!ref.startsWith('#')) return undefined;
  let found = root;
  for (const part of ref.split('/').slice(1)) {
    const name = part.replaceAll('~1', '/').replaceAll('~0', '~');
    found = isObject(found) || Array.isArray(found) ? (found as Schema)[name] : undefined;
  }
  return found;
}

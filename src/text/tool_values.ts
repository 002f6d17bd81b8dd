/** Arguments of a tool call as its JSON schema declares them: the XML-like call syntax writes every value as bare text. */
import { isObject } from './tokenizer_config';

type Schema = Record<string, unknown>;
type JsonType = 'null' | 'boolean' | 'integer' | 'number' | 'string' | 'array' | 'object';

/** The schema's part for one argument; `root` is where its `$ref`s point. */
export type ArgumentSchema = { schema: unknown; root: unknown };

/** Deeper lists and objects are not read: writing them out again takes stack for every level. */
export const maxNesting = 512;
/** Of `$ref` and `anyOf` within each other, to find the types of one value. */
const maxReferences = 500;
/** Templates of Qwen3.5 print these the way Python does, so models write them. */
const PYTHON: Record<string, unknown> = { True: true, False: false, None: null };

/** The types that a schema allows; undefined where it does not say. */
export function typesOf(argument: ArgumentSchema): Set<JsonType> | undefined {
  const types = new Set<JsonType>();
  return addTypes(types, argument, new Set()) && types.size > 0 ? types : undefined;
}

/** False where the schema does not say. One that is in `seen` refers to itself, or was added already. */
function addTypes(types: Set<JsonType>, { schema, root }: ArgumentSchema, seen: Set<unknown>): boolean {
  if (!isObject(schema) || seen.size > maxReferences) return false;
  if (seen.has(schema)) return true;
  seen.add(schema);
  if (typeof schema.$ref === 'string') return addTypes(types, { schema: resolve(schema.$ref, root), root }, seen);
  const named = declared(schema);
  for (const type of named ?? []) types.add(type);
  const options = [schema.anyOf, schema.oneOf].find(Array.isArray);
  return named !== undefined || (options?.every((option) => addTypes(types, { schema: option, root }, seen)) ?? false);
}

function declared(schema: Schema): readonly JsonType[] | undefined {
  if (typeof schema.type === 'string') return [schema.type as JsonType];
  if (Array.isArray(schema.type)) return schema.type as JsonType[];
  if (Array.isArray(schema.enum)) return schema.enum.map(typeOf);
  return 'const' in schema ? [typeOf(schema.const)] : undefined;
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

/** `parameters`: the schema of a function's arguments. */
export function argumentSchema(parameters: unknown, key: string): ArgumentSchema {
  const properties = isObject(parameters) ? parameters.properties : undefined;
  const schema = isObject(properties) && Object.hasOwn(properties, key) ? properties[key] : undefined;
  return { schema, root: parameters };
}

function parse(text: string): unknown {
  return Object.hasOwn(PYTHON, text) ? PYTHON[text] : parseJson(text);
}

/** Undefined for what is no JSON, or nests too deeply. */
export function parseJson(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return isNestedBeyond(value, maxNesting) ? undefined : value;
  } catch {
    return undefined;
  }
}

/**
 * JSON of a value. As the model wrote it where that means the same and has a number that would not come back alike: a whole number beyond 2^53
 * would lose digits, and 1.0 its point.
 */
export function jsonOf(value: unknown, written: string): string {
  const json = JSON.stringify(value);
  const meansTheSame = written !== json && JSON.stringify(parseJson(written)) === json;
  return meansTheSame && hasOtherNumbers(written) ? written : json;
}

/** Of whole JSON alone: among quotes that never close the search for strings would take their square. */
function hasOtherNumbers(json: string): boolean {
  const outsideStrings = json.replace(/"(?:[^"\\]|\\.)*"/g, '');
  return (outsideStrings.match(/-?\d[\d.eE+-]*/g) ?? []).some((number) => String(Number(number)) !== number);
}

function isNestedBeyond(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isNestedBeyond(inner, levels - 1));
}

function fits(value: unknown, types: ReadonlySet<JsonType>): boolean {
  const type = typeOf(value);
  if (type === 'string') return false; // a quoted text where a string is declared keeps its quotes
  return types.has(type) || (type === 'integer' && types.has('number'));
}

export function typeOf(value: unknown): JsonType {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  return typeof value as JsonType;
}

/** What a local reference (`#/$defs/city`) points to; undefined where that is nothing. */
export function resolve(ref: string, root: unknown): unknown {
  const pointer = ref.startsWith('#') ? decoded(ref.slice(1)) : undefined;
  if (pointer === undefined) return undefined;
  let found = root;
  for (const part of pointer.split('/').slice(1)) {
    const name = part.replaceAll('~1', '/').replaceAll('~0', '~');
    const holds = (isObject(found) || Array.isArray(found)) && Object.hasOwn(found, name);
    found = holds ? (found as Schema)[name] : undefined;
  }
  return found;
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** The keywords of JSON Schema 2020-12 that Sluice enforces, ignores or refuses, and the form that each must have. */
import { child, invalidSchema, unsupportedSchema } from './schema_problem';

export type SchemaObject = { readonly [keyword: string]: unknown };
export const jsonTypes = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'] as const;
export type JsonType = (typeof jsonTypes)[number];

type Form = (value: unknown) => boolean;

const isCount: Form = (value) => Number.isInteger(value) && (value as number) >= 0;
const isNumber: Form = (value) => typeof value === 'number' && Number.isFinite(value);
const isText: Form = (value) => typeof value === 'string';
const isSchema: Form = (value) => typeof value === 'boolean' || isObject(value);
const isSchemaList: Form = (value) => Array.isArray(value) && value.length > 0 && value.every(isSchema);
const isSchemaMap: Form = (value) => isObject(value) && Object.values(value).every(isSchema);
const isTypeName: Form = (value) => (jsonTypes as readonly unknown[]).includes(value);

/** Enforced keywords: what value they need, in words and as a test. */
const enforced: Record<string, [form: Form, wanted: string]> = {
  type: [
    (value) => isTypeName(value) || (Array.isArray(value) && value.length > 0 && value.every(isTypeName)),
    `one of ${jsonTypes.join(', ')}, or a list of them`,
  ],
  enum: [(value) => Array.isArray(value) && value.length > 0, 'a list that is not empty'],
  const: [(value) => value !== undefined, 'a value'],
  properties: [isSchemaMap, 'an object of schemas'],
  required: [(value) => Array.isArray(value) && value.every(isText), 'a list of names'],
  additionalProperties: [isSchema, 'a schema'],
  patternProperties: [isSchemaMap, 'an object of schemas'],
  propertyNames: [isSchema, 'a schema'],
  minProperties: [isCount, 'a whole number, 0 or more'],
  maxProperties: [isCount, 'a whole number, 0 or more'],
  items: [isSchema, 'a schema; a list of schemas is called prefixItems since 2020-12'],
  prefixItems: [isSchemaList, 'a list of schemas'],
  minItems: [isCount, 'a whole number, 0 or more'],
  maxItems: [isCount, 'a whole number, 0 or more'],
  uniqueItems: [(value) => typeof value === 'boolean', 'true or false'],
  minLength: [isCount, 'a whole number, 0 or more'],
  maxLength: [isCount, 'a whole number, 0 or more'],
  pattern: [isText, 'a regular expression'],
  format: [isText, 'the name of a format'],
  minimum: [isNumber, 'a number'],
  maximum: [isNumber, 'a number'],
  exclusiveMinimum: [isNumber, 'a number (it was true or false in draft 4)'],
  exclusiveMaximum: [isNumber, 'a number (it was true or false in draft 4)'],
  multipleOf: [(value) => isNumber(value) && (value as number) > 0, 'a number above 0'],
  anyOf: [isSchemaList, 'a list of schemas'],
  oneOf: [isSchemaList, 'a list of schemas'],
  allOf: [isSchemaList, 'a list of schemas'],
  $ref: [isText, 'a reference'],
};

/** Keywords that say nothing about which values are valid, and the containers that only `$ref` reads. */
const ignored = new Set([
  'title',
  'description',
  'default',
  'examples',
  'example',
  'deprecated',
  'readOnly',
  'writeOnly',
  '$schema',
  '$id',
  '$comment',
  '$defs',
  'definitions',
  'contentEncoding',
  'contentMediaType',
  'contentSchema',
]);

/** What to do in place of keywords that a grammar cannot enforce. */
const advice = new Map<string, string>([
  ['not', 'say what is allowed in place of what is not'],
  ...['if', 'then', 'else', 'dependentRequired', 'dependentSchemas', 'dependencies'].map((keyword): [string, string] => [
    keyword,
    'use anyOf with one branch for each case',
  ]),
  ['contains', 'use prefixItems'],
  ['minContains', 'use minItems'],
  ['maxContains', 'use maxItems'],
  ['additionalItems', 'use prefixItems with items'],
  ['unevaluatedProperties', 'use additionalProperties'],
  ['unevaluatedItems', 'use items'],
  ['nullable', "add 'null' to type"],
  ['discriminator', 'give the branches of oneOf a property with different const values'],
]);

/** @throws EngineError 'unsupported-schema', 'invalid-request' */
export function checkKeywords(schema: SchemaObject, pointer: string): void {
  for (const [keyword, value] of Object.entries(schema)) {
    const form = Object.hasOwn(enforced, keyword) ? enforced[keyword] : undefined;
    const at = child(pointer, keyword);
    if (form) {
      if (!form[0](value)) throw invalidSchema(at, `${keyword} must be ${form[1]}.`);
    } else if (!ignored.has(keyword) && !keyword.startsWith('x-')) {
      const hint = advice.get(keyword) ?? 'remove it, or name it x-… if it is a note';
      throw unsupportedSchema(at, `the keyword ${JSON.stringify(keyword.slice(0, 80))} is not supported. Instead, ${hint}.`);
    }
  }
  if (pointer !== '' && schema.$id !== undefined && !String(schema.$id).startsWith('#')) {
    throw unsupportedSchema(child(pointer, '$id'), 'a schema within a schema cannot have an $id of its own. Remove it.');
  }
}

export function isObject(value: unknown): value is SchemaObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A value of the caller's, by own keys only: `__proto__` in a schema is a name like any other. */
export function own(object: SchemaObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** Random schemas within the supported list, for the property tests. */

export type Schema = { [keyword: string]: unknown } | boolean;

type Random = () => number;
const pick = <T>(random: Random, list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
const upTo = (random: Random, max: number) => Math.floor(random() * (max + 1));
const chance = (random: Random, p: number) => random() < p;

const names = ['name', 'id', 'the "quoted"', 'a', 'ab', 'items', 'größe', 'x/y', 'value', '名', 'tags', 'a b', 'back\\slash', ''];
const patterns = [
  '^[a-z]+$',
  '^\\d{3}-\\d{4}$',
  '^(foo|bar)+$',
  'x',
  '^[^"\\\\]*$',
  '^\\S{1,5}\\s\\S*$',
  '^[A-Z][a-z]*( [A-Z][a-z]*){0,2}$',
  '^é+$',
  '[\\u4e00-\\u9fff]{1,3}',
  '^(?:a|b(?:c|d){2})?e$',
  '^.{2,4}$',
  '^$|^y',
  '^\\p{Lu}{2}$',
  '["\\n]',
];
const formats = ['date', 'time', 'date-time', 'email', 'uuid', 'ipv4', 'ipv6', 'hostname', 'duration', 'uri'];
const values = [
  1,
  0,
  -3,
  2.5,
  'a',
  '',
  'two words',
  'quote " and \\ back',
  true,
  false,
  null,
  [],
  [1, 'x'],
  {},
  { k: [null] },
  '\u0001',
  '😀',
];

export function randomSchema(random: Random, depth = 3): Schema {
  const defs: Record<string, unknown> = {};
  const root = schema(random, depth, defs);
  if (typeof root === 'boolean') return { type: 'boolean' };
  return Object.keys(defs).length > 0 ? { ...root, $defs: defs } : root;
}

function schema(random: Random, depth: number, defs: Record<string, unknown>): Schema {
  if (chance(random, 0.05)) return {};
  const makers = [string, string, number, number, enumeration, types, constant, leaf];
  const deep = [object, object, object, array, array, anyOf, ref, map, allOf, oneOf];
  const made = pick(random, depth > 0 ? [...makers, ...deep, ...deep] : makers)(random, depth, defs);
  return chance(random, 0.2) ? { title: 'T', description: 'd', ...made } : made;
}

type Maker = (random: Random, depth: number, defs: Record<string, unknown>) => { [keyword: string]: unknown };

const string: Maker = (random) => {
  const made: { [keyword: string]: unknown } = { type: 'string' };
  if (chance(random, 0.4)) made.minLength = upTo(random, 5);
  if (chance(random, 0.4)) made.maxLength = ((made.minLength as number) ?? 0) + upTo(random, 20);
  if (chance(random, 0.3)) made.pattern = pick(random, patterns);
  else if (chance(random, 0.15)) made.format = pick(random, formats);
  return made;
};

const number: Maker = (random) => {
  const made: { [keyword: string]: unknown } = { type: pick(random, ['number', 'integer']) };
  const scale = pick(random, [1, 10, 1000, 1e6, 0.01, 1e12]);
  const low = (random() - 0.5) * scale;
  const round = (value: number) => (chance(random, 0.5) ? Math.round(value) : Number(value.toFixed(3)));
  if (chance(random, 0.5)) made[pick(random, ['minimum', 'exclusiveMinimum'])] = round(low);
  if (chance(random, 0.5)) made[pick(random, ['maximum', 'exclusiveMaximum'])] = round(low + random() * scale + 2);
  return made;
};

const enumeration: Maker = (random) => ({ enum: Array.from({ length: 1 + upTo(random, 4) }, () => pick(random, values)) });
const constant: Maker = (random) => ({ const: pick(random, values) });
const leaf: Maker = (random) => ({ type: pick(random, ['boolean', 'null', 'object', 'array']) });
const types: Maker = (random) => ({
  type: [...new Set([pick(random, ['string', 'number', 'null']), pick(random, ['boolean', 'integer', 'array', 'object'])])],
});

const object: Maker = (random, depth, defs) => {
  const chosen = [...new Set(Array.from({ length: upTo(random, 5) }, () => pick(random, names)))];
  const made: { [keyword: string]: unknown } = {
    type: 'object',
    properties: Object.fromEntries(chosen.map((name) => [name, schema(random, depth - 1, defs)])),
  };
  if (chance(random, 0.7)) made.required = chosen.filter(() => chance(random, 0.5));
  if (chance(random, 0.4)) made.additionalProperties = false;
  else if (chance(random, 0.2)) made.additionalProperties = chance(random, 0.3) ? true : schema(random, depth - 1, defs);
  if (chance(random, 0.1)) made.minProperties = upTo(random, chosen.length);
  if (chance(random, 0.1))
    made.maxProperties = Math.max((made.required as string[] | undefined)?.length ?? 0, 1 + upTo(random, 3));
  return made;
};

const map: Maker = (random, depth, defs) => ({
  type: 'object',
  ...(chance(random, 0.5)
    ? { additionalProperties: schema(random, depth - 1, defs) }
    : { patternProperties: { '^[a-z]{1,3}$': schema(random, depth - 1, defs) }, additionalProperties: false }),
  ...(chance(random, 0.3) ? { minProperties: 1 } : {}),
  ...(chance(random, 0.3) ? { maxProperties: 1 + upTo(random, 3) } : {}),
});

const array: Maker = (random, depth, defs) => {
  const made: { [keyword: string]: unknown } = { type: 'array' };
  if (chance(random, 0.8)) made.items = chance(random, 0.05) ? false : schema(random, depth - 1, defs);
  if (chance(random, 0.3)) made.prefixItems = Array.from({ length: 1 + upTo(random, 2) }, () => schema(random, depth - 1, defs));
  const room = made.items === false ? ((made.prefixItems as unknown[] | undefined)?.length ?? 0) : 3;
  if (chance(random, 0.4)) made.minItems = upTo(random, room);
  if (chance(random, 0.4)) made.maxItems = ((made.minItems as number) ?? 0) + upTo(random, 4);
  return made;
};

const anyOf: Maker = (random, depth, defs) => ({
  anyOf: Array.from({ length: 2 + upTo(random, 1) }, () => schema(random, depth - 1, defs)),
});

const oneOf: Maker = (random, depth, defs) => ({
  oneOf: ['circle', 'square', 'line'].map((kind) => ({
    type: 'object',
    properties: { kind: { const: kind }, size: schema(random, depth - 1, defs) },
    required: ['kind'],
  })),
});

const allOf: Maker = (random, depth, defs) => ({
  allOf: [object(random, depth - 1, defs), { type: 'object', properties: { more: string(random, 0, defs) } }].map(
    ({ additionalProperties: _, maxProperties: __, ...rest }) => rest,
  ),
});

/** A definition, now and then one that holds itself. */
const ref: Maker = (random, depth, defs) => {
  const known = Object.keys(defs);
  if (known.length > 0 && chance(random, 0.4)) return { $ref: `#/$defs/${pick(random, known)}` };
  const name = `d${known.length}`;
  defs[name] = true; // holds the name
  defs[name] = chance(random, 0.3)
    ? {
        type: 'object',
        properties: { value: schema(random, depth - 1, defs), next: { anyOf: [{ type: 'null' }, { $ref: `#/$defs/${name}` }] } },
        required: ['next'],
      }
    : schema(random, depth - 1, defs);
  return { $ref: `#/$defs/${name}` };
};

import { child, unsupportedSchema } from './schema_problem';

/**
 * Formats as patterns. Each admits a part of what the format allows, never more, so that any validator agrees: no leap seconds, no
 * 29th of February, no comments in addresses, no two dashes in a row in a
 * host's name, which would make it the encoding of another.
 */
const octet = '(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])';
const fullDate =
  '[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))';
const partialTime = '([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?';
const fullTime = `${partialTime}(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])`;
const label = '[a-z0-9](-?[a-z0-9]){0,20}';
const host = `${label}(\\.${label}){1,3}`;

const formatPatterns: ReadonlyMap<string, string> = new Map(
  Object.entries({
    date: fullDate,
    time: fullTime,
    'date-time': `${fullDate}T${fullTime}`,
    duration: 'P([0-9]{1,4}D(T[0-9]{1,4}H)?|T[0-9]{1,4}H([0-9]{1,4}M)?|T[0-9]{1,4}M([0-9]{1,4}S)?|T[0-9]{1,4}S|[0-9]{1,4}W)',
    email: `[a-z0-9]+([._+-][a-z0-9]+){0,4}@${host}`,
    hostname: host,
    ipv4: `${octet}(\\.${octet}){3}`,
    ipv6: '([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}',
    uuid: '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}',
    uri: `https?://${host}(/[a-zA-Z0-9_.~-]+){0,8}/?(\\?[a-z0-9]+=[a-zA-Z0-9]+)?`,
  }).map(([name, pattern]) => [name, `^(${pattern})$`]),
);

type NumberFormat = { integer: boolean; least: number; most: number };

const whole = (least: number, most: number): NumberFormat => ({ integer: true, least, most });
const any: NumberFormat = { integer: false, least: Number.NEGATIVE_INFINITY, most: Number.POSITIVE_INFINITY };

/** Formats of numbers, as OpenAPI and generators of schemas name them. Of 64 bits the 15 digits that are written are a part. */
const numberFormats: ReadonlyMap<string, NumberFormat> = new Map([
  ...[8, 16, 32].flatMap((bits): [string, NumberFormat][] => [
    [`int${bits}`, whole(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)],
    [`uint${bits}`, whole(0, 2 ** bits - 1)],
  ]),
  ...['int', 'int64'].map((name): [string, NumberFormat] => [name, { ...any, integer: true }]),
  ...['uint', 'uint64'].map((name): [string, NumberFormat] => [name, whole(0, Number.POSITIVE_INFINITY)]),
  ...['float', 'double'].map((name): [string, NumberFormat] => [name, any]),
]);

/** What a format asks of a string; undefined where it speaks of numbers only. @throws EngineError 'unsupported-schema' */
export function stringFormat(format: string, pointer: string): string | undefined {
  const pattern = formatPatterns.get(format);
  if (pattern === undefined && !numberFormats.has(format)) throw unknownFormat(pointer);
  return pattern;
}

/** What a format asks of a number; undefined where it speaks of strings only. @throws EngineError 'unsupported-schema' */
export function numberFormat(format: string, pointer: string): NumberFormat | undefined {
  const found = numberFormats.get(format);
  if (!found && !formatPatterns.has(format)) throw unknownFormat(pointer);
  return found;
}

export const isNumberFormat = (format: unknown): boolean => numberFormats.has(format as string);

function unknownFormat(pointer: string) {
  const names = [...formatPatterns.keys(), ...numberFormats.keys()].join(', ');
  return unsupportedSchema(child(pointer, 'format'), `the formats are ${names}. Use pattern, minimum or maximum for another.`);
}

/**
 * Formats as patterns. Each admits a part of what the format allows, never more, so that any validator agrees: no leap seconds, no
 * 29th of February, no comments in addresses.
 */
const octet = '(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])';
const fullDate =
  '[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))';
const partialTime = '([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?';
const fullTime = `${partialTime}(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])`;
const label = '[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?';
const host = `${label}(\\.${label}){1,3}`;

export const formatPatterns: ReadonlyMap<string, string> = new Map(
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

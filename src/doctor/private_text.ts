/** A report is copied into bug trackers: no address, path, key or query may be in it, whoever's message it came from. */

const replacements: [RegExp, string][] = [
  [/\b(?:blob:|filesystem:)?[a-z][a-z0-9+.-]*:\/\/[^\s'"<>)]*/gi, '<address>'],
  [/\b(?:hf|sk|pk|gh[opsu])[_-][A-Za-z0-9_-]{8,}/g, '<key>'],
  [/\bBearer\s+\S+/gi, '<key>'],
  [/(^|[\s'"(=:])(?:~|\.{1,2})?\/(?:[\w.@~%+-]+\/)*[\w.@~%+-]+(?:\?[^\s'"<>)]*)?/g, '$1<path>'],
  [/\b[A-Za-z]:\\[^\s'"<>)]*/g, '<path>'],
  [/\?[\w-]+=[^\s'"<>)]*/g, '<query>'],
];

export function withoutAddresses(text: string): string {
  return replacements.reduce((clean, [pattern, by]) => clean.replace(pattern, by), text);
}

/** The same for every text within plain data. */
export function cleaned<T>(value: T): T {
  if (typeof value === 'string') return withoutAddresses(value) as T;
  if (Array.isArray(value)) return value.map(cleaned) as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, cleaned(each)])) as T;
}

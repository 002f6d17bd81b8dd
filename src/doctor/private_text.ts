/** A report is copied into bug trackers: no address, path, key or query may be in it, whoever's message it came from. Rather too much goes than too little. */

/** What addresses and paths do not go on after. */
const stop = String.raw`\s'"“”‘’<>)\]}`;
/** What may stand before a path; a letter or figure may not, so that 'tokens/s' stays. */
const before = String.raw`(^|[\s'"“”‘’<>()\[\]{},;:=|])`;
const segment = String.raw`[^${stop}\\/]+`;
/** Names of people and folders may have spaces, where a separator shows that they go on, or a capital under a home folder. */
const folders = String.raw`(?:${segment}(?: ${segment}){0,3}[\\/])*`;
const home = '(?:Users|home|Volumes)';
const last = String.raw`(?:(?<=${home}[\\/])${segment}(?: \p{Lu}[^${stop}\\/]*)*|${segment})?`;

const replacements: [RegExp, string][] = (
  [
    [String.raw`\b(?:blob:|filesystem:)?[a-z][a-z0-9+.-]*://[^${stop}]*`, '<address>'],
    [String.raw`\b(?:github_pat|glpat|hf|sk|pk|gh[oprsu])[_-][A-Za-z0-9_-]{8,}`, '<key>'],
    [String.raw`\bBearer\s+\S+`, '<key>'],
    // A host with a port or a path; versions as in 'Chrome/149.0.0.0' have a slash before them.
    [String.raw`(?<![\w/.])(?:localhost|\d{1,3}(?:\.\d{1,3}){3})(?::\d+|(?=/))(?:/[^${stop}]*)?`, '<address>'],
    [String.raw`(?<![\w/.-])(?:[\w-]+\.)+[a-z]{2,}(?::\d+)?/[^${stop}]+`, '<address>'],
    [String.raw`\[[0-9a-f]*:[0-9a-f:]+\](?::\d+|(?=/))(?:/[^${stop}]*)?`, '<address>'],
    [String.raw`(['"“‘])(?:(?:~|\.{1,2})?/|[a-z]:[\\/]|\\\\)[^'"“”‘’\n]+`, '$1<path>'],
    [String.raw`(?<!\w)[a-z]:[\\/]${folders}${last}`, '<path>'],
    [String.raw`\\\\${folders}${segment}`, '<path>'],
    [`${before}/(?=${home}/)${folders}${last}`, '$1<path>'],
    [String.raw`${before}(?:~|\.{1,2})?/(?:${segment}/)*${segment}`, '$1<path>'],
    [String.raw`\?[\w\-]+=[^${stop}]*`, '<query>'],
  ] as const
).map(([pattern, by]) => [new RegExp(pattern, 'giu'), by]);

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

import { EngineError } from '../errors';

/**
 * A model is one folder: what is opened in it is a plain name, whoever asks. `format/shard_index` refuses the same in an index,
 * with the entry's name; this is the last door before a URL or a path is built.
 */
export function checkFileName(name: string): void {
  const bad =
    name === '' ||
    name === '.' ||
    name.includes('..') ||
    /[/\\:\p{Cc}\p{Cf}\p{Cs}]/u.test(name) ||
    new TextEncoder().encode(name).byteLength > 255;
  if (bad) throw new EngineError('invalid-request', `${JSON.stringify(name.slice(0, 80))} is not a plain file name.`);
}

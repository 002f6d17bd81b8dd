/** `model.safetensors.index.json`: which file holds which tensor. */
import { EngineError } from '../errors';
import { JsonScanner } from './json_scanner';
import { MAX_TENSORS } from './safetensors';

/** The 397B model has 94 shards. */
export const MAX_SHARDS = 1000;
const MAX_NAME_BYTES = 1024;
const MAX_FILE_NAME_BYTES = 255;

/**
 * Tensor name -> file name, both as written. File names are plain: they never leave the model's own folder.
 * @throws EngineError 'format' naming the entry at fault.
 */
export function parseShardIndex(text: string): Map<string, string> {
  const fail = (problem: string) => new EngineError('format', `The shard index ${problem}.`);
  const json = new JsonScanner(new TextEncoder().encode(text), fail);
  const files = new Map<string, string>(); // one string per file name, not one per tensor
  let map: Map<string, string> | undefined;
  json.object('a key', MAX_NAME_BYTES, (key) => {
    if (key !== 'weight_map') return json.skipValue();
    if (map) throw fail('has two weight_map entries');
    const entries = new Map<string, string>();
    map = entries;
    json.object('a tensor name', MAX_NAME_BYTES, (tensor) => {
      if (entries.has(tensor)) throw fail(`lists ${JSON.stringify(tensor)} twice`);
      if (entries.size === MAX_TENSORS) throw fail(`lists more than ${MAX_TENSORS} tensors`);
      if (!json.atString()) throw fail(`gives no file name for ${JSON.stringify(tensor)}`);
      const file = json.string(`the file name for ${JSON.stringify(tensor)}`, MAX_FILE_NAME_BYTES * 6);
      if (!files.has(file)) {
        if (!isPlainFileName(file)) throw fail(`names the file ${JSON.stringify(file)}, which is not a plain file name`);
        if (files.size === MAX_SHARDS) throw fail(`names more than ${MAX_SHARDS} files`);
        files.set(file, file);
      }
      entries.set(tensor, files.get(file)!);
    });
  });
  json.end();
  if (!map) throw fail('has no weight_map');
  if (map.size === 0) throw fail('has an empty weight_map');
  return map;
}

/** No path, no `..`, no scheme or drive, nothing invisible, at most 255 bytes. storage/ checks again what it opens. */
export function isPlainFileName(name: string): boolean {
  if (name === '' || name === '.' || name.includes('..')) return false;
  if (/[/\\:\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/u.test(name) || /^\s|[\s.]$/u.test(name)) return false;
  return new TextEncoder().encode(name).byteLength <= MAX_FILE_NAME_BYTES;
}

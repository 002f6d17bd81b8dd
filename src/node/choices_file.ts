import { readFile, rename, writeFile } from 'node:fs/promises';
import type { ChoiceStore } from '../engine/tune';
import { EngineError } from '../errors';

/** What was measured of kernels, kept in a JSON file: for `--tune`. @throws EngineError 'format' where the file is something else. */
export async function openChoices(path: string): Promise<ChoiceStore> {
  const text = await readFile(path, 'utf8').catch(() => '{}');
  const known = new Map(Object.entries(parse(path, text)));
  return {
    get: async (key) => known.get(key),
    async set(key, name) {
      known.set(key, name);
      await writeFile(`${path}.part`, `${JSON.stringify(Object.fromEntries(known), null, 2)}\n`);
      await rename(`${path}.part`, path);
    },
  };
}

function parse(path: string, text: string): Record<string, string> {
  try {
    const json: unknown = JSON.parse(text);
    if (json !== null && typeof json === 'object' && Object.values(json).every((name) => typeof name === 'string'))
      return json as Record<string, string>;
  } catch {
    // said below
  }
  throw new EngineError('format', `--tune: ${path} is not what was kept there. Name another file, or delete it.`);
}

/**
 * Short texts by key, each a file of its own beside the models: `sluice/v1/<folder>/<hash of the key>`. What is damaged, or another key's, is
 * not there.
 */
import { opfsDirectory, type StoreDirectory } from './store/directory';
import { createXxh64, type Xxh64 } from './store/hash';
import { checkedJson, readCheckedJson, readSmallFile, writeSmallFile } from './store/small_file';

type Record = { key: string; text: string };

export class KeptTexts {
  private constructor(
    private readonly folder: StoreDirectory,
    private readonly hash: Xxh64,
  ) {}

  static async open(folder: StoreDirectory): Promise<KeptTexts> {
    return new KeptTexts(folder, await createXxh64());
  }

  async get(key: string): Promise<string | undefined> {
    const record = readCheckedJson(await readSmallFile(this.folder, this.#name(key)), this.hash) as Record | undefined;
    return record?.key === key ? record.text : undefined;
  }

  /** In place of what was there. @throws EngineError 'storage'. */
  async set(key: string, text: string): Promise<void> {
    await writeSmallFile(this.folder, this.#name(key), checkedJson({ key, text } satisfies Record, this.hash));
  }

  #name(key: string): string {
    return this.hash.of([new TextEncoder().encode(key)]);
  }
}

/** Of this origin, in a dedicated worker. @throws where a browser keeps nothing: a private window, an insecure address. */
export async function openKeptTexts(folder: string): Promise<KeptTexts> {
  const top = opfsDirectory(await navigator.storage.getDirectory());
  const v1 = await (await top.directory('sluice', { create: true }))!.directory('v1', { create: true });
  return KeptTexts.open((await v1!.directory(folder, { create: true }))!);
}

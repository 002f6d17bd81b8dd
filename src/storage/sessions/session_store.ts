/**
 * Saved sessions: what an engine must know to go on with a conversation, as plain data and bytes. One folder per session, named by a
 * hash of its id, beside the models:
 *
 *     sluice/v1/sessions/<key>/<n>.state   the bytes
 *                             /<n>.json    the record, with a hash of the state; written last, so there is never half a session
 *
 * The highest number with a whole record is the session. A new one is written beside the old one, which goes only then.
 */
import { EngineError } from '../../errors';
import type { StoreDirectory } from '../store/directory';
import { opfsDirectory } from '../store/directory';
import { createXxh64, type Xxh64 } from '../store/hash';
import { checkedJson, openPatiently, readCheckedJson, readSmallFile, writeAll, writeSmallFile } from '../store/small_file';

type Bytes = Uint8Array<ArrayBuffer>;

export type SessionInfo = { id: string; savedAt: number; bytes: number };

/** `state` is undefined where its file is damaged or gone. */
export type StoredSession<Facts> = SessionInfo & { facts: Facts; state: Bytes[] | undefined };

type StoredRecord = { format: 1; id: string; savedAt: number; facts: unknown; state: { lengths: number[]; hash: string } };

/** Sessions in `root`. Calls for one id must not overlap: the engine makes them one at a time, tabs by a lock around them. */
export class SessionStore<Facts> {
  private constructor(
    private readonly root: StoreDirectory,
    private readonly hash: Xxh64,
  ) {}

  static async open<Facts>(root: StoreDirectory): Promise<SessionStore<Facts>> {
    return new SessionStore<Facts>(root, await createXxh64());
  }

  /** Replaces what was saved under this id, once everything is written. @throws EngineError 'storage', for one where the disk is full. */
  async save(id: string, facts: Facts, state: readonly Bytes[], savedAt: number): Promise<SessionInfo> {
    const folder = (await this.root.directory(this.#key(id), { create: true }))!;
    const before = await numbersIn(folder);
    const number = Math.max(0, ...before) + 1;
    const record: StoredRecord = {
      format: 1,
      ...{ id, savedAt, facts },
      state: { lengths: state.map(({ byteLength }) => byteLength), hash: await this.hash.ofLong(state) },
    };
    try {
      await writeParts(folder, `${number}.state`, state);
      await writeSmallFile(folder, `${number}.json`, checkedJson(record, this.hash));
    } catch (error) {
      await removeQuietly(folder, number); // a full disk must not be fuller by half a session
      throw error;
    }
    for (const old of before) await removeQuietly(folder, old);
    return { id, savedAt, bytes: sum(record.state.lengths) };
  }

  /** @throws EngineError 'not-found'; 'storage' where no record of it is whole. */
  async read(id: string): Promise<StoredSession<Facts>> {
    const found = await this.#record(this.#key(id));
    if (!found) throw new EngineError('not-found', `There is no saved session '${id}'.`);
    const { record, folder, number } = found;
    const state = await this.#state(folder, number, record.state);
    return { ...infoOf(record), facts: record.facts as Facts, state };
  }

  /** Newest first; what is damaged is left out. */
  async list(): Promise<SessionInfo[]> {
    const sessions: SessionInfo[] = [];
    for (const { name, kind } of await this.root.list()) {
      if (kind !== 'directory') continue;
      const found = await this.#record(name).catch((error: unknown) => {
        if (error instanceof EngineError && error.code === 'storage') return undefined;
        throw error;
      });
      if (found) sessions.push(infoOf(found.record));
    }
    return sessions.sort((a, b) => b.savedAt - a.savedAt);
  }

  /** Nothing happens where there is none. */
  async delete(id: string): Promise<void> {
    await this.root.remove(this.#key(id));
  }

  #key(id: string): string {
    return this.hash.of([new TextEncoder().encode(id)]);
  }

  async #record(key: string): Promise<{ record: StoredRecord; folder: StoreDirectory; number: number } | undefined> {
    const folder = await this.root.directory(key);
    if (!folder) return undefined;
    const numbers = await numbersIn(folder);
    for (const number of numbers) {
      const record = readCheckedJson(await readSmallFile(folder, `${number}.json`), this.hash) as StoredRecord | undefined;
      if (record?.format === 1) return { record, folder, number };
    }
    const records = (await folder.list()).filter(({ name }) => name.endsWith('.json'));
    if (records.length === 0) return undefined; // a first save that never ended
    throw new EngineError('storage', 'The saved session is damaged, and so are the tokens it was made of. Delete it.');
  }

  async #state(folder: StoreDirectory, number: number, { lengths, hash }: StoredRecord['state']): Promise<Bytes[] | undefined> {
    const bytes = await readSmallFile(folder, `${number}.state`);
    if (!bytes || bytes.byteLength !== sum(lengths) || (await this.hash.ofLong([bytes])) !== hash) return undefined;
    let at = 0;
    return lengths.map((length) => {
      at += length;
      return bytes.subarray(at - length, at) as Bytes;
    });
  }
}

/** The store of this origin, in a dedicated worker; undefined where nothing can be kept. */
export async function openSessionStore<Facts>(): Promise<SessionStore<Facts> | undefined> {
  try {
    const top = opfsDirectory(await navigator.storage.getDirectory());
    const v1 = await (await top.directory('sluice', { create: true }))!.directory('v1', { create: true });
    const root = (await v1!.directory('sessions', { create: true }))!;
    (await openPatiently(v1!, 'probe', { create: true })).close();
    return await SessionStore.open<Facts>(root);
  } catch {
    return undefined; // a private window, an insecure address: as for models
  }
}

const sum = (lengths: readonly number[]): number => lengths.reduce((total, length) => total + length, 0);

const infoOf = ({ id, savedAt, state }: StoredRecord): SessionInfo => ({ id, savedAt, bytes: sum(state.lengths) });

/** Highest first. */
async function numbersIn(folder: StoreDirectory): Promise<number[]> {
  const numbers = (await folder.list()).map(({ name }) => Number(/^(\d+)\.(?:state|json)$/.exec(name)?.[1] ?? Number.NaN));
  return [...new Set(numbers.filter((number) => !Number.isNaN(number)))].sort((a, b) => b - a);
}

async function writeParts(folder: StoreDirectory, name: string, parts: readonly Bytes[]): Promise<void> {
  const file = await openPatiently(folder, name, { create: true });
  try {
    file.truncate(0);
    let at = 0;
    for (const part of parts) {
      await writeAll(file, name, part, at);
      at += part.byteLength;
    }
    file.flush();
    if (file.getSize() !== at)
      throw new EngineError('storage', `${name} could not be written whole: it has ${file.getSize()} bytes of ${at}.`);
  } finally {
    file.close();
  }
}

/** What is left over is written over or removed with the next save. */
async function removeQuietly(folder: StoreDirectory, number: number): Promise<void> {
  await folder.remove(`${number}.json`).catch(() => {});
  await folder.remove(`${number}.state`).catch(() => {});
}

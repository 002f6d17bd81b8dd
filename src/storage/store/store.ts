/**
 * The models of this origin. One folder per model, named by a hash of its key:
 *
 *     sluice/v1/models/<id>/used                        when it was last opened
 *                          /g<n>/manifest.json          written last; see generation.ts
 *                               /texts/<name>
 *                               /weights/<name>
 *                               /journal                 which chunks are present; see journal.ts
 *                               /seal.json               complete, and what the files were like then
 *
 * Locks: `use` is shared by all who have a model open and exclusive for who removes files; `write` is exclusive for who adds bytes.
 */
import { EngineError, throwIfAborted } from '../../errors';
import { hashOnDisk, readChunk } from './chunk_io';
import type { StoreDirectory } from './directory';
import { DownloadRun } from './download';
import { Entry } from './entry';
import { FilePool } from './file_pool';
import { currentGeneration, folder, Generation, generationNumbers, manifestFacts, sameModel } from './generation';
import { createXxh64, type Xxh64 } from './hash';
import { browserHost, type StoreHost } from './host';
import { Journal, readJournal } from './journal';
import type { Release } from './locks';
import { DisassembledChunks, originSource } from './origin_map';
import { readSmallFile, writeSmallFile } from './small_file';
import { pauseMs } from './turns';
import type { DownloadOptions, ModelStore, StoreChunk, StoredModelInfo, StoreEntry, StoreManifest, Verified } from './types';

const USED = 'used';
/** Another tab that makes the same model needs this long at most, ms. */
const CREATE_LIMIT_MS = 20_000;

/**
 * The store of this origin, in a dedicated worker. undefined where nothing can be kept: a private window, an insecure address, a page
 * thread.
 */
export async function openModelStore(host?: StoreHost): Promise<ModelStore | undefined> {
  const found = host ?? (await browserHost());
  return found && new Store(found, await createXxh64());
}

class Store implements ModelStore {
  private readonly entries = new Set<Entry>();
  private closed = false;

  constructor(
    private readonly host: StoreHost,
    private readonly hash: Xxh64,
  ) {}

  async list(): Promise<StoredModelInfo[]> {
    this.checkOpen();
    const held = await this.host.locks.held();
    const models: StoredModelInfo[] = [];
    for (const { name: id, kind } of await this.host.root.list()) {
      if (kind !== 'directory') continue;
      const model = await this.host.root.directory(id);
      const generation = model && (await currentGeneration(model, this.hash));
      if (generation) models.push(await this.describe(id, model, generation, held));
      else if (model) await this.removeDebris(id);
    }
    return models.sort((a, b) => b.lastUsedAt - a.lastUsedAt);
  }

  private async describe(
    id: string,
    model: StoreDirectory,
    generation: Generation,
    held: Map<string, number>,
  ): Promise<StoredModelInfo> {
    const { key, label, revision, layoutVersion, createdAt } = generation.facts;
    const seal = await generation.readSealFile();
    const stored = seal ? undefined : (await readJournal(generation.directory, this.hash)).storedBytes();
    const own = [...this.entries].filter((entry) => entry.id === id).length;
    return {
      ...{ id, key, model: label, revision, layoutVersion, createdAt },
      storedBytes: stored === undefined ? generation.totalBytes : generation.textBytes + stored,
      totalBytes: generation.totalBytes,
      complete: seal !== undefined,
      verified: seal?.verified ?? 'unknown',
      lastUsedAt: (await readUsed(model)) ?? createdAt,
      inUse: (held.get(useLock(id)) ?? 0) > own,
    };
  }

  async find(key: string, signal?: AbortSignal): Promise<Entry | undefined> {
    this.checkOpen();
    const id = this.idOf(key);
    const release = await this.host.locks.take(useLock(id), 'shared', { wait: true, signal });
    throwIfAborted(signal);
    try {
      const model = await this.host.root.directory(id);
      const generation = model && (await currentGeneration(model, this.hash));
      if (generation?.facts.key !== key) {
        release!();
        return undefined;
      }
      await this.removeOldGenerations(id, model!, generation);
      const { complete, verified } = await this.check(id, generation, signal);
      await writeUsed(model!);
      return this.enter(id, generation, complete, verified, release!);
    } catch (error) {
      release!();
      throw error;
    }
  }

  private enter(id: string, generation: Generation, complete: boolean, verified: Verified, release: Release): Entry {
    const { host } = this;
    const onClose = (entry: Entry) => void this.entries.delete(entry);
    const entry = new Entry({ id, host, generation, complete, verified, writeLock: writeLock(id), release, onClose });
    this.entries.add(entry);
    return entry;
  }

  /** Files that changed since the seal are hashed; what is damaged leaves the journal, and with it the model is incomplete. */
  private async check(
    id: string,
    generation: Generation,
    signal?: AbortSignal,
  ): Promise<{ complete: boolean; verified: Verified }> {
    const seal = await generation.readSeal();
    if (!seal) return { complete: false, verified: 'unknown' };
    const { verified } = seal;
    if (seal.touched.size === 0) return { complete: true, verified };
    const release = await this.host.locks.take(writeLock(id), 'exclusive', { wait: false });
    // Whoever writes right now checks it too.
    if (!release) return { complete: false, verified };
    try {
      const complete = await this.hashTouched(generation, seal.touched, seal.chunks, signal);
      if (complete) await generation.writeSeal(verified, seal.chunks);
      else await generation.breakSeal();
      return { complete, verified };
    } finally {
      release();
    }
  }

  private async hashTouched(
    generation: Generation,
    touched: ReadonlySet<string>,
    chunks: number,
    signal?: AbortSignal,
  ): Promise<boolean> {
    const journal = await Journal.open(generation.directory, this.hash);
    const pool = new FilePool(generation.weights);
    try {
      const hash = await createXxh64();
      let whole = journal.state.present.size === chunks;
      for (const [id, known] of [...journal.state.present]) {
        if (!known.targets.some(({ file }) => touched.has(file))) continue;
        if ((await hashOnDisk(pool, known.targets, hash, signal)) === known.hash) continue;
        journal.append({ dropped: id });
        whole = false;
      }
      return whole;
    } finally {
      journal.close();
      await pool.close();
    }
  }

  async create(manifest: StoreManifest): Promise<StoreEntry> {
    this.checkOpen();
    const facts = manifestFacts(manifest, this.hash);
    const id = this.idOf(manifest.key);
    for (const deadline = Date.now() + CREATE_LIMIT_MS; ; ) {
      const existing = await this.find(manifest.key);
      if (existing && sameModel(existing.generation.facts, facts)) return existing;
      await existing?.close();
      const release = await this.host.locks.take(writeLock(id), 'exclusive', { wait: false });
      if (!release) {
        // Another tab makes it right now, or downloads another form of it.
        if (existing || Date.now() > deadline) throw inUse(manifest.label);
        await pauseMs(100);
        continue;
      }
      try {
        await this.replace(id, manifest);
      } finally {
        release();
      }
    }
  }

  /** With the write lock held. */
  private async replace(id: string, manifest: StoreManifest): Promise<void> {
    const model = (await this.host.root.directory(id, { create: true }))!;
    const current = await currentGeneration(model, this.hash);
    // Made by another tab between our look and our lock: the caller looks again.
    if (current && sameModel(current.facts, manifestFacts(manifest, this.hash))) return;
    const release = await this.host.locks.take(useLock(id), 'exclusive', { wait: false });
    if (!release) throw inUse(manifest.label);
    try {
      // The old one goes first: two would need the space of both.
      for (const number of await generationNumbers(model)) await model.remove(folder(number));
      const number = (current?.number ?? 0) + 1;
      await (await Generation.create(model, number, manifest, this.hash)).publish();
    } finally {
      release();
    }
  }

  async delete(id: string): Promise<void> {
    this.checkOpen();
    const model = await this.host.root.directory(id);
    if (!model) throw new EngineError('not-found', 'There is no such stored model.');
    const label = (await currentGeneration(model, this.hash))?.facts.label ?? 'This model';
    const removed = await this.withModelLocked(id, () => removePatiently(this.host.root, id));
    if (!removed) throw inUse(label);
  }

  async migrate(
    from: StoreEntry,
    oldChunks: readonly StoreChunk[],
    manifest: StoreManifest,
    chunks: readonly StoreChunk[],
    options: Pick<DownloadOptions, 'signal' | 'onProgress'> = {},
  ): Promise<StoreEntry> {
    const entry = from as Entry;
    const { id, generation: old, complete } = entry;
    if (manifest.key !== old.facts.key) throw new EngineError('internal', 'A migration keeps the key.');
    if (!complete) throw new EngineError('storage', `${old.facts.label} is not completely stored, so it cannot be rewritten.`);
    await entry.close();
    const done = await this.withModelLocked(id, async () => {
      const model = (await this.host.root.directory(id))!;
      await this.rewrite(id, model, old, oldChunks, manifest, chunks, options);
    });
    if (!done) throw inUse(old.facts.label);
    return (await this.find(manifest.key))!;
  }

  private async rewrite(
    id: string,
    model: StoreDirectory,
    old: Generation,
    oldChunks: readonly StoreChunk[],
    manifest: StoreManifest,
    chunks: readonly StoreChunk[],
    options: DownloadOptions,
  ): Promise<void> {
    const number = old.number + 1;
    await model.remove(folder(number));
    const pools: FilePool[] = [new FilePool(old.weights)];
    try {
      const next = await Generation.create(model, number, manifest, this.hash);
      pools.push(new FilePool(next.weights));
      const stored = new DisassembledChunks(oldChunks, (index, buffer) => readChunk(pools[0]!, oldChunks[index]!, buffer));
      const readText = cached((name) => old.readText(name));
      const origin = (o: StoreManifest['origins'][number]) => originSource(o, oldChunks, stored, readText);
      const sources = new Map(old.facts.origins.map((o) => [o.file, origin(o)]));
      const verifiedBefore = (await old.readSealFile())?.verified ?? 'unknown';
      await this.copyMatches(old, next);
      const context = { id, generation: next, pool: pools[1]!, host: this.host, lockName: undefined, verifiedBefore };
      // One at a time: old chunks are disassembled whole, and two are kept.
      await new DownloadRun({ ...context, onComplete: () => {} }, chunks, sources, { ...options, connections: 1 }).done;
      await pools[1]!.close();
      await next.publish();
    } catch (error) {
      for (const pool of pools) await pool.close();
      await removePatiently(model, folder(number)).catch(() => {});
      throw error;
    }
    await pools[0]!.close();
    await removePatiently(model, folder(old.number));
  }

  private async copyMatches(old: Generation, next: Generation): Promise<void> {
    const { matched } = await readJournal(old.directory, this.hash);
    const journal = await Journal.open(next.directory, this.hash);
    for (const file of matched) journal.append({ matched: file });
    journal.close();
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await Promise.all([...this.entries].map((entry) => entry.close()));
    this.host.close();
  }

  /** false where somebody has the model open, in this tab or another. */
  private async withModelLocked(id: string, work: () => Promise<void>): Promise<boolean> {
    const write = await this.host.locks.take(writeLock(id), 'exclusive', { wait: false });
    if (!write) return false;
    const use = await this.host.locks.take(useLock(id), 'exclusive', { wait: false });
    try {
      if (use) await work();
      return use !== undefined;
    } finally {
      use?.();
      write();
    }
  }

  /** What a replacement or migration that was cut off left behind. With the shared lock held. */
  private async removeOldGenerations(id: string, model: StoreDirectory, current: Generation): Promise<void> {
    const others = (await generationNumbers(model)).filter((number) => number !== current.number);
    if (others.length === 0) return;
    const release = await this.host.locks.take(writeLock(id), 'exclusive', { wait: false });
    if (!release) return;
    for (const number of others) await model.remove(folder(number)).catch(() => {});
    release();
  }

  /** A folder without a manifest, unless somebody is making it. */
  private async removeDebris(id: string): Promise<void> {
    await this.withModelLocked(id, async () => {
      const model = await this.host.root.directory(id);
      if (model && !(await currentGeneration(model, this.hash))) await this.host.root.remove(id);
    }).catch(() => {});
  }

  private idOf(key: string): string {
    return this.hash.of([new TextEncoder().encode(key)]);
  }

  private checkOpen(): void {
    if (this.closed) throw new EngineError('storage', 'The model store was used after it was closed.');
  }
}

const useLock = (id: string) => `sluice/v1/${id}/use`;
const writeLock = (id: string) => `sluice/v1/${id}/write`;

function inUse(label: string): EngineError {
  return new EngineError('storage', `${label} is open in another tab or engine. Close it there and try again.`);
}

/** Again for a second while a handle of a tab that just ended is still open. */
async function removePatiently(directory: StoreDirectory, name: string): Promise<void> {
  for (const pause of [50, 150, 300, 600]) {
    try {
      return await directory.remove(name);
    } catch {
      await pauseMs(pause);
    }
  }
  await directory.remove(name);
}

/** Two tabs may write it at the same time; losing one of the two is no harm. */
async function writeUsed(model: StoreDirectory): Promise<void> {
  await writeSmallFile(model, USED, new TextEncoder().encode(String(Date.now()))).catch(() => {});
}

async function readUsed(model: StoreDirectory): Promise<number | undefined> {
  const bytes = await readSmallFile(model, USED).catch(() => undefined);
  const time = Number(new TextDecoder().decode(bytes ?? new Uint8Array(0)));
  return time > 0 ? time : undefined;
}

/** The last text is asked for again and again. */
function cached(read: (name: string) => Promise<Uint8Array>): (name: string) => Promise<Uint8Array> {
  let last: { name: string; bytes: Promise<Uint8Array> } | undefined;
  return (name) => {
    if (last?.name !== name) last = { name, bytes: read(name) };
    return last.bytes;
  };
}

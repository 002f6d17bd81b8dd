/**
 * One download, from the write lock to the seal: several loops fetch, one checks what a former run left, one hashes the originals;
 * all share the board. Whatever moment it ends at, a chunk is either journaled and whole or will be fetched again.
 */
import { abortError, EngineError, isAbort, throwIfAborted } from '../../errors';
import { wasmAllowed } from '../../wasm';
import { ChunkBoard, targetBytes } from './board';
import { assemble, checkChunks, fetchChunk, hashOnDisk, OpenSources, planFetch, type Run, writeChunk } from './chunk_io';
import type { FilePool } from './file_pool';
import { followUntilFree } from './follow';
import { freeBuffer } from './free_buffer';
import type { Generation } from './generation';
import { createXxh64, type Xxh64 } from './hash';
import { checkSpace, type StoreHost, size } from './host';
import { HubHash } from './hub_hash';
import { chunkId, Journal } from './journal';
import type { Release } from './locks';
import { DiskFull } from './small_file';
import { giveWay } from './turns';
import type { Download, DownloadOptions, DownloadProgress, DownloadState, StoreChunk, StoreSources, Verified } from './types';

const CONNECTIONS = 6;
const MEMORY_BYTES = 24 << 20;
const PROGRESS_MS = 100;
const ANNOUNCE_MS = 200;
const NO_WASM =
  "This page's Content-Security-Policy allows no WebAssembly ('wasm-unsafe-eval'), so files are not compared with the hub's sha256";

export type DownloadContext = {
  id: string;
  generation: Generation;
  pool: FilePool;
  host: StoreHost;
  /** Of the write lock; undefined where the caller holds it. */
  lockName: string | undefined;
  /** The bytes come from a store that was compared already. */
  verifiedBefore?: Verified;
  onComplete(verified: Verified): void;
  /** The seal is broken: a check or a repair begins. */
  onIncomplete?(): void;
};

export class DownloadRun implements Download {
  readonly done: Promise<void>;
  /** Settles when the board can be asked; never rejects. */
  readonly started: Promise<void>;
  board: ChunkBoard | undefined;
  /** Why it ended, for reads that come later. */
  failure: { error: unknown } | undefined;
  private state: DownloadState = 'checking';
  private readonly main = new AbortController();
  /** Of the requests in flight; a pause ends one and begins the next. */
  private round = new AbortController();
  private paused = false;
  private readonly bell = new Bell();
  private readonly sources: OpenSources;
  private journal!: Journal;
  private hub: HubHash | undefined;
  private hubDone = false;
  /** Hashes that give way need a state each: one for storing, one for checking, one for reading back. */
  private hashes!: { store: Xxh64; check: Xxh64; hub: Xxh64 };
  private storing: Promise<void> = Promise.resolve();
  private assembled = new Uint8Array(0);
  private fetchedBytes = 0;
  private warning: string | undefined;
  private lastProgress = 0;
  private lastAnnounced = 0;

  constructor(
    private readonly context: DownloadContext,
    private readonly chunks: readonly StoreChunk[],
    sources: StoreSources,
    private readonly options: DownloadOptions,
  ) {
    this.sources = new OpenSources(sources, context.generation.facts.origins, this.main.signal);
    this.main.signal.addEventListener('abort', () => {
      this.round.abort();
      this.bell.ring();
    });
    const { signal } = options;
    const onAbort = () => this.main.abort();
    if (signal?.aborted) this.main.abort();
    signal?.addEventListener('abort', onAbort);
    this.started = this.prepare();
    this.done = this.run().finally(() => signal?.removeEventListener('abort', onAbort));
    this.done.catch(() => {});
  }

  get ended(): boolean {
    return this.state === 'complete' || this.state === 'failed';
  }

  pause(): void {
    if (this.paused || this.ended) return;
    this.paused = true;
    this.round.abort();
    this.round = new AbortController();
    this.report(true);
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.bell.ring();
    this.report(true);
  }

  /** Ends it like an abort does. */
  async stop(): Promise<void> {
    this.main.abort();
    await this.done.catch(() => {});
  }

  progress(): DownloadProgress {
    const { board, hub } = this;
    const ended = this.state === 'complete' || this.state === 'failed' || this.state === 'following';
    return {
      state: this.paused && !ended ? 'paused' : this.state,
      storedBytes: board?.storedBytes ?? 0,
      totalBytes: board?.totalBytes ?? this.chunks.reduce((sum, chunk) => sum + targetBytes(chunk), 0),
      fetchedBytes: this.fetchedBytes,
      hashedBytes: hub?.hashedBytes ?? 0,
      hashBytes: hub?.hashBytes ?? 0,
      ...(this.warning === undefined ? {} : { warning: this.warning }),
    };
  }

  private async prepare(): Promise<void> {
    try {
      checkChunks(this.chunks, this.context.generation.facts);
      const { hash } = this.context.generation;
      const ids: string[] = [];
      for (const chunk of this.chunks) {
        await giveWay();
        ids.push(chunkId(chunk, hash));
      }
      const board = new ChunkBoard(this.chunks, ids);
      board.listeners.add(() => this.bell.ring());
      this.board = board;
    } catch (error) {
      this.failure = { error };
    }
  }

  private async run(): Promise<void> {
    let release: Release | undefined;
    try {
      await this.started;
      if (this.failure) throw this.failure.error;
      release = await this.takeLock();
      throwIfAborted(this.main.signal);
      await this.write();
      this.setState('complete');
    } catch (error) {
      const failure = this.failureOf(error);
      this.failure = { error: failure };
      this.state = 'failed';
      this.board?.fail(failure);
      throw failure;
    } finally {
      this.context.pool.mode = 'read';
      await this.context.pool.closeHandles();
      this.sources.close();
      release?.();
      this.context.host.announce(this.context.id);
      this.report(true);
    }
  }

  private async takeLock(): Promise<Release | undefined> {
    const { id, host, pool, lockName, generation } = this.context;
    if (lockName === undefined) return undefined;
    const free = await host.locks.take(lockName, 'exclusive', { wait: false });
    if (free) return free;
    pool.mode = 'follow';
    await pool.closeHandles();
    this.setState('following');
    const { directory, hash } = generation;
    return followUntilFree({
      ...{ host, id, lockName, directory, hash, board: this.board!, signal: this.main.signal },
      onChange: () => this.report(),
    });
  }

  /** With the write lock held. */
  private async write(): Promise<void> {
    const { generation, pool, onComplete } = this.context;
    const seal = await generation.readSeal();
    if (seal && seal.touched.size === 0 && this.options.verify !== 'full') {
      this.trustAll();
      return onComplete(seal.verified);
    }
    this.setState('checking');
    await pool.closeHandles();
    pool.mode = 'write';
    const [store, check, hub] = await Promise.all([createXxh64(), createXxh64(), createXxh64()]);
    this.hashes = { store, check, hub };
    this.journal = await Journal.open(generation.directory, generation.hash);
    try {
      if (seal) await generation.breakSeal();
      this.context.onIncomplete?.();
      this.takeStock(this.options.verify === 'full' ? undefined : seal?.touched);
      this.warning = await checkSpace(this.context.host, this.missingBytes());
      if (this.uncomparable()) this.warning ??= NO_WASM;
      await this.runLoops();
      await this.finishFiles();
      freeBuffer(this.assembled);
    } finally {
      this.journal.close();
    }
    const verified = this.context.verifiedBefore ?? this.hub!.verified();
    pool.mode = 'read';
    await pool.closeHandles();
    await generation.writeSeal(verified, this.journal.state.present.size);
    onComplete(verified);
  }

  private trustAll(): void {
    const board = this.board!;
    for (const index of this.chunks.keys()) if (!board.isPresent(index)) board.present(index, '');
  }

  /** What the journal says, against the chunks asked for. `touched` undefined: nothing vouches for the files. */
  private takeStock(touched: ReadonlySet<string> | undefined): void {
    const board = this.board!;
    const { present } = this.journal.state;
    const wanted = new Set(board.ids);
    // Chunks of another list would be overwritten without their lines knowing.
    for (const id of [...present.keys()]) if (!wanted.has(id)) this.journal.append({ dropped: id });
    for (const [index, id] of board.ids.entries()) {
      const known = present.get(id);
      if (!known) board.missing(index);
      else if (touched && !known.targets.some(({ file }) => touched.has(file))) board.present(index, known.hash);
      else board.unchecked(index, known.hash);
    }
  }

  private missingBytes(): number {
    const { present } = this.journal.state;
    const ids = this.board!.ids;
    return this.chunks.reduce((sum, chunk, i) => sum + (present.has(ids[i]!) ? 0 : targetBytes(chunk)), 0);
  }

  /** Until everything is present and compared, or something failed; nothing runs on afterwards. */
  private async runLoops(): Promise<void> {
    const { generation, pool } = this.context;
    const compared = this.context.verifiedBefore !== undefined;
    this.hub = new HubHash({
      origins: compared || this.uncomparable() ? [] : generation.facts.origins,
      board: this.board!,
      journal: this.journal,
      pool,
      hash: this.hashes.hub,
      readText: (name) => generation.readText(name),
      ...(this.options.verify === 'full' ? { fetchGap: (file, at, into) => this.fetchRange(file, at, into) } : {}),
      onDamaged: (index) => this.drop(index),
    });
    const loops = [this.checkLoop(), this.hubLoop(), ...this.fetchLoops()];
    try {
      await Promise.all(loops);
    } catch (error) {
      this.main.abort();
      await Promise.allSettled(loops);
      throw error;
    }
  }

  /** The hub's sha256 would be known, but hashing whole files takes WebAssembly. @throws EngineError 'unsupported' where that was asked for */
  private uncomparable(): boolean {
    if (wasmAllowed() || this.context.verifiedBefore !== undefined) return false;
    if (this.options.verify === 'full') throw new EngineError('unsupported', `verify: 'full' cannot work here. ${NO_WASM}.`);
    return this.context.generation.facts.origins.some(({ sha256 }) => sha256 !== undefined);
  }

  private get finished(): boolean {
    return this.hubDone && this.board!.allPresent;
  }

  /** `buffer` holds any chunk as it is fetched. */
  private async fetchLoop(buffer: Uint8Array): Promise<void> {
    const board = this.board!;
    while (!this.finished) {
      throwIfAborted(this.main.signal);
      const index = this.paused ? undefined : board.toFetch.peek();
      if (index === undefined) {
        await this.idle();
        continue;
      }
      if (this.state === 'checking') this.setState('downloading');
      board.busy(index);
      await this.fetch(index, buffer);
      this.report();
    }
    freeBuffer(buffer);
  }

  private async fetch(index: number, buffer: Uint8Array): Promise<void> {
    const chunk = this.chunks[index]!;
    const plan = planFetch(chunk.sources);
    const { signal } = this.round;
    try {
      const read = (run: Run, into: Uint8Array) => this.sources.read(run.file, run.byteOffset, into, signal);
      const fetched = await fetchChunk(chunk, plan, read, buffer);
      this.fetchedBytes += plan.byteLength;
      await this.inTurn(() => this.store(index, fetched));
    } catch (error) {
      if (!this.isPause(error, signal)) throw error;
      this.board!.missing(index);
    }
  }

  private isPause(error: unknown, round: AbortSignal): boolean {
    return isAbort(error) && round.aborted && !this.main.signal.aborted;
  }

  /** As many as are wanted, unless chunks are so large that their buffers would exceed the bound. */
  private fetchLoops(): Promise<void>[] {
    const { connections = CONNECTIONS, memoryBytes = MEMORY_BYTES } = this.options;
    const largest = this.chunks.reduce((most, { sources }) => Math.max(most, planFetch(sources).byteLength), 1);
    const count = Math.max(1, Math.min(connections, Math.floor(memoryBytes / largest)));
    return Array.from({ length: count }, () => this.fetchLoop(new Uint8Array(largest)));
  }

  /** Until something happens. An abort that came since the caller looked rang the bell already, so it is looked at here. */
  private idle(): Promise<void> {
    throwIfAborted(this.main.signal);
    return this.bell.wait();
  }

  /** One chunk at a time is assembled, hashed and written: that bounds the memory, and the disk is one. */
  private inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.storing.then(work);
    this.storing = turn.catch(() => {});
    return turn;
  }

  private async store(index: number, fetched: readonly Uint8Array[]): Promise<void> {
    throwIfAborted(this.main.signal);
    const chunk = this.chunks[index]!;
    const id = this.board!.ids[index]!;
    const stored = assemble(chunk, fetched, (bytes) => this.room(bytes));
    const hash = await this.hashes.store.ofLong(stored);
    await this.writeOrMakeRoom(chunk, stored);
    const targets = chunk.targets.map((t): [string, number, number] => [t.file, t.byteOffset, t.byteLength]);
    const before = this.journal.state.dropped.get(id);
    this.journal.append({ present: id, hash, targets });
    if (before !== undefined && before !== hash) this.hub!.reset(chunk.sources.map(({ file }) => file));
    this.board!.present(index, hash);
    this.announce();
  }

  /** Chunks are stored one at a time, so one array serves them all; garbage of this size piles up. */
  private room(bytes: number): Uint8Array {
    if (this.assembled.byteLength < bytes) {
      freeBuffer(this.assembled);
      this.assembled = new Uint8Array(bytes);
    }
    return this.assembled.subarray(0, bytes);
  }

  private async writeOrMakeRoom(chunk: StoreChunk, stored: readonly Uint8Array[]): Promise<void> {
    const { pool } = this.context;
    try {
      await writeChunk(pool, chunk, stored);
    } catch (error) {
      if (!(error instanceof DiskFull)) throw error;
      // What Chrome reserved for the growth of other files comes back with their handles.
      await pool.closeHandles();
      await writeChunk(pool, chunk, stored);
    }
  }

  private async checkLoop(): Promise<void> {
    const board = this.board!;
    while (!this.finished) {
      throwIfAborted(this.main.signal);
      const index = board.toCheck.peek();
      if (index === undefined) {
        await this.idle();
        continue;
      }
      board.busy(index);
      const expected = board.hashOf(index)!;
      const found = await hashOnDisk(this.context.pool, this.chunks[index]!.targets, this.hashes.check, this.main.signal);
      if (found === expected) board.present(index, expected);
      else this.drop(index);
      this.report();
    }
  }

  private async hubLoop(): Promise<void> {
    const board = this.board!;
    while (!this.finished) {
      throwIfAborted(this.main.signal);
      const before = board.version;
      await this.hub!.advance(this.main.signal);
      this.hubDone = this.hub!.finished;
      if (board.allPresent && !this.hubDone) this.setState('verifying');
      this.bell.ring();
      if (!this.finished && board.version === before) await this.idle();
      this.report();
    }
    this.bell.ring();
  }

  private drop(index: number): void {
    this.journal.append({ dropped: this.board!.ids[index]! });
    this.board!.missing(index);
    this.bell.ring();
  }

  /** A range that is not stored. Waits while paused. */
  private async fetchRange(file: string, byteOffset: number, into: Uint8Array): Promise<void> {
    for (;;) {
      while (this.paused) {
        throwIfAborted(this.main.signal);
        await this.idle();
      }
      const { signal } = this.round;
      try {
        await this.sources.read(file, byteOffset, into, signal);
        this.fetchedBytes += into.byteLength;
        return;
      } catch (error) {
        if (!this.isPause(error, signal)) throw error;
      }
    }
  }

  /** Full lengths, where a file ends in bytes that no chunk holds. */
  private async finishFiles(): Promise<void> {
    const { generation, pool } = this.context;
    for (const { name, byteLength } of generation.facts.files) {
      await giveWay();
      await pool.withHandle(name, (handle) => {
        if (handle.getSize() === byteLength) return;
        handle.truncate(byteLength);
        handle.flush();
      });
    }
  }

  private failureOf(error: unknown): unknown {
    if (this.options.signal?.aborted) return abortError();
    if (!(error instanceof DiskFull)) return error;
    const needed = this.journal === undefined ? 0 : this.missingBytes();
    return new EngineError(
      'storage',
      `The disk, or the browser's share of it, is full: ${size(needed)} more are needed for ${this.context.generation.facts.label}. ` +
        'What has come so far is kept. Free space or delete a stored model, and load it again to go on.',
      { cause: error },
    );
  }

  private setState(state: DownloadState): void {
    if (this.state === state) return;
    this.state = state;
    this.report(true);
  }

  private report(now = false): void {
    const time = performance.now();
    if (!this.options.onProgress || (!now && time - this.lastProgress < PROGRESS_MS)) return;
    this.lastProgress = time;
    this.options.onProgress(this.progress());
  }

  private announce(): void {
    const time = performance.now();
    if (time - this.lastAnnounced < ANNOUNCE_MS) return;
    this.lastAnnounced = time;
    this.context.host.announce(this.context.id);
  }
}

/** Wakes whoever waits; a ring that nobody waits for is lost, so look before you wait. */
class Bell {
  private waiting: (() => void)[] = [];

  ring(): void {
    for (const wake of this.waiting.splice(0)) wake();
  }

  wait(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve));
  }
}

/** An open stored model: its texts, its files, and at most one download. */
import { EngineError, throwIfAborted } from '../../errors';
import type { ByteSource } from '../byte_source';
import { checkOpen, checkRange } from '../range';
import { DownloadRun } from './download';
import { FilePool } from './file_pool';
import type { Generation } from './generation';
import type { StoreHost } from './host';
import type { Release } from './locks';
import type { Download, DownloadOptions, StoreChunk, StoreEntry, StoreSources, Verified } from './types';

export type OpenEntryOptions = {
  id: string;
  host: StoreHost;
  generation: Generation;
  complete: boolean;
  verified: Verified;
  writeLock: string;
  /** Of the shared lock. */
  release: Release;
  onClose(entry: Entry): void;
};

export class Entry implements StoreEntry {
  readonly id: string;
  readonly generation: Generation;
  readonly manifest: StoreEntry['manifest'];
  complete: boolean;
  verified: Verified;
  private readonly pool: FilePool;
  private run: DownloadRun | undefined;
  private closing: Promise<void> | undefined;

  constructor(private readonly options: OpenEntryOptions) {
    const { id, generation, complete, verified } = options;
    this.id = id;
    this.generation = generation;
    this.complete = complete;
    this.verified = verified;
    this.pool = new FilePool(generation.weights);
    const { format: _format, createdAt: _createdAt, texts, ...facts } = generation.facts;
    this.manifest = { ...facts, texts: texts.map(({ name }) => name) };
  }

  async readText(name: string): Promise<Uint8Array> {
    this.checkOpen();
    return this.generation.readText(name);
  }

  async open(file: string): Promise<ByteSource> {
    this.checkOpen();
    const fact = this.generation.facts.files.find(({ name }) => name === file);
    if (!fact) throw new EngineError('not-found', `The stored model has no file ${file}.`);
    let closed = false;
    const source: ByteSource = {
      label: file,
      size: fact.byteLength,
      read: async (byteOffset, into, signal) => {
        throwIfAborted(signal);
        checkOpen(file, closed);
        checkRange(source, byteOffset, into.byteLength);
        if (into.byteLength === 0) return;
        if (!this.complete) await this.ready(file, byteOffset, byteOffset + into.byteLength, signal);
        await this.pool.read(file, byteOffset, into, signal);
      },
      close: () => {
        closed = true;
      },
    };
    return source;
  }

  download(chunks: readonly StoreChunk[], sources: StoreSources, options: DownloadOptions = {}): Download {
    this.checkOpen();
    if (this.run && !this.run.ended) {
      throw new EngineError('invalid-request', `${this.manifest.label} is being downloaded already.`);
    }
    const { id, host, generation, writeLock } = this.options;
    const { pool } = this;
    const onComplete = (verified: Verified) => {
      this.complete = true;
      this.verified = verified;
    };
    const onIncomplete = () => {
      this.complete = false;
    };
    const context = { id, generation, pool, host, lockName: writeLock, onComplete, onIncomplete };
    this.run = new DownloadRun(context, chunks, sources, options);
    return this.run;
  }

  close(): Promise<void> {
    this.closing ??= this.end();
    return this.closing;
  }

  private async end(): Promise<void> {
    // Reads stop first: the download's own end waits for them.
    const closed = this.pool.close();
    await this.run?.stop();
    await closed;
    this.options.release();
    this.options.onClose(this);
  }

  /** Waits where a download runs. @throws its error; EngineError 'storage' where none could bring the bytes. */
  private async ready(file: string, start: number, end: number, signal?: AbortSignal): Promise<void> {
    const { run } = this;
    await run?.started;
    throwIfAborted(signal);
    if (run?.board) return run.board.ready(file, start, end, signal);
    throw (
      run?.failure?.error ??
      new EngineError(
        'storage',
        `${this.manifest.label} is not completely stored. Load it again, so that the rest is downloaded.`,
      )
    );
  }

  private checkOpen(): void {
    if (this.closing) throw new EngineError('storage', `${this.manifest.label} was used after it was closed.`);
  }
}

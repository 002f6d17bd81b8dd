/** An open model of the store, with the download that completes it where it is not all there. */
import { abortError, EngineError } from '../errors';
import type { StoreIndex } from '../plan/blocks';
import type { StoreFile } from '../plan/store_layout';
import type { ByteSource } from '../storage/byte_source';
import { DiskFull } from '../storage/store/small_file';
import type { Download, DownloadProgress, DownloadState, ModelStore, StoreEntry, StoreSources } from '../storage/store/types';
import { availableBytes, isPersisted } from './disk_space';
import type { Sources } from './fill';
import type { DiskUse, ModelSource, ModelSourceOptions } from './model_source';
import { NetworkFiles } from './network_files';
import { networkReads } from './network_reads';
import type { OpenedCheckpoint } from './open_checkpoint';
import { storeChunks } from './store_chunks';

/** The store, not the model or the network, is what failed. */
export class StoreFailed extends Error {
  constructor(readonly why: string) {
    super(why);
  }
}

export const networkInstead = (why: string): string => `${why} Weights that are not stored come from the network each time.`;

/** The files that a model was made from, some open already or each opened when it is first needed. */
export class Originals {
  readonly #opened = new Map<string, Promise<ByteSource>>();

  constructor(readonly sources: StoreSources) {}

  get(file: string): Promise<ByteSource> {
    const { sources } = this;
    if (typeof sources !== 'function') return Promise.resolve(sources.get(file)!);
    const known = this.#opened.get(file);
    if (known) return known;
    const opening = sources(file);
    this.#opened.set(file, opening);
    opening.catch(() => this.#opened.delete(file));
    return opening;
  }

  close(): void {
    if (typeof this.sources !== 'function') for (const source of this.sources.values()) source.close();
    for (const opening of this.#opened.values()) void opening.then((source) => source.close()).catch(() => {});
  }
}

export type KeptParts = {
  store: ModelStore;
  entry: StoreEntry;
  checkpoint: OpenedCheckpoint;
  layout: { files: readonly StoreFile[]; index: StoreIndex };
  originals: Originals;
  /** Entries that this one stands in for once it is complete. */
  outdated: readonly string[];
  /** Nothing of it was stored before. */
  fresh: boolean;
  options: ModelSourceOptions;
  /** Called last when the model is closed. */
  onClosed?: (() => Promise<void>) | undefined;
};

export class KeptModel implements ModelSource {
  readonly label: string;
  readonly revision: string | undefined;
  readonly version: string;
  readonly checkpoint: OpenedCheckpoint;
  readonly stored: StoreIndex;
  readonly home = 'opfs';
  readonly download: Download | undefined;
  readonly #files = new Map<string, ByteSource>();
  readonly #parts: KeptParts;
  readonly #tidied: Promise<void>;
  /** Stands in for what a full disk could not take. */
  readonly #network: NetworkFiles | undefined;
  #noRoom: string | undefined;
  #state: DownloadState = 'checking';
  #stateChanged = () => {};

  /**
   * Starts the download where bytes are missing, unless `peek`.
   * @throws StoreFailed where a fresh one cannot even begin; EngineError; AbortError. `parts` stay the caller's then.
   */
  static async open(parts: KeptParts): Promise<KeptModel> {
    const model = new KeptModel(parts);
    if (parts.fresh) await model.#begun(parts.options.signal);
    await model.#openFiles();
    return model;
  }

  private constructor(parts: KeptParts) {
    const { entry, checkpoint, layout, originals, options } = parts;
    this.#parts = parts;
    this.label = entry.manifest.label;
    this.revision = entry.manifest.revision;
    this.version = entry.manifest.version ?? checkpoint.version;
    this.checkpoint = checkpoint;
    this.stored = layout.index;
    const wanted = !options.peek && (!entry.complete || options.verify === 'full');
    if (wanted) {
      const onProgress = (progress: DownloadProgress) => this.#note(progress);
      const verify = options.verify === 'full' ? ({ verify: 'full' } as const) : {};
      const chunks = storeChunks(layout.files);
      this.#network = new NetworkFiles(layout.files, this.#original(originals));
      this.download = entry.download(chunks, originals.sources, { onProgress, ...verify });
    }
    this.#tidied = this.#tidyUp();
  }

  get sources(): Sources {
    return this.#files;
  }

  get why(): string | undefined {
    return this.#noRoom === undefined ? undefined : networkInstead(this.#noRoom);
  }

  #note(progress: DownloadProgress): void {
    if (progress.state !== 'failed') this.#state = progress.state;
    this.#stateChanged();
    this.#parts.options.onDownload?.(progress);
  }

  /** When bytes are fetched, or another tab fetches them. Until then only the store can fail, or what was asked of it cannot be done here. */
  async #begun(signal: AbortSignal | undefined): Promise<void> {
    if (!this.download) return;
    const { done } = this.download;
    await new Promise<void>((resolve, reject) => {
      const onAbort = () => reject(abortError());
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#stateChanged = () => {
        if (this.#state === 'checking') return;
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      done.catch((error: unknown) => {
        const ofStore = error instanceof EngineError && error.code !== 'unsupported';
        reject(ofStore ? new StoreFailed(error.message) : error);
      });
      if (signal?.aborted) onAbort();
      this.#stateChanged();
    });
  }

  /** As tokens read them; a download reads a chunk at a time and takes the originals themselves. */
  #original(originals: Originals): (file: string) => Promise<ByteSource> {
    const opened = new Map<string, Promise<ByteSource>>();
    const reads = networkReads(this.checkpoint.tensors);
    return (file) => {
      const known = opened.get(file);
      if (known) return known;
      const opening = originals.get(file).then((source) => reads(file, source));
      opened.set(file, opening);
      opening.catch(() => opened.delete(file));
      return opening;
    };
  }

  async #openFiles(): Promise<void> {
    const { entry, layout } = this.#parts;
    for (const { name } of layout.files) {
      const stored = await entry.open(name);
      this.#files.set(name, this.#network?.behind(name, stored, isDiskFull) ?? stored);
    }
  }

  /** After the last byte. What another tab still has open goes next time. */
  async #tidyUp(): Promise<void> {
    try {
      await this.kept();
    } catch {
      return;
    }
    const { store, entry, outdated } = this.#parts;
    if (!entry.complete) return;
    for (const id of outdated) if (id !== entry.id) await store.delete(id).catch(() => {});
  }

  async kept(): Promise<void> {
    try {
      await this.download?.done;
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      this.#noRoom = error.message;
    }
  }

  async disk(): Promise<DiskUse> {
    const { store, entry } = this.#parts;
    const info = (await store.list()).find(({ id }) => id === entry.id);
    return {
      neededBytes: info?.totalBytes ?? 0,
      storedBytes: info?.storedBytes ?? 0,
      availableBytes: await availableBytes(),
      persisted: await isPersisted(),
    };
  }

  async close(): Promise<void> {
    for (const source of this.#files.values()) source.close();
    await this.#parts.entry.close();
    this.#parts.originals.close();
    for (const source of this.checkpoint.sources.values()) source.close();
    await this.#tidied;
    await this.#parts.onClosed?.();
  }
}

/** Of a download: what came is kept, and the rest has no place. */
function isDiskFull(error: unknown): error is EngineError {
  return error instanceof EngineError && error.cause instanceof DiskFull;
}

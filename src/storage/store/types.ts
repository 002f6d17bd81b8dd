/**
 * What the model store offers and what it is given: plain data about files, chunks and ranges. The store keeps bytes; which bytes,
 * in what order and how they are repacked is the caller's knowledge (`StoreChunk`).
 */
import type { ByteSource } from '../byte_source';

/** Bytes [byteOffset, byteOffset + byteLength) of one of the original files. */
export type SourceRange = { file: string; byteOffset: number; byteLength: number };

/** Bytes [byteOffset, byteOffset + byteLength) of one of the store's weight files. */
export type StoreTarget = { file: string; byteOffset: number; byteLength: number };

/**
 * One piece of a download: what to fetch, and where the (possibly repacked) bytes go in the store. At most CHUNK_LIMIT_BYTES on
 * either side; 4 MiB is a good size, because every connection holds one chunk in memory. Targets of different chunks do not
 * overlap; together they cover the files of the manifest without a gap that anybody will read.
 */
export type StoreChunk = {
  sources: readonly SourceRange[];
  targets: readonly StoreTarget[];
  /**
   * fetched: one array per source. Returns one array per target, of exactly its byteLength; views of `fetched` may be returned but
   * not kept, because its buffer is used again. Synchronous and pure; a few milliseconds at most.
   * `room` makes what memory the result needs beyond `fetched`, at a multiple of 4; it is called once at most. Default: a new array.
   */
  assemble(fetched: readonly Uint8Array[], room?: (bytes: number) => Uint8Array): Uint8Array[];
  /**
   * The inverse: one array per target in, one per source out. Needed for the sha256 of the original files and for migration.
   * `room` as for `assemble`.
   */
  disassemble(stored: readonly Uint8Array[], room?: (bytes: number) => Uint8Array): Uint8Array[];
};

/** A chunk holds at most this many source bytes and this many target bytes. */
export const CHUNK_LIMIT_BYTES = 8 << 20;

export type StoreOrigin = {
  file: string;
  byteLength: number;
  etag?: string;
  /** 64 hex digits, from the hub's tree listing. */
  sha256?: string;
  /**
   * The file's first `headerBytes` bytes are not in any chunk: they are kept as the text `headerText(file)`. 0: the chunks cover
   * the file from byte 0.
   */
  headerBytes: number;
};

export type StoreManifest = {
  /** What the model is found by: 'owner/name@revision asked for', or a URL without its query. */
  key: string;
  /** For people: 'owner/name' or a URL without its query. */
  label: string;
  /** The commit that a branch was resolved to. */
  revision?: string;
  /** See ModelSource.version. */
  version?: string;
  /** Of the arrangement of the weight files. The store compares it for nobody: the caller migrates where it is not its own. */
  layoutVersion: number;
  /** Small files, stored as they are: config.json, tokenizer.json, safetensors headers (`headerText`). Plain file names. */
  texts: Record<string, Uint8Array>;
  /** Weight files of the store: plain file names and their full lengths. */
  files: { name: string; byteLength: number }[];
  /** The original files that the chunks come from. */
  origins: StoreOrigin[];
};

/** Name in `texts` of the first `headerBytes` bytes of an original file. */
export function headerText(file: string): string {
  return `${file}.header`;
}

/** 'hub': every original's sha256 matched; 'partial': some ranges were skipped, so it could not be computed; 'unknown': no sha256 given. */
export type Verified = 'hub' | 'partial' | 'unknown';

/** One line of a storage panel. */
export type StoredModelInfo = {
  id: string;
  key: string;
  /** The manifest's label. */
  model: string;
  revision: string | undefined;
  layoutVersion: number;
  /** Bytes on disk now, texts included, and when complete. */
  storedBytes: number;
  totalBytes: number;
  complete: boolean;
  verified: Verified;
  /** Milliseconds since 1970. */
  createdAt: number;
  lastUsedAt: number;
  /** Another tab or engine has it open or is downloading it. */
  inUse: boolean;
};

/** The originals by file name; a function is asked once per file, when its first byte is needed, and its sources are closed. */
export type StoreSources = ReadonlyMap<string, ByteSource> | ((file: string, signal?: AbortSignal) => Promise<ByteSource>);

export type DownloadState =
  /** Bytes that a former run journaled are read and hashed; missing ones are fetched meanwhile. */
  | 'checking'
  | 'downloading'
  | 'paused'
  /** Another tab downloads this model; this one reads what it has stored, and takes over if it goes away. */
  | 'following'
  /** Everything is there; the sha256 of the originals is being finished. */
  | 'verifying'
  | 'complete'
  | 'failed';

export type DownloadProgress = {
  state: DownloadState;
  /** Bytes of the weight files that are present, and in all. */
  storedBytes: number;
  totalBytes: number;
  /** Bytes fetched by this run. */
  fetchedBytes: number;
  /** Bytes of the originals that went through sha256, and that will; 0 of 0 where nothing can be compared. */
  hashedBytes: number;
  hashBytes: number;
  /** A sentence for the user: the browser names less space than is needed, but does not name all that it grants. */
  warning?: string;
};

export type DownloadOptions = {
  /** Aborting ends the download and every waiting read with AbortError; what is stored stays. */
  signal?: AbortSignal;
  /** At most ten times a second. */
  onProgress?: (progress: DownloadProgress) => void;
  /** Chunks in flight at most. Default 6; fewer where chunks are large, see `memoryBytes`. */
  connections?: number;
  /** Bound on the buffers of chunks in flight, bytes. Default 24 MiB; one chunk is always allowed. */
  memoryBytes?: number;
  /** 'full': hash every stored chunk again, and fetch the ranges that no chunk holds, so that every sha256 can be compared. */
  verify?: 'full';
};

export interface Download {
  /**
   * Everything stored, compared and sealed. @throws EngineError 'storage' (network, disk full, sha256 mismatch); AbortError.
   * A handled promise: ignoring it is no unhandled rejection.
   */
  readonly done: Promise<void>;
  /** Ends the requests in flight at once; reads that wait go on waiting. */
  pause(): void;
  resume(): void;
  progress(): DownloadProgress;
}

/** A stored model that is open. Holds a shared lock until `close`, so nobody deletes it meanwhile. */
export interface StoreEntry {
  readonly id: string;
  /** The manifest without the texts' bytes. */
  readonly manifest: Omit<StoreManifest, 'texts'> & { texts: readonly string[] };
  /** Everything is stored and sealed. False too where a check at opening found damage: `download` repairs. */
  readonly complete: boolean;
  readonly verified: Verified;
  /** @throws EngineError 'not-found'; 'storage' where the stored copy is damaged (it was checked against its hash). */
  readText(name: string): Promise<Uint8Array>;
  /**
   * A weight file. While a download runs, `read` waits until the chunks that cover the range are present, and puts them first in
   * the queue; it fails with the download's error. A range that is missing while none runs is an EngineError 'storage'.
   * Reads are synchronous pieces of at most 4 MiB with other work let in between, into any Uint8Array, mapped GPU memory too.
   */
  open(file: string): Promise<ByteSource>;
  /** Starts or resumes; checks first what a former run left. One at a time. `chunks` in the order of use. */
  download(chunks: readonly StoreChunk[], sources: StoreSources, options?: DownloadOptions): Download;
  /** Ends a running download, closes every handle and lets the locks go. */
  close(): Promise<void>;
}

export interface ModelStore {
  list(): Promise<StoredModelInfo[]>;
  /** Opens a stored model, complete or not. A file that was touched since it was sealed is hashed again first. */
  find(key: string, signal?: AbortSignal): Promise<StoreEntry | undefined>;
  /**
   * Makes an empty model and opens it; opens the one that is there if another tab made it in the meantime with the same layout,
   * files and origins. One that differs is replaced. @throws EngineError 'storage' where that is in use, or nothing can be written.
   */
  create(manifest: StoreManifest): Promise<StoreEntry>;
  /** @throws EngineError 'storage' where it is in use, here or elsewhere; 'not-found'. */
  delete(id: string): Promise<void>;
  /**
   * Rewrites a complete model of another layout from its own bytes, into a new folder that takes the old one's place at the end.
   * Closes `entry` and returns the new one. An interruption at any moment leaves the old one whole. Nothing is downloaded.
   * @throws EngineError 'storage' where the model is open elsewhere, incomplete, or lacks bytes that the new layout needs.
   */
  migrate(
    entry: StoreEntry,
    oldChunks: readonly StoreChunk[],
    manifest: StoreManifest,
    chunks: readonly StoreChunk[],
    options?: Pick<DownloadOptions, 'signal' | 'onProgress'>,
  ): Promise<StoreEntry>;
  /** Closes every entry that this store opened. A page calls it (through its worker) on `pagehide`. */
  close(): Promise<void>;
}

/**
 * Bytes by range: everything the engine loads comes through this interface, whether it lies on a server, in OPFS, in a
 * file the user picked, or in memory. The caller owns the buffer, so whoever plans bounds the memory.
 */
export interface ByteSource {
  /** For messages: a file name or URL without credentials. */
  readonly label: string;
  /** Length in bytes. */
  readonly size: number;
  /** Strong validator of this content, as the server wrote it (quotes included); HTTP only, and only where it can be read. */
  readonly etag?: string | undefined;
  /**
   * Tells this content from another that lay in its place: a server's ETag, weak ones too, or Last-Modified, a file's date. Undefined
   * where nothing does.
   */
  readonly mark?: string | undefined;
  /**
   * Fills `into` with bytes [byteOffset, byteOffset + into.byteLength). Concurrent reads are allowed.
   * @throws EngineError 'storage' on a short read, a range past the end or a failed transfer; AbortError when cancelled.
   */
  read(byteOffset: number, into: Uint8Array, signal?: AbortSignal): Promise<void>;
  close(): void;
}

/** What someone other than the sender of the bytes says of a file. */
export type ExpectedFile = {
  /** Of the whole file, lower-case hex. */
  sha256?: string;
  byteLength?: number;
};

/** The files of one model, wherever they are. */
export interface ModelFiles {
  /** What the user asked for, for messages and the page. */
  readonly label: string;
  /** The commit that a branch was resolved to (hub references only). */
  readonly revision: string | undefined;
  /** See ModelSource.version, where it is known without opening a file. */
  readonly version?: string | undefined;
  /** @throws EngineError 'not-found' if there is no such file. */
  open(name: string, signal?: AbortSignal): Promise<ByteSource>;
  /** What the hub's listing says of a file; undefined where it does not know or cannot be asked. @throws AbortError only. */
  expected?(name: string, signal?: AbortSignal): Promise<ExpectedFile | undefined>;
  close(): void;
}

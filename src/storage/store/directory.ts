/**
 * The few file system calls that the store needs, so that its logic runs over OPFS and over a plain folder alike. File access is
 * synchronous once a file is open: a chunk's write, length check and journal entry then happen without anybody in between.
 */
import { EngineError } from '../../errors';
import { blobSource } from '../blob';
import type { ByteSource } from '../byte_source';
import { fileSystemError } from '../opfs';

/** What FileSystemSyncAccessHandle offers. Counts are as the platform gives them: check them. */
export interface StoreFile {
  getSize(): number;
  read(into: Uint8Array, options: { at: number }): number;
  write(bytes: Uint8Array, options: { at: number }): number;
  truncate(byteLength: number): void;
  flush(): void;
  close(): void;
}

export type FileStat = { byteLength: number; lastModified: number };

export interface StoreDirectory {
  /** undefined where there is none and `create` is not set. */
  directory(name: string, options?: { create?: boolean }): Promise<StoreDirectory | undefined>;
  list(): Promise<{ name: string; kind: 'file' | 'directory' }[]>;
  /** With everything in it; nothing happens where it does not exist. @throws EngineError 'storage' if something holds it. */
  remove(name: string): Promise<void>;
  /**
   * For reading and writing; exclusive outside Chrome.
   * @throws EngineError 'not-found'; 'storage' with a cause named NoModificationAllowedError where another tab has it open.
   */
  open(name: string, options?: { create?: boolean }): Promise<StoreFile>;
  /** Size and time of the last change; takes no lock. */
  stat(name: string): Promise<FileStat | undefined>;
  /** Reads without a lock; void once somebody writes to the file (EngineError 'storage'). @throws EngineError 'not-found'. */
  snapshot(name: string): Promise<ByteSource>;
}

/** `open` failed only because another tab or worker holds the file. */
export function isHeldElsewhere(error: unknown): boolean {
  return error instanceof EngineError && (error.cause as { name?: unknown } | undefined)?.name === 'NoModificationAllowedError';
}

type SyncFileHandle = FileSystemFileHandle & {
  createSyncAccessHandle(options?: { mode: 'readwrite-unsafe' }): Promise<StoreFile>;
};

/** The DOM library declares the iterator for some versions only. */
type Listing = AsyncIterable<[string, FileSystemHandle]>;

export function opfsDirectory(handle: FileSystemDirectoryHandle): StoreDirectory {
  const fileHandle = (name: string, create = false) => named(name, () => handle.getFileHandle(name, { create }));
  return {
    async directory(name, { create = false } = {}) {
      try {
        return opfsDirectory(await named(name, () => handle.getDirectoryHandle(name, { create })));
      } catch (error) {
        if (isNotFound(error)) return undefined;
        throw error;
      }
    },
    async list() {
      const found: { name: string; kind: 'file' | 'directory' }[] = [];
      for await (const [name, entry] of handle as unknown as Listing) found.push({ name, kind: entry.kind });
      return found;
    },
    async remove(name) {
      await named(name, () => handle.removeEntry(name, { recursive: true })).catch((error: unknown) => {
        if (!isNotFound(error)) throw error;
      });
    },
    async open(name, { create = false } = {}) {
      const file = (await fileHandle(name, create)) as SyncFileHandle;
      // Chrome lets several tabs open a file in this mode. Who writes is settled by a Web Lock; other browsers ignore the mode.
      return named(name, () => file.createSyncAccessHandle({ mode: 'readwrite-unsafe' }));
    },
    async stat(name) {
      try {
        const file = await named(name, async () => (await handle.getFileHandle(name)).getFile());
        return { byteLength: file.size, lastModified: file.lastModified };
      } catch (error) {
        if (isNotFound(error)) return undefined;
        throw error;
      }
    },
    async snapshot(name) {
      const file = await fileHandle(name);
      return blobSource(await named(name, () => file.getFile()), name);
    },
  };
}

export function isNotFound(error: unknown): boolean {
  return error instanceof EngineError && error.code === 'not-found';
}

async function named<T>(name: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    throw storageError(name, cause);
  }
}

/** What `fileSystemError` does not know comes out as 'storage' all the same: quota, a removed disk, a browser's own fault. */
export function storageError(name: string, cause: unknown): unknown {
  const error = fileSystemError(name, cause);
  if (error !== cause || !(cause instanceof Error)) return error;
  return new EngineError('storage', `${name}: the browser's file system failed: ${cause.name}: ${cause.message}`, { cause });
}

/**
 * Files behind a FileSystemFileHandle. Two ways in, because neither covers both cases: `getFile().slice` works for any handle
 * and on any thread; a sync access handle works for OPFS only, in a dedicated worker only, and holds the file exclusively
 * (outside Chrome), but has no per-read Blob and no asynchronous hop.
 */
import { EngineError, throwIfAborted } from '../errors';
import { blobSource } from './blob';
import type { ByteSource } from './byte_source';
import { checkOpen, checkRange, shortRead } from './range';

/** The part of FileSystemSyncAccessHandle that reading needs; the DOM library declares it for workers only. */
export interface SyncAccessHandle {
  getSize(): number;
  /** Bytes read, fewer than asked for at the end of the file. */
  read(into: Uint8Array, options: { at: number }): number;
  close(): void;
}

type SyncFileHandle = FileSystemFileHandle & {
  createSyncAccessHandle(options?: { mode: 'read-only' | 'readwrite' | 'readwrite-unsafe' }): Promise<SyncAccessHandle>;
};

/** Reads through a File snapshot, which a later write to the file makes void. */
export async function openFileHandle(
  handle: FileSystemFileHandle,
  label = handle.name,
  signal?: AbortSignal,
): Promise<ByteSource> {
  throwIfAborted(signal);
  const file = await named(label, () => handle.getFile());
  throwIfAborted(signal);
  return blobSource(file, label);
}

/** Reads through a sync access handle; only in a dedicated worker, only for OPFS. `close` lets the file go. */
export async function openSyncHandle(
  handle: FileSystemFileHandle,
  label = handle.name,
  signal?: AbortSignal,
): Promise<ByteSource> {
  throwIfAborted(signal);
  // 'read-only' lets two tabs read one file in Chrome; the others ignore it.
  const access = await named(label, () => (handle as SyncFileHandle).createSyncAccessHandle({ mode: 'read-only' }));
  try {
    throwIfAborted(signal);
    return syncAccessSource(access, label);
  } catch (error) {
    access.close();
    throw error;
  }
}

/** Owns `access`: `close` closes it. */
export function syncAccessSource(access: SyncAccessHandle, label: string): ByteSource {
  let closed = false;
  const source: ByteSource = {
    label,
    size: access.getSize(),
    async read(byteOffset, into, signal) {
      throwIfAborted(signal);
      checkOpen(label, closed);
      checkRange(source, byteOffset, into.byteLength);
      for (let done = 0; done < into.byteLength; ) {
        const left = into.byteLength - done;
        const count = await named(label, () => access.read(into.subarray(done), { at: byteOffset + done }));
        // Chrome 150 has returned 4294967288, which is -8, for a failure.
        if (!(count > 0 && count <= left)) throw shortRead(label, byteOffset, into.byteLength, done);
        done += count;
        if (done < into.byteLength) {
          throwIfAborted(signal);
          checkOpen(label, closed);
        }
      }
    },
    close() {
      if (!closed) access.close();
      closed = true;
    },
  };
  return source;
}

/** Runs a file system call and turns its DOMException into an EngineError that says what to do. */
async function named<T>(label: string, call: () => T | Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    throw fileSystemError(label, cause);
  }
}

export function fileSystemError(label: string, cause: unknown): unknown {
  const name = cause instanceof DOMException ? cause.name : '';
  if (name === 'NotFoundError' || name === 'TypeMismatchError') {
    return new EngineError('not-found', `There is no file ${label}.`, { cause });
  }
  if (name === 'NotAllowedError' || name === 'SecurityError') {
    return new EngineError('storage', `The browser no longer allows reading ${label}. Choose the folder again.`, { cause });
  }
  if (name === 'NoModificationAllowedError') {
    return new EngineError('storage', `${label} is open in another tab or worker. Close it there and try again.`, { cause });
  }
  if (name === 'NotReadableError' || name === 'InvalidStateError') {
    return new EngineError('storage', `${label} could not be read: ${(cause as DOMException).message}`, { cause });
  }
  return cause;
}

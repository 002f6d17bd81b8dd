/** Local files in Node. */
import { read, type Stats } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { EngineError, throwIfAborted } from '../errors';
import type { ByteSource, ModelFiles } from '../storage/byte_source';
import { checkFileName } from '../storage/file_name';
import { checkOpen, checkRange, shortRead } from '../storage/range';

/** One system call reads at most this much: page-cached files come in several times faster through several threads. */
const PIECE_BYTES = 4 << 20;
/** Pieces of one read that are under way at once. */
const PIECES_AT_ONCE = 4;

/** @throws EngineError 'not-found' or 'storage'. `close` closes the descriptor. */
export async function openFile(path: string, label = basename(path), signal?: AbortSignal): Promise<ByteSource> {
  throwIfAborted(signal);
  const handle = await open(path, 'r').catch((cause: unknown) => {
    throw fileError(label, cause);
  });
  try {
    const info = await handle.stat();
    if (!info.isFile()) throw new EngineError('not-found', `${label} is not a file.`);
    return fileSource(handle, info, label);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

function fileSource(handle: FileHandle, { size, mtimeMs }: Stats, label: string): ByteSource {
  let closed = false;
  const source: ByteSource = {
    label,
    size,
    mark: `${mtimeMs}`,
    async read(byteOffset, into, signal) {
      throwIfAborted(signal);
      checkOpen(label, closed);
      checkRange(source, byteOffset, into.byteLength);
      let next = 0;
      const lane = async () => {
        while (next < into.byteLength) {
          const start = next;
          next += PIECE_BYTES;
          throwIfAborted(signal);
          await readPiece(handle.fd, into.subarray(start, start + PIECE_BYTES), byteOffset + start, label);
        }
        throwIfAborted(signal);
      };
      if (into.byteLength <= PIECE_BYTES) return lane();
      const lanes = Array.from({ length: PIECES_AT_ONCE }, lane);
      // All have ended before an error is told: until then the system writes into the caller's memory.
      for (const end of await Promise.allSettled(lanes)) if (end.status === 'rejected') throw end.reason;
    },
    close() {
      if (!closed) void handle.close().catch(() => {}); // waits for reads under way; nothing to lose on a read-only file
      closed = true;
    },
  };
  return source;
}

/** The callback form: a promise of a FileHandle costs as much as reading a megabyte. */
function readPiece(fd: number, into: Uint8Array, byteOffset: number, label: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const more = (done: number) => {
      read(fd, into, done, into.byteLength - done, byteOffset + done, (cause, count) => {
        if (cause) reject(fileError(label, cause));
        else if (count === 0) reject(shortRead(label, byteOffset, into.byteLength, done));
        else if (done + count < into.byteLength) more(done + count);
        else resolve();
      });
    };
    more(0);
  });
}

/** The model in a local folder; symbolic links are followed, as model caches use them. */
export async function openDirectory(path: string): Promise<ModelFiles> {
  const root = resolve(path);
  const info = await stat(root).catch((cause: unknown) => {
    throw fileError(path, cause);
  });
  if (!info.isDirectory()) throw new EngineError('not-found', `${path} is not a folder.`);
  return {
    label: basename(root),
    revision: undefined,
    async open(name, signal) {
      checkFileName(name);
      return openFile(join(root, name), name, signal);
    },
    close() {},
  };
}

function fileError(label: string, cause: unknown): unknown {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return new EngineError('not-found', `There is no file or folder ${label}.`, { cause });
  if (typeof code === 'string') return new EngineError('storage', `${label} could not be read (${code}).`, { cause });
  return cause;
}

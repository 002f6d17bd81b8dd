/** Local files in Node. */
import { type FileHandle, open, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { EngineError, throwIfAborted } from '../errors';
import type { ByteSource, ModelFiles } from '../storage/byte_source';
import { checkFileName } from '../storage/file_name';
import { checkOpen, checkRange, shortRead } from '../storage/range';

/** One system call reads at most this much, so that an abort is noticed in between. */
const PIECE_BYTES = 64 << 20;

/** @throws EngineError 'not-found' or 'storage'. `close` closes the descriptor. */
export async function openFile(path: string, label = basename(path), signal?: AbortSignal): Promise<ByteSource> {
  throwIfAborted(signal);
  const handle = await open(path, 'r').catch((cause: unknown) => {
    throw fileError(label, cause);
  });
  try {
    const info = await handle.stat();
    if (!info.isFile()) throw new EngineError('not-found', `${label} is not a file.`);
    return fileSource(handle, info.size, label);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

function fileSource(handle: FileHandle, size: number, label: string): ByteSource {
  let closed = false;
  const source: ByteSource = {
    label,
    size,
    async read(byteOffset, into, signal) {
      throwIfAborted(signal);
      checkOpen(label, closed);
      checkRange(source, byteOffset, into.byteLength);
      for (let done = 0; done < into.byteLength; ) {
        const wanted = Math.min(PIECE_BYTES, into.byteLength - done);
        const { bytesRead } = await handle.read(into, done, wanted, byteOffset + done).catch((cause: unknown) => {
          throw fileError(label, cause);
        });
        throwIfAborted(signal);
        if (bytesRead === 0) throw shortRead(label, byteOffset, into.byteLength, done);
        done += bytesRead;
      }
    },
    close() {
      if (!closed) void handle.close().catch(() => {}); // waits for reads under way; nothing to lose on a read-only file
      closed = true;
    },
  };
  return source;
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

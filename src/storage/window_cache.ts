/**
 * Makes many small reads of a far source few: reads go through aligned windows, of which the last few are kept. A layer's
 * scales and norms are kilobytes, and MLX sorts tensors by name, so neighbours are asked for one after another.
 */
import { throwIfAborted } from '../errors';
import type { ByteSource } from './byte_source';
import { checkRange } from './range';
import { type SharedWork, shareWork } from './shared_work';

const windowBytes = 1024 * 1024;
const windowsKept = 8;

/** Reads of a whole window or more bypass the cache. Holds at most eight windows of 1 MiB. Closing it closes `source`. */
export function windowCache(source: ByteSource): ByteSource {
  const windows = new Map<number, SharedWork<Uint8Array>>();

  const open = (index: number): SharedWork<Uint8Array> => {
    const found = windows.get(index);
    const known = found?.abandoned ? undefined : found;
    const window = known ?? shareWork((signal) => fetchWindow(source, index, signal));
    windows.delete(index);
    windows.set(index, window); // last used, last dropped
    for (const old of [...windows.keys()].slice(0, -windowsKept)) windows.delete(old);
    return window;
  };

  const bytesOf = async (index: number, signal: AbortSignal | undefined): Promise<Uint8Array> => {
    const window = open(index);
    try {
      return await window.join(signal);
    } catch (error) {
      // A failed window is read again; one that this reader merely left stays for the others.
      if (!signal?.aborted && windows.get(index) === window) windows.delete(index);
      throw error;
    }
  };

  return {
    label: source.label,
    size: source.size,
    get etag() {
      return source.etag;
    },
    async read(byteOffset, into, signal) {
      throwIfAborted(signal);
      checkRange(source, byteOffset, into.byteLength);
      if (into.byteLength >= windowBytes) return source.read(byteOffset, into, signal);
      for (let done = 0; done < into.byteLength; ) {
        const position = byteOffset + done;
        const index = Math.floor(position / windowBytes);
        const window = await bytesOf(index, signal);
        const start = position - index * windowBytes;
        const piece = window.subarray(start, start + into.byteLength - done);
        into.set(piece, done);
        done += piece.byteLength;
      }
    },
    close() {
      windows.clear();
      source.close();
    },
  };
}

async function fetchWindow(source: ByteSource, index: number, signal: AbortSignal): Promise<Uint8Array> {
  const begin = index * windowBytes;
  const bytes = new Uint8Array(Math.min(windowBytes, source.size - begin));
  await source.read(begin, bytes, signal);
  return bytes;
}

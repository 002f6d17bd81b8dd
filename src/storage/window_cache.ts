/**
 * Makes many small reads of a far source few: reads go through aligned windows, of which the last few are kept. A layer's
 * scales and norms are kilobytes, and MLX sorts tensors by name, so neighbours are asked for one after another.
 */
import { throwIfAborted } from '../errors';
import type { ByteSource } from './byte_source';
import { checkRange } from './range';

const windowBytes = 4 * 1024 * 1024;
const windowsKept = 6;

/** Reads of a whole window or more bypass the cache. Holds at most six windows of 4 MiB. Closing it closes `source`. */
export function windowCache(source: ByteSource): ByteSource {
  const windows = new Map<number, Promise<Uint8Array>>();

  // A shared read must not end because one of those who wait for it was cancelled, so it gets no signal.
  const open = (index: number): Promise<Uint8Array> => {
    const known = windows.get(index);
    if (known) windows.delete(index);
    const window = known ?? fetchWindow(source, index);
    windows.set(index, window); // last used, last dropped
    if (!known) window.catch(() => windows.delete(index));
    for (const old of [...windows.keys()].slice(0, -windowsKept)) windows.delete(old);
    return window;
  };

  return {
    label: source.label,
    size: source.size,
    async read(byteOffset, into, signal) {
      throwIfAborted(signal);
      checkRange(source, byteOffset, into.byteLength);
      if (into.byteLength >= windowBytes) return source.read(byteOffset, into, signal);
      for (let done = 0; done < into.byteLength; ) {
        const position = byteOffset + done;
        const index = Math.floor(position / windowBytes);
        const window = await open(index);
        throwIfAborted(signal);
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

async function fetchWindow(source: ByteSource, index: number): Promise<Uint8Array> {
  const begin = index * windowBytes;
  const bytes = new Uint8Array(Math.min(windowBytes, source.size - begin));
  await source.read(begin, bytes);
  return bytes;
}

/** Hashes of stored bytes. xxHash finds damage, at 5 GB/s; only a sha256 says that the bytes are the hub's. */
import { createXXHash64 } from 'hash-wasm';
import { wasmAllowed } from '../../wasm';
import { giveWay } from './turns';

/** About a quarter of a millisecond of hashing. */
const PIECE_BYTES = 1 << 20;

/** One at a time: a hash that gives way keeps its state in here. */
export type Xxh64 = {
  /** 16 hex digits over the concatenation. */
  of(parts: readonly Uint8Array[]): string;
  /** The same, with other work let in between. */
  ofLong(parts: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<string>;
};

export async function createXxh64(): Promise<Xxh64> {
  // Loaded where WebAssembly is forbidden, which it is on few pages.
  const hasher = wasmAllowed() ? await createXXHash64() : new (await import('./xxh64')).PlainXxh64();
  return {
    of(parts) {
      hasher.init();
      for (const part of parts) hasher.update(part);
      return hasher.digest();
    },
    async ofLong(parts) {
      hasher.init();
      for await (const part of parts) {
        for (let done = 0; done < part.byteLength; done += PIECE_BYTES) {
          await giveWay();
          hasher.update(part.subarray(done, done + PIECE_BYTES));
        }
      }
      return hasher.digest();
    },
  };
}

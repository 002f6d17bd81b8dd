/**
 * Files of the store as they would be, made from the originals each time they are read: for what a full disk could not take. A read
 * seldom ends where a chunk does, so the last few chunks are kept.
 */
import type { ByteSource } from '../storage/byte_source';
import { checkRange } from '../storage/range';
import { type SharedWork, shareWork } from '../storage/shared_work';
import type { SourceRange, StoreChunk } from '../storage/store/types';

/** Of at most 6 MiB each. */
const CHUNKS_KEPT = 3;

type Place = { begin: number; end: number; chunk: StoreChunk; target: number };

export class NetworkChunks {
  readonly #original: (file: string) => Promise<ByteSource>;
  readonly #places = new Map<string, Place[]>();
  readonly #kept = new Map<StoreChunk, SharedWork<Uint8Array[]>>();

  /** `original` opens an original file, or gives the one that is open; the caller closes it. */
  constructor(chunks: readonly StoreChunk[], original: (file: string) => Promise<ByteSource>) {
    this.#original = original;
    for (const chunk of chunks) {
      for (const [target, { file, byteOffset, byteLength }] of chunk.targets.entries()) {
        const places = this.#places.get(file) ?? [];
        places.push({ begin: byteOffset, end: byteOffset + byteLength, chunk, target });
        this.#places.set(file, places);
      }
    }
    for (const places of this.#places.values()) places.sort((a, b) => a.begin - b.begin);
  }

  /** `stored`, and where it throws an error that `replaces` accepts, the network. */
  behind(file: string, stored: ByteSource, replaces: (error: unknown) => boolean): ByteSource {
    return {
      label: stored.label,
      size: stored.size,
      read: async (byteOffset, into, signal) => {
        try {
          return await stored.read(byteOffset, into, signal);
        } catch (error) {
          if (!replaces(error)) throw error;
        }
        checkRange(stored, byteOffset, into.byteLength);
        await this.#read(file, byteOffset, into, signal);
      },
      close: () => stored.close(),
    };
  }

  async #read(file: string, byteOffset: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const end = byteOffset + into.byteLength;
    for (const { begin, end: placeEnd, chunk, target } of this.#places.get(file) ?? []) {
      if (placeEnd <= byteOffset || begin >= end) continue;
      const bytes = (await this.#assembled(chunk, signal))[target]!;
      const from = Math.max(begin, byteOffset);
      into.set(bytes.subarray(from - begin, Math.min(placeEnd, end) - begin), from - byteOffset);
    }
  }

  async #assembled(chunk: StoreChunk, signal?: AbortSignal): Promise<Uint8Array[]> {
    const known = this.#kept.get(chunk);
    const work = known && !known.abandoned ? known : shareWork((all) => this.#fetch(chunk, all));
    this.#kept.delete(chunk);
    this.#kept.set(chunk, work); // last used, last dropped
    for (const old of [...this.#kept.keys()].slice(0, -CHUNKS_KEPT)) this.#kept.delete(old);
    try {
      return await work.join(signal);
    } catch (error) {
      if (!signal?.aborted && this.#kept.get(chunk) === work) this.#kept.delete(chunk);
      throw error;
    }
  }

  async #fetch(chunk: StoreChunk, signal: AbortSignal): Promise<Uint8Array[]> {
    const fetch = async ({ file, byteOffset, byteLength }: SourceRange) => {
      const bytes = new Uint8Array(byteLength);
      await (await this.#original(file)).read(byteOffset, bytes, signal);
      return bytes;
    };
    return chunk.assemble(await Promise.all(chunk.sources.map(fetch)));
  }
}

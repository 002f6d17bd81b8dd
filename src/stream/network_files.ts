/**
 * Files of the store as they would be, made of ranges of the originals each time they are read: for what a full disk could not take. A read
 * fetches what it needs and no chunk around it: of experts whose matrices lie stacked, a chunk holds the same matrix of many.
 */
import type { Fill } from '../plan/blocks';
import type { StoreFile } from '../plan/store_layout';
import { fillBytes, sliceFill, sourcesOf } from '../plan/windows';
import type { ByteSource } from '../storage/byte_source';
import { checkRange } from '../storage/range';
import { assembleFill, type StorableFill } from './store_chunks';

/** Bytes of a store file that stand for whole elements of any original. */
const unit = 8;

export class NetworkFiles {
  readonly #original: (file: string) => Promise<ByteSource>;
  readonly #fills: ReadonlyMap<string, readonly Fill[]>;

  /** `original` opens an original file, or gives the one that is open; the caller closes it. */
  constructor(files: readonly StoreFile[], original: (file: string) => Promise<ByteSource>) {
    this.#original = original;
    this.#fills = new Map(files.map(({ name, fills }) => [name, fills]));
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

  /** Nothing is written any more when it ends, well or not. */
  async #read(file: string, byteOffset: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const end = byteOffset + into.byteLength;
    const parts = this.#fills.get(file)!.flatMap((fill) => {
      const from = fill.at + Math.floor((byteOffset - fill.at) / unit) * unit;
      const to = fill.at + Math.ceil((end - fill.at) / unit) * unit;
      return sliceFill(fill, from, to) as StorableFill[];
    });
    const ends = await Promise.allSettled(
      parts.map(async (fill) => {
        const bytes = await this.#made(fill, signal);
        const from = Math.max(fill.at, byteOffset);
        into.set(bytes.subarray(from - fill.at, end - fill.at), from - byteOffset);
      }),
    );
    for (const result of ends) if (result.status === 'rejected') throw result.reason;
  }

  async #made(fill: StorableFill, signal: AbortSignal | undefined): Promise<Uint8Array> {
    const fetched = await Promise.all(
      sourcesOf(fill).map(async ({ file, byteOffset, byteLength }) => {
        const bytes = new Uint8Array(byteLength);
        await (await this.#original(file)).read(byteOffset, bytes, signal);
        return bytes;
      }),
    );
    return assembleFill(fill, fetched, new Uint8Array(fillBytes(fill)));
  }
}

/**
 * Where the embedding table is not in GPU memory: reads the rows of a chunk's tokens into a small table there, which the embedding
 * kernel then reads by position. A row is a few kilobytes, the table of a 27B model three quarters of a gigabyte.
 */
import { unlessAborted } from '../errors';
import type { MatrixSource } from '../format/types';
import type { Gpu } from '../gpu/device';
import { type Fill, type MatrixBlocks, matrixPart, type StoreIndex } from '../plan/blocks';
import { type Sources, WindowFiller } from './fill';

/** Rows read at a time: servers answer several small requests as fast as one. */
const readers = 6;

/** What reads write into. */
type Room = { bytes: Uint8Array<ArrayBuffer>; fillers: WindowFiller[] };

export class EmbeddingRows {
  readonly #gpu: Gpu;
  readonly #buffer: GPUBuffer;
  readonly #source: MatrixSource;
  readonly #stored: StoreIndex | undefined;
  readonly #pairsAt: number;
  readonly #rowBytes: number;
  readonly #pairBytes: number;
  readonly #makeRoom: () => Room;
  #room: Room;

  /** `table`: the plan's; its one block has room for a chunk's rows. */
  constructor(
    gpu: Gpu,
    buffer: GPUBuffer,
    table: MatrixBlocks,
    { source, stored, sources }: { source: MatrixSource; stored: StoreIndex | undefined; sources: Sources },
  ) {
    this.#gpu = gpu;
    this.#buffer = buffer;
    this.#source = source;
    this.#stored = stored;
    const [{ block, pairsAt }] = table.parts as [MatrixBlocks['parts'][number]];
    const one = matrixPart('embed_tokens', source, 0, 1);
    this.#pairsAt = pairsAt;
    this.#rowBytes = table.format.kind === 'affine' ? (table.cols * table.format.bits) / 8 : one.block.bytes;
    this.#pairBytes =
      table.format.kind === 'affine' ? (table.cols / table.format.group) * (table.format.pair === 'f32' ? 8 : 4) : 0;
    this.#makeRoom = () => ({
      bytes: new Uint8Array(block.bytes),
      fillers: Array.from({ length: readers }, () => new WindowFiller(sources)),
    });
    this.#room = this.#makeRoom();
  }

  /** Row i of the table becomes the embedding of ids[i], for what is submitted from then on. @throws what a read throws; AbortError. */
  async load(ids: Uint32Array, signal?: AbortSignal): Promise<void> {
    const { bytes, fillers } = this.#room;
    let next = 0;
    const read = async (filler: WindowFiller) => {
      for (let i = next++; i < ids.length; i = next++) {
        await filler.fill({ at: 0, bytes: 0, gaps: false, fills: this.#rowFills(ids[i]!, i) }, bytes, signal);
      }
    };
    try {
      await unlessAborted(Promise.all(fillers.map(read)), signal);
    } catch (error) {
      next = ids.length;
      this.#room = this.#makeRoom(); // reads that are still under way write into the old one
      throw error;
    }
    const { queue } = this.#gpu.device;
    queue.writeBuffer(this.#buffer, 0, bytes, 0, ids.length * this.#rowBytes);
    if (this.#pairBytes > 0) queue.writeBuffer(this.#buffer, this.#pairsAt, bytes, this.#pairsAt, ids.length * this.#pairBytes);
  }

  #rowFills(id: number, index: number): Fill[] {
    const { block } = matrixPart('embed_tokens', this.#source, id, 1, this.#stored);
    return block.fills.map((fill, part) => ({
      ...fill,
      at: part === 0 ? index * this.#rowBytes : this.#pairsAt + index * this.#pairBytes,
    }));
  }
}

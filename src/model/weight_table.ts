/** The small GPU buffer that tells a kernel where its weights lie; see src/gpu/kernel.ts. */
import { EngineError } from '../errors';
import type { Gpu } from '../gpu/device';
import { bindSlab, recordStride } from '../gpu/kernel';
import { type Block, type MatrixBlocks, type MatrixPart, rowStrides, type VectorBlock } from '../plan/blocks';
import type { Placement } from '../plan/placement';

/** What group 1 of a dispatch needs: the slab's bind group and where the record lies in the table. */
export type WeightBinding = { group: GPUBindGroup; recordOffset: number };

export class WeightTable {
  readonly #gpu: Gpu;
  readonly #buffer: GPUBuffer;
  readonly #groups: GPUBindGroup[];
  readonly #placement: Placement;
  readonly #records: Uint32Array<ArrayBuffer>;
  /** Decode and prefill read the same matrices: one record each. */
  readonly #made = new Map<string, WeightBinding>();
  #used = 0;

  /** `capacity`: the most records that will be made. */
  constructor(gpu: Gpu, placement: Placement, slabs: readonly GPUBuffer[], capacity: number) {
    this.#gpu = gpu;
    this.#placement = placement;
    this.#records = new Uint32Array((capacity * recordStride) / 4);
    const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
    this.#buffer = gpu.memory.create('weight table', this.#records.byteLength, usage);
    this.#groups = slabs.map((slab) => bindSlab(gpu, slab, this.#buffer));
  }

  /** A record for one part of a matrix: (words, pairs) in 16-byte units, rows, first row; row strides, columns, rows in all. */
  matrixPart(matrix: MatrixBlocks, { block, firstRow, rows, pairsAt }: MatrixPart): WeightBinding {
    const start = this.#start(block);
    return this.#record(block.label, block, [
      start,
      start + pairsAt / 16,
      rows,
      firstRow,
      ...rowStrides(matrix),
      matrix.cols,
      matrix.rows,
    ]);
  }

  /** A record for small parameters, in the order of `names`, in 16-byte units. */
  vectors<Name extends string>({ block, at }: VectorBlock<Name>, ...names: Name[]): WeightBinding {
    const start = this.#start(block);
    const words = names.map((name) => start + at[name] / 16);
    return this.#record(`${block.label} ${names}`, block, words);
  }

  /** Writes all records made so far. */
  upload(): void {
    this.#gpu.device.queue.writeBuffer(this.#buffer, 0, this.#records, 0, (this.#used * recordStride) / 4);
  }

  #start(block: Block): number {
    return this.#placement.places.get(block)!.byteOffset / 16;
  }

  #record(key: string, block: Block, words: readonly number[]): WeightBinding {
    const known = this.#made.get(key);
    if (known) return known;
    const recordOffset = this.#used * recordStride;
    if (recordOffset >= this.#records.byteLength) throw new EngineError('internal', 'The weight table is too small.');
    this.#records.set(words, recordOffset / 4);
    this.#used += 1;
    const made = { group: this.#groups[this.#placement.places.get(block)!.slab]!, recordOffset };
    this.#made.set(key, made);
    return made;
  }
}

/** The small GPU buffer that tells a kernel where its weights lie; see src/gpu/kernel.ts. */
import { EngineError } from '../errors';
import type { Gpu } from '../gpu/device';
import { bindSlab, type MatrixReads, recordAt, recordStride, recordsSeen, type SlabRef, type WeightBinding } from '../gpu/kernel';
import type { BufferRange } from '../gpu/memory';
import { type Block, type MatrixBlocks, type MatrixPart, rowStrides, type VectorBlock } from '../plan/blocks';
import type { ExpertLayer, ExpertMatrix } from '../plan/experts';
import type { Placement } from '../plan/placement';
import type { SlotImage } from '../plan/windows';

/** `gathered`: the block that rows of the embedding are copied into, in a buffer of its own. */
export type WeightBuffers = {
  slabs: readonly GPUBuffer[];
  slots: readonly GPUBuffer[];
  gathered?: { block: Block; buffer: GPUBuffer };
  /** Of the pool of experts. */
  experts?: readonly GPUBuffer[];
};

/** A part of a matrix whose row r is written to value at + r of y. */
export type MatrixPlace = { matrix: MatrixBlocks; part: MatrixPart; at: number };

export class WeightTable {
  /** One per slot of the ring. */
  readonly slotGroups: readonly GPUBindGroup[];
  /** One per image that passes through the ring; `group` is the stream's to set. */
  readonly imageRefs: ReadonlyMap<SlotImage, SlabRef>;
  /** Of the pool. */
  readonly expertSlabs: readonly GPUBuffer[];
  readonly #expertSlabs: readonly SlabRef[];
  readonly #gpu: Gpu;
  readonly #buffer: GPUBuffer;
  /** `buffer`: of what stays where it is. */
  readonly #places = new Map<Block, { slab: SlabRef; buffer?: GPUBuffer; byteOffset: number }>();
  readonly #records: Uint32Array<ArrayBuffer>;
  /** Decode and prefill read the same matrices: one record each. */
  readonly #made = new Map<string, BufferRange>();
  #used = 0;

  /** `capacity`: the most records that will be made. */
  constructor(gpu: Gpu, placement: Placement, { slabs, slots, gathered, experts = [] }: WeightBuffers, capacity: number) {
    this.#gpu = gpu;
    this.#records = new Uint32Array((capacity * recordStride) / 4);
    const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
    const buffer = gpu.memory.create('weight table', this.#records.byteLength, usage);
    this.#buffer = buffer;
    const resident = slabs.map((slab): SlabRef => ({ group: bindSlab(gpu, slab) }));
    this.slotGroups = slots.map((slot) => bindSlab(gpu, slot));
    const imageRefs = new Map<SlotImage, SlabRef>();
    for (const [block, place] of placement.places) {
      if ('slab' in place) {
        const { slab, byteOffset } = place;
        this.#places.set(block, { slab: resident[slab]!, buffer: slabs[slab]!, byteOffset });
        continue;
      }
      const slab = imageRefs.get(place.image) ?? { group: this.slotGroups[0]! };
      imageRefs.set(place.image, slab);
      this.#places.set(block, { slab, byteOffset: place.byteOffset });
    }
    if (gathered) this.#places.set(gathered.block, { slab: { group: bindSlab(gpu, gathered.buffer) }, byteOffset: 0 });
    this.imageRefs = imageRefs;
    this.expertSlabs = experts;
    this.#expertSlabs = experts.map((slab) => ({ group: bindSlab(gpu, slab) }));
  }

  /** A record for one part of a matrix. */
  matrixPart(matrix: MatrixBlocks, part: MatrixPart): WeightBinding {
    const place = { matrix, part, at: 0 };
    return { slab: this.#slab(part.block), record: this.#record(part.block.label, this.#words(place)), reads: readsOf([place]) };
  }

  /** Records of some matrices as they lie in every slot of slab `slab` of the pool. */
  expert(experts: ExpertLayer, slab: number, names: readonly ExpertMatrix[]): WeightBinding {
    const { label } = experts;
    const words = names.flatMap((name) => expertWords(experts, name));
    return { slab: this.#expertSlabs[slab]!, record: this.#record(`${label} ${names}`, words) };
  }

  /** A record for one part of the shared expert's matrix, and behind it that of the others. */
  withExpert(matrix: MatrixBlocks, part: MatrixPart, experts: ExpertLayer, name: ExpertMatrix): WeightBinding {
    const words = [...this.#words({ matrix, part, at: 0 }), ...expertWords(experts, name)];
    return { slab: this.#slab(part.block), record: this.#record(`${part.block.label} and ${experts.label} ${name}`, words) };
  }

  /** Records for a dispatch over several parts, which must lie in one slab: see `bySlab`. */
  several(places: readonly MatrixPlace[]): WeightBinding {
    const key = places.map(({ part, at }) => `${part.block.label} to ${at}`).join();
    const words = places.flatMap((place) => this.#words(place));
    return { slab: this.#slab(places[0]!.part.block), record: this.#record(key, words), reads: readsOf(places) };
  }

  /** The same, and where in the small parameters `name` begins; with `other` also that, in place of the columns. */
  severalAfter<Name extends string>(
    { block, at }: VectorBlock<Name>,
    name: Name,
    places: readonly MatrixPlace[],
    other?: Name,
  ): WeightBinding {
    const key = `${block.label} ${name} ${other}, ${places.map(({ part }) => part.block.label)}`;
    const start = (vector: Name) => this.#start(block) + at[vector] / 16;
    const words = places.flatMap((place) => {
      const own = this.#words(place);
      return [...own.slice(0, 6), other === undefined ? own[6]! : start(other), start(name)];
    });
    const { buffer } = this.#places.get(block)!;
    const slab = this.#slab(places[0]!.part.block);
    return { slab, parameters: buffer!, record: this.#record(key, words), reads: readsOf(places) };
  }

  /** Neighbours that lie in one slab, as many as a dispatch can take. */
  bySlab(places: readonly MatrixPlace[]): MatrixPlace[][] {
    const runs: MatrixPlace[][] = [];
    const slabOf = ({ part }: MatrixPlace) => this.#slab(part.block);
    for (const place of places) {
      const last = runs.at(-1);
      if (last && last.length < recordsSeen && slabOf(last[0]!) === slabOf(place)) last.push(place);
      else runs.push([place]);
    }
    return runs;
  }

  /** (words, pairs) in 16-byte units, rows, where the first of them goes; row strides, columns, rows in all. */
  #words({ matrix, part: { block, firstRow, rows, pairsAt }, at }: MatrixPlace): number[] {
    const start = this.#start(block);
    return [start, start + pairsAt / 16, rows, at + firstRow, ...rowStrides(matrix), matrix.cols, matrix.rows];
  }

  /** A record for small parameters, in the order of `names`, in 16-byte units. They are always resident. */
  vectors<Name extends string>({ block, at }: VectorBlock<Name>, ...names: Name[]): WeightBinding {
    const start = this.#start(block);
    const words = names.map((name) => start + at[name] / 16);
    return { parameters: this.#places.get(block)!.buffer!, record: this.#record(`${block.label} ${names}`, words) };
  }

  /** Writes all records made so far. */
  upload(): void {
    this.#gpu.device.queue.writeBuffer(this.#buffer, 0, this.#records, 0, (this.#used * recordStride) / 4);
  }

  #start(block: Block): number {
    return this.#places.get(block)!.byteOffset / 16;
  }

  #slab(block: Block): SlabRef {
    return this.#places.get(block)!.slab;
  }

  #record(key: string, words: readonly number[]): BufferRange {
    const known = this.#made.get(key);
    if (known) return known;
    const recordOffset = this.#used * recordStride;
    if (recordOffset >= this.#records.byteLength) throw new EngineError('internal', 'The weight table is too small.');
    this.#records.set(words, recordOffset / 4);
    this.#used += 1;
    const made = recordAt(this.#buffer, recordOffset);
    this.#made.set(key, made);
    return made;
  }
}

function readsOf(places: readonly MatrixPlace[]): MatrixReads {
  const sum = (of: (place: MatrixPlace) => number) => places.reduce((total, place) => total + of(place), 0);
  return { bytes: sum(({ part }) => part.block.bytes), weights: sum(({ matrix, part }) => part.rows * matrix.cols) };
}

/** As #words, counted from the start of a slot. */
function expertWords({ matrices, at }: ExpertLayer, name: ExpertMatrix): number[] {
  const { rows, cols, parts } = matrices[name];
  const start = at[name] / 16;
  return [start, start + parts[0]!.pairsAt / 16, rows, 0, ...rowStrides(matrices[name]), cols, rows];
}

/**
 * One matrix several times over with random weights, made on the device: a chain of products takes one copy after another, so that
 * none of them finds its weights in the cache.
 */
import type { Gpu } from '../gpu/device';
import { bindSlab, recordAt, recordStride, type SlabRef } from '../gpu/kernel';
import type { BufferRange } from '../gpu/memory';
import { align16 } from '../plan/blocks';
import type { BenchMatrix } from './matrices';
import type { Filler } from './probes';

/** Rows [firstRow, firstRow + rows) of one copy; byte offsets in `buffer`. */
export type WeightPart = {
  slab: SlabRef;
  record: BufferRange;
  firstRow: number;
  rows: number;
  buffer: GPUBuffer;
  wordsAt: number;
  pairsAt: number;
};

/** The parts of each copy, and the bytes of one that a product reads. */
export type Weights = { copies: WeightPart[][]; bytes: number };

/** How copies lie in slabs: every part takes `stride` bytes, and its pairs begin at `pairsAt`. */
export type WeightLayout = {
  wordBytes: number;
  pairBytes: number;
  /** Rows of each part; the last one may have fewer. */
  partRows: number;
  partsPerCopy: number;
  pairsAt: number;
  stride: number;
  partsPerSlab: number;
  copies: number;
};

/** `slabBytes`: the largest slab. `atLeast`: bytes that the copies shall have together. */
export function layOutWeights(
  { rows, cols, format }: BenchMatrix,
  { slabBytes, atLeast }: { slabBytes: number; atLeast: number },
): WeightLayout {
  if (format.kind !== 'affine' || format.pair !== 'bf16') throw new Error('random weights are affine with bf16 pairs');
  const wordBytes = (cols * format.bits) / 8;
  const pairBytes = (cols / format.group) * 4;
  const rowBytes = wordBytes + pairBytes;
  const mostRows = Math.floor((slabBytes - 272) / rowBytes); // pairs begin on 16 bytes, parts on 256
  const partsPerCopy = Math.ceil(rows / mostRows);
  const partRows = Math.ceil(rows / partsPerCopy);
  const pairsAt = align16(partRows * wordBytes);
  const stride = Math.ceil((pairsAt + partRows * pairBytes) / 256) * 256;
  const copies = Math.max(1, Math.ceil(atLeast / (rows * rowBytes)));
  const partsPerSlab = Math.min(copies * partsPerCopy, Math.max(1, Math.floor(slabBytes / stride)));
  return { wordBytes, pairBytes, partRows, partsPerCopy, pairsAt, stride, partsPerSlab, copies };
}

/** Standard deviation 1 / sqrt(cols), so that a chain of products neither fades nor explodes. Released with the memory of `gpu`. */
export async function makeWeights(gpu: Gpu, matrix: BenchMatrix, filler: Filler, atLeast: number): Promise<Weights> {
  const { maxStorageBufferBindingSize, maxBufferSize } = gpu.device.limits;
  const slabBytes = Math.floor(Math.min(maxStorageBufferBindingSize, maxBufferSize) / 256) * 256;
  const layout = layOutWeights(matrix, { slabBytes, atLeast });
  const { partsPerCopy, partsPerSlab, stride, pairsAt, copies } = layout;
  const count = copies * partsPerCopy;
  const table = writeTable(gpu, matrix, layout, count);
  const slabs = await gpu.memory.guarded(`the weights of ${matrix.label}`, () =>
    Array.from({ length: Math.ceil(count / partsPerSlab) }, (_, i) => {
      const parts = Math.min(partsPerSlab, count - i * partsPerSlab);
      const buffer = gpu.memory.create('bench weights', parts * stride, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC);
      filler.affine(buffer, { seed: 1 + i, stride, words: pairsAt, deviation: 1 / Math.sqrt(matrix.cols) });
      return { buffer, slab: { group: bindSlab(gpu, buffer) } };
    }),
  );
  const part = (index: number): WeightPart => {
    const at = (index % partsPerSlab) * stride;
    const place = { wordsAt: at, pairsAt: at + pairsAt, record: recordAt(table, index * recordStride) };
    return { ...slabs[Math.floor(index / partsPerSlab)]!, ...place, ...partRange(matrix, layout, index) };
  };
  return {
    copies: Array.from({ length: copies }, (_, copy) =>
      Array.from({ length: partsPerCopy }, (_, i) => part(copy * partsPerCopy + i)),
    ),
    bytes: matrix.rows * (layout.wordBytes + layout.pairBytes),
  };
}

/** Part `index` of all copies, one after another. */
function partRange(matrix: BenchMatrix, { partRows, partsPerCopy }: WeightLayout, index: number) {
  const firstRow = (index % partsPerCopy) * partRows;
  return { firstRow, rows: Math.min(partRows, matrix.rows - firstRow) };
}

/** One record per part, as src/model/weight_table.ts writes them. */
function writeTable(gpu: Gpu, matrix: BenchMatrix, layout: WeightLayout, count: number): GPUBuffer {
  const records = new Uint32Array((count * recordStride) / 4);
  const { wordBytes, pairBytes, stride, pairsAt, partsPerSlab } = layout;
  for (let i = 0; i < count; i++) {
    const at = (i % partsPerSlab) * stride;
    const { firstRow, rows } = partRange(matrix, layout, i);
    const places = [at / 16, (at + pairsAt) / 16, rows, firstRow];
    records.set([...places, wordBytes / 4, pairBytes / 4, matrix.cols, matrix.rows], (i * recordStride) / 4);
  }
  const table = gpu.memory.create('bench weight table', records.byteLength, GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST);
  gpu.device.queue.writeBuffer(table, 0, records);
  return table;
}

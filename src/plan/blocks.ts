/**
 * How weights lie in GPU memory, as plain data. A block is a run of bytes that one slab holds whole; its fills say which
 * bytes of which file go where, so that a planner can move it and a loader has nothing to decide.
 *
 * Layout of a matrix block: the packed words (or float rows, each padded to 16 bytes), then, for affine formats, one
 * (scale, bias) pair per group, so that a kernel gets both with one load. Every part starts on 16 bytes.
 */
import { EngineError } from '../errors';
import {
  dtypeBytes,
  type FloatDtype,
  type MatrixFormat,
  type MatrixSource,
  type StorageDtype,
  type TensorInfo,
  type VectorSource,
} from '../format/types';

/** A byte range of a checkpoint file. */
export type FileRange = { file: string; byteOffset: number; byteLength: number };

/** One way of getting bytes from a file into a block; `at` is the byte offset in the block, a multiple of 16. */
export type Fill =
  | { kind: 'copy'; at: number; from: FileRange }
  /** Rows of `rowBytes` in the file, `stride` apart in the block, zeros between. */
  | { kind: 'rows'; at: number; from: FileRange; rowBytes: number; stride: number }
  /** (scale, bias) pairs: elements of `bytes` bytes, interleaved. */
  | { kind: 'pairs'; at: number; scales: FileRange; biases: FileRange; bytes: 2 | 4 }
  /** A small parameter as f32. `addOne`: x + 1; `negExp`: -exp(x), in f64 before rounding. */
  | { kind: 'f32'; at: number; from: FileRange; dtype: FloatDtype; transform: 'none' | 'addOne' | 'negExp' };

export type Block = { label: string; bytes: number; fills: Fill[] };

/** Rows [firstRow, firstRow + rows) of a matrix. `pairsAt`: byte offset of the scale pairs in the block. */
export type MatrixPart = { block: Block; firstRow: number; rows: number; pairsAt: number };
/** A matrix in one or more parts, each small enough to be bound. */
export type MatrixBlocks = { rows: number; cols: number; format: MatrixFormat; parts: MatrixPart[] };

/** Several small parameters in one block; `at` gives each one's byte offset. */
export type VectorBlock<Name extends string> = { block: Block; at: Record<Name, number> };

const align16 = (bytes: number): number => Math.ceil(bytes / 16) * 16;
const storageDtype: Record<FloatDtype, StorageDtype> = { BF16: 'bf16', F16: 'f16', F32: 'f32' };

export function matrixFormat(source: MatrixSource): MatrixFormat {
  if (source.kind === 'float') return { kind: 'float', dtype: storageDtype[source.dtype] };
  return { kind: 'affine', bits: source.bits, group: source.groupSize, pair: storageDtype[source.scales.dtype as FloatDtype] };
}

/** What a kernel's accessor steps by: u32 and groups per row of an affine matrix, 16-byte units per row of a float one. */
export function rowStrides({ cols, format }: MatrixBlocks): [number, number] {
  if (format.kind === 'affine') return [(cols * format.bits) / 32, cols / format.group];
  return [align16(cols * (format.dtype === 'f32' ? 4 : 2)) / 16, 0];
}

function rowsOf(tensor: TensorInfo, totalRows: number, firstRow: number, rows: number): FileRange {
  const rowBytes = tensor.byteLength / totalRows;
  return { file: tensor.file, byteOffset: tensor.byteOffset + firstRow * rowBytes, byteLength: rows * rowBytes };
}

/**
 * Lays a matrix out, split by rows where it is larger than `maxBlockBytes`.
 * @throws EngineError 'budget' if not even one row fits.
 */
export function matrixBlocks(label: string, source: MatrixSource, maxBlockBytes: number): MatrixBlocks {
  const { rows, cols } = source;
  const bytesPerRow = bytesOf(source, 1);
  const most = Math.floor((maxBlockBytes - 32) / bytesPerRow);
  if (most < 1) throw new EngineError('budget', `${label}: one row takes ${bytesPerRow} bytes, a buffer holds ${maxBlockBytes}.`);
  const parts: MatrixPart[] = [];
  for (let firstRow = 0; firstRow < rows; firstRow += most) {
    parts.push(matrixPart(label, source, firstRow, Math.min(most, rows - firstRow)));
  }
  return { rows, cols, format: matrixFormat(source), parts };
}

/** Unpadded bytes of `rows` rows with their pairs. */
function bytesOf(source: MatrixSource, rows: number): number {
  if (source.kind === 'float') return rows * align16(source.cols * dtypeBytes[source.dtype]);
  const pairBytes = 2 * dtypeBytes[source.scales.dtype];
  return rows * ((source.cols * source.bits) / 8 + (source.cols / source.groupSize) * pairBytes);
}

function matrixPart(label: string, source: MatrixSource, firstRow: number, rows: number): MatrixPart {
  const name = firstRow === 0 && rows === source.rows ? label : `${label}[${firstRow}..${firstRow + rows})`;
  const words = rowsOf(source.weight, source.rows, firstRow, rows);
  if (source.kind === 'float') {
    const rowBytes = source.cols * dtypeBytes[source.dtype];
    const stride = align16(rowBytes);
    const fill: Fill =
      rowBytes === stride ? { kind: 'copy', at: 0, from: words } : { kind: 'rows', at: 0, from: words, rowBytes, stride };
    return { block: { label: name, bytes: rows * stride, fills: [fill] }, firstRow, rows, pairsAt: 0 };
  }
  const pairsAt = align16(words.byteLength);
  const scales = rowsOf(source.scales, source.rows, firstRow, rows);
  const biases = rowsOf(source.biases, source.rows, firstRow, rows);
  const bytes = dtypeBytes[source.scales.dtype] as 2 | 4;
  const fills: Fill[] = [
    { kind: 'copy', at: 0, from: words },
    { kind: 'pairs', at: pairsAt, scales, biases, bytes },
  ];
  return { block: { label: name, bytes: align16(pairsAt + 2 * scales.byteLength), fills }, firstRow, rows, pairsAt };
}

type Transform = 'none' | 'addOne' | 'negExp';

/** Lays small parameters out one after another as f32. A zero-centred norm gets its 1 here, once. */
export function vectorBlock<Name extends string>(
  label: string,
  vectors: Record<Name, VectorSource | { vector: VectorSource; transform: Transform }>,
): VectorBlock<Name> {
  const fills: Fill[] = [];
  const at = {} as Record<Name, number>;
  let bytes = 0;
  for (const [name, entry] of Object.entries(vectors) as [
    Name,
    VectorSource | { vector: VectorSource; transform: Transform },
  ][]) {
    const vector = 'vector' in entry ? entry.vector : entry;
    const transform = 'vector' in entry ? entry.transform : vector.add === 1 ? 'addOne' : 'none';
    const { file, byteOffset, byteLength, dtype } = vector.tensor;
    at[name] = bytes;
    fills.push({ kind: 'f32', at: bytes, from: { file, byteOffset, byteLength }, dtype: dtype as FloatDtype, transform });
    bytes += align16(vector.length * 4);
  }
  return { block: { label, bytes, fills }, at };
}

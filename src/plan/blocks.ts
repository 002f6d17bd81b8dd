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
  type RowRun,
  type StorageDtype,
  type TensorInfo,
  type VectorSource,
} from '../format/types';

/** A byte range of a file: of a checkpoint, or of a model repacked in the store. */
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

/** Where a repacked matrix (words, then pairs, of all its rows) or small parameter begins in the store, by its label. */
export type StoreIndex = ReadonlyMap<string, { file: string; byteOffset: number }>;

export const align16 = (bytes: number): number => Math.ceil(bytes / 16) * 16;
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

function rowsOf(tensor: TensorInfo, { firstRow, rows, tensorRows }: RowRun): FileRange {
  const rowBytes = tensor.byteLength / tensorRows;
  return { file: tensor.file, byteOffset: tensor.byteOffset + firstRow * rowBytes, byteLength: rows * rowBytes };
}

/** Rows [firstRow, firstRow + rows) of a matrix as runs of its tensors' rows; `at`: the row of the part that each begins with. */
function runsOf(source: MatrixSource, firstRow: number, rows: number): (RowRun & { at: number })[] {
  const found: (RowRun & { at: number })[] = [];
  let start = 0;
  for (const run of source.runs ?? [{ firstRow: 0, rows: source.rows, tensorRows: source.rows }]) {
    const from = Math.max(firstRow, start);
    const to = Math.min(firstRow + rows, start + run.rows);
    if (to > from) found.push({ ...run, firstRow: run.firstRow + from - start, rows: to - from, at: from - firstRow });
    start += run.rows;
  }
  return found;
}

/** Bytes of one row in a block, without its pairs. */
function wordBytes(source: MatrixSource): number {
  if (source.kind === 'float') return align16(source.cols * dtypeBytes[source.dtype]);
  return (source.cols * source.bits) / 8;
}

/** Bytes of one row's (scale, bias) pairs in a block. */
function pairBytes(source: MatrixSource): number {
  if (source.kind === 'float') return 0;
  return (source.cols / source.groupSize) * 2 * dtypeBytes[source.scales.dtype];
}

/** Bytes of a block of `rows` rows. */
export function blockBytes(source: MatrixSource, rows: number): number {
  return align16(align16(rows * wordBytes(source)) + rows * pairBytes(source));
}

/** The most rows whose block takes at most `bytes`. */
export function rowsWithin(source: MatrixSource, bytes: number): number {
  let rows = Math.max(0, Math.floor(bytes / (wordBytes(source) + pairBytes(source))));
  while (rows > 0 && blockBytes(source, rows) > bytes) rows -= 1;
  return rows;
}

/** @throws EngineError 'budget' if not even one row fits `bytes`. */
export function requireRow(label: string, source: MatrixSource, bytes: number): void {
  if (rowsWithin(source, bytes) > 0) return;
  throw new EngineError('budget', `${label}: one row takes ${blockBytes(source, 1)} bytes, a buffer holds ${bytes}.`);
}

/**
 * Rows [firstRow, firstRow + rows) of a matrix as a block. `stored`: the whole matrix lies repacked in the store, so that words
 * and pairs are plain copies.
 */
export function matrixPart(label: string, source: MatrixSource, firstRow: number, rows: number, stored?: StoreIndex): MatrixPart {
  const name = firstRow === 0 && rows === source.rows ? label : `${label}[${firstRow}..${firstRow + rows})`;
  const pairsAt = source.kind === 'float' ? 0 : align16(rows * wordBytes(source));
  const home = stored?.get(label);
  const fills = home ? storedFills(home, source, firstRow, rows, pairsAt) : checkpointFills(source, firstRow, rows, pairsAt);
  return { block: { label: name, bytes: blockBytes(source, rows), fills }, firstRow, rows, pairsAt };
}

function storedFills(
  { file, byteOffset }: { file: string; byteOffset: number },
  source: MatrixSource,
  firstRow: number,
  rows: number,
  pairsAt: number,
): Fill[] {
  const range = (start: number, rowBytes: number): FileRange => ({
    file,
    byteOffset: byteOffset + start + firstRow * rowBytes,
    byteLength: rows * rowBytes,
  });
  const words: Fill = { kind: 'copy', at: 0, from: range(0, wordBytes(source)) };
  if (source.kind === 'float') return [words];
  return [words, { kind: 'copy', at: pairsAt, from: range(align16(source.rows * wordBytes(source)), pairBytes(source)) }];
}

function checkpointFills(source: MatrixSource, firstRow: number, rows: number, pairsAt: number): Fill[] {
  const runs = runsOf(source, firstRow, rows);
  const stride = wordBytes(source);
  const words = runs.map((run): Fill => {
    const from = rowsOf(source.weight, run);
    const rowBytes = from.byteLength / run.rows;
    const at = run.at * stride;
    return rowBytes === stride ? { kind: 'copy', at, from } : { kind: 'rows', at, from, rowBytes, stride };
  });
  if (source.kind === 'float') return words;
  const bytes = dtypeBytes[source.scales.dtype] as 2 | 4;
  const pairs = runs.map((run): Fill => {
    const at = pairsAt + run.at * pairBytes(source);
    return { kind: 'pairs', at, scales: rowsOf(source.scales, run), biases: rowsOf(source.biases, run), bytes };
  });
  return [...words, ...pairs];
}

type Transform = 'none' | 'addOne' | 'negExp';

/**
 * Lays small parameters out one after another as f32. A zero-centred norm gets its 1 here, once. The store keeps their bytes as
 * the checkpoint has them, each under its label and place.
 */
export function vectorBlock<Name extends string>(
  label: string,
  vectors: Record<Name, VectorSource | { vector: VectorSource; transform: Transform }>,
  stored?: StoreIndex,
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
    const { byteLength, dtype } = vector.tensor;
    const { file, byteOffset } = stored?.get(`${label} ${fills.length}`) ?? vector.tensor;
    at[name] = bytes;
    fills.push({ kind: 'f32', at: bytes, from: { file, byteOffset, byteLength }, dtype: dtype as FloatDtype, transform });
    bytes += align16(vector.length * 4);
  }
  return { block: { label, bytes, fills }, at };
}

/** Is a product right? A sample of it against a float64 reference, computed from the weights that the GPU made. */
import { Random } from '../engine/random';
import type { Gpu } from '../gpu/device';
import { dequantise, unpackBits } from '../kernels/reference/affine';
import { gemmReference } from '../kernels/reference/gemv';
import { bf16Value } from '../kernels/reference/half';
import type { BenchMatrix } from './matrices';
import { readRanges } from './read_ranges';
import { relativeError } from './statistics';
import type { WeightPart } from './weights';

/** What y holds before a product writes it, and what lies behind its end: no result, and not so large that one added to it vanishes. */
export const poison = 1000;
/** Values behind the end of y that must stay as they are. */
export const guardValues = 64;

const sampledRows = 64;
const sampledTokens = 8;

/** `rows` of one matrix in float64, [rows.length, cols]. */
export type SampledWeights = { rows: number[]; values: Float64Array };
/** What y should hold at the sampled rows for `tokens`, [tokens.length, rows.length]. */
export type Expected = { tokens: number[]; values: Float64Array };
/** `fault`: what no rounding explains. */
export type Verdict = { error: number; fault?: string };

/** `count` of [0, total), the first and the last among them, in order. */
export function sample(total: number, count: number, seed: number): number[] {
  if (total <= count) return Array.from({ length: total }, (_, i) => i);
  const random = new Random(seed);
  const chosen = new Set([0, total - 1]);
  while (chosen.size < count) chosen.add(Math.floor(random.next() * total));
  return [...chosen].sort((a, b) => a - b);
}

export async function sampleWeights(gpu: Gpu, matrix: BenchMatrix, parts: readonly WeightPart[]): Promise<SampledWeights> {
  const { cols, format } = matrix;
  if (format.kind !== 'affine') throw new Error('only affine weights are made here');
  const { bits, group } = format;
  const rows = sample(matrix.rows, sampledRows, 1);
  const wordBytes = (cols * bits) / 8;
  const pairBytes = (cols / group) * 4;
  const places = rows.map((row) => {
    const part = parts.find(({ firstRow, rows }) => row >= firstRow && row < firstRow + rows)!;
    return { ...part, row: row - part.firstRow };
  });
  const bytes = await readRanges(gpu, [
    ...places.map(({ buffer, wordsAt, row }) => ({ buffer, byteOffset: wordsAt + row * wordBytes, byteLength: wordBytes })),
    ...places.map(({ buffer, pairsAt, row }) => ({ buffer, byteOffset: pairsAt + row * pairBytes, byteLength: pairBytes })),
  ]);
  const words = new Uint32Array(bytes, 0, (rows.length * wordBytes) / 4);
  const pairs = new Uint32Array(bytes, rows.length * wordBytes);
  const shape = { rows: rows.length, cols, bits, group };
  const scales = Float64Array.from(pairs, (pair) => bf16Value(pair & 0xffff));
  const biases = Float64Array.from(pairs, (pair) => bf16Value(pair >>> 16));
  return { rows, values: dequantise({ q: unpackBits(words, shape), scales, biases }, shape) };
}

/** `x` [tokens, cols] f32. */
export async function expectProduct(
  gpu: Gpu,
  { rows, values }: SampledWeights,
  cols: number,
  x: { buffer: GPUBuffer; tokens: number },
): Promise<Expected> {
  const tokens = sample(x.tokens, sampledTokens, 2);
  const byteLength = cols * 4;
  const ranges = tokens.map((token) => ({ buffer: x.buffer, byteOffset: token * byteLength, byteLength }));
  const inputs = new Float32Array(await readRanges(gpu, ranges));
  return { tokens, values: gemmReference(inputs, values, { tokens: tokens.length, rows: rows.length, cols }) };
}

/** `y` [tokens, outCols] f32 and a guard behind it, poisoned before the product ran. */
export async function checkProduct(
  gpu: Gpu,
  sampled: SampledWeights,
  expected: Expected,
  y: { buffer: GPUBuffer; tokens: number; outCols: number },
): Promise<Verdict> {
  const byteLength = y.outCols * 4;
  const bytes = await readRanges(gpu, [
    ...expected.tokens.map((token) => ({ buffer: y.buffer, byteOffset: token * byteLength, byteLength })),
    { buffer: y.buffer, byteOffset: y.tokens * byteLength, byteLength: guardValues * 4 },
  ]);
  const got = new Float32Array(bytes);
  const tokenRows = got.subarray(0, expected.tokens.length * y.outCols);
  const chosen = expected.tokens.flatMap((_, t) => sampled.rows.map((row) => tokenRows[t * y.outCols + row]!));
  const error = relativeError(chosen, expected.values);
  const missing = tokenRows.indexOf(poison);
  if (missing >= 0) return { error, fault: `row ${missing % y.outCols} was not written` };
  const stray = got.subarray(tokenRows.length).findIndex((value) => value !== poison);
  if (stray >= 0) return { error, fault: `a value was written ${stray + 1} behind the end of y` };
  return { error };
}

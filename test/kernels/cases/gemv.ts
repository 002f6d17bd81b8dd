import type { MatrixFormat } from '../../../src/format/types';
import type { Gpu } from '../../../src/gpu/device';
import type { Kernel } from '../../../src/gpu/kernel';
import { createGemv, createGemvDirect, createGemvQ4 } from '../../../src/kernels/gemv';
import { gemmReference } from '../../../src/kernels/reference/gemv';
import {
  compare,
  type KernelCase,
  onBench,
  type Reduction,
  random,
  randomMatrix,
  requireStem,
  skip,
  ulp,
  uniform,
  withReduction,
} from '../harness';
import { affine, bf16, describeFormat, f16, f32, q3, q4 } from './formats';

type Stem = 'gemv' | 'gemv_q4' | 'gemv_direct' | 'gemv_q4_direct';
type Row = {
  stem: Stem;
  /** 'direct' stems have nothing to reduce. */
  reduction: Reduction;
  rows: number;
  cols: number;
  format: MatrixFormat;
  accumulate?: boolean;
  /** Rows before which a new part begins. */
  cuts?: number[];
  /** 16-byte units of other weights before this one. */
  baseUnits?: number;
  /** In place of the kernel's own grid. */
  grid?: readonly [number, number];
  why: string;
};

const table: Row[] = [
  { stem: 'gemv', reduction: 'subgroups', rows: 1, cols: 4, format: f32, why: 'the smallest: one row of one quad' },
  {
    stem: 'gemv',
    reduction: 'workgroup',
    rows: 7,
    cols: 320,
    format: q3(64, 'bf16'),
    why: '16 lanes work on the last stride; rows end within a block of four',
  },
  { stem: 'gemv', reduction: 'subgroups', rows: 7, cols: 320, format: q3(64, 'bf16'), why: 'the same with subgroups' },
  {
    stem: 'gemv',
    reduction: 'subgroups',
    rows: 6,
    cols: 96,
    format: q3(32, 'f16'),
    accumulate: true,
    baseUnits: 9,
    cuts: [1, 4],
    why: 'parts that begin at odd rows add to y',
  },
  { stem: 'gemv', reduction: 'subgroups', rows: 5, cols: 384, format: q3(128, 'f32'), why: 'the largest group, pairs of f32' },
  {
    stem: 'gemv',
    reduction: 'workgroup',
    rows: 9,
    cols: 36,
    format: bf16,
    accumulate: true,
    cuts: [4],
    baseUnits: 3,
    why: 'padded rows, in parts',
  },
  { stem: 'gemv', reduction: 'subgroups', rows: 3, cols: 12, format: f16, why: 'padded rows' },
  {
    stem: 'gemv',
    reduction: 'subgroups',
    rows: 262_149,
    cols: 4,
    format: f32,
    why: 'more row blocks than one grid dimension holds',
  },
  {
    stem: 'gemv',
    reduction: 'subgroups',
    rows: 21,
    cols: 4,
    format: f32,
    grid: [2, 4],
    why: 'a folded grid larger than the rows',
  },

  { stem: 'gemv_q4', reduction: 'subgroups', rows: 1, cols: 32, format: q4(32, 'bf16'), why: 'one row, one group' },
  { stem: 'gemv_q4', reduction: 'workgroup', rows: 3, cols: 576, format: q4(64, 'bf16'), why: '8 lanes work on the last stride' },
  { stem: 'gemv_q4', reduction: 'subgroups', rows: 3, cols: 576, format: q4(64, 'bf16'), why: 'the same with subgroups' },
  {
    stem: 'gemv_q4',
    reduction: 'subgroups',
    rows: 10,
    cols: 640,
    format: q4(128, 'f16'),
    accumulate: true,
    cuts: [3, 8],
    baseUnits: 7,
    why: 'three parts add to y',
  },
  {
    stem: 'gemv_q4',
    reduction: 'subgroups',
    rows: 6,
    cols: 96,
    format: q4(32, 'f32'),
    baseUnits: 1,
    why: 'pairs of f32, an odd number a row',
  },
  { stem: 'gemv_q4', reduction: 'subgroups', rows: 21, cols: 32, format: q4(32, 'bf16'), grid: [2, 4], why: 'a folded grid' },

  { stem: 'gemv_direct', reduction: 'direct', rows: 1, cols: 4, format: f32, why: 'the smallest' },
  { stem: 'gemv_direct', reduction: 'direct', rows: 1_500, cols: 4, format: f32, grid: [2, 4], why: 'a folded grid' },
  {
    stem: 'gemv_direct',
    reduction: 'direct',
    rows: 7,
    cols: 36,
    format: bf16,
    accumulate: true,
    cuts: [1, 6],
    baseUnits: 3,
    why: 'padded rows, in parts that add to y',
  },
  { stem: 'gemv_direct', reduction: 'direct', rows: 6, cols: 12, format: f16, why: 'padded rows' },
  {
    stem: 'gemv_direct',
    reduction: 'direct',
    rows: 270,
    cols: 96,
    format: q3(32, 'bf16'),
    cuts: [259],
    why: 'more rows than a workgroup; weights straddle words',
  },
  { stem: 'gemv_direct', reduction: 'direct', rows: 5, cols: 128, format: q3(64, 'f16'), baseUnits: 4, why: 'pairs of f16' },
  {
    stem: 'gemv_direct',
    reduction: 'direct',
    rows: 5,
    cols: 384,
    format: q3(128, 'f32'),
    accumulate: true,
    why: 'the largest group, pairs of f32',
  },
  { stem: 'gemv_direct', reduction: 'direct', rows: 5, cols: 64, format: affine(2, 32, 'bf16'), why: 'two bits' },
  { stem: 'gemv_direct', reduction: 'direct', rows: 5, cols: 64, format: affine(5, 32, 'bf16'), why: 'five bits' },
  { stem: 'gemv_direct', reduction: 'direct', rows: 5, cols: 64, format: affine(6, 64, 'bf16'), why: 'six bits' },
  {
    stem: 'gemv_direct',
    reduction: 'direct',
    rows: 5,
    cols: 64,
    format: affine(8, 64, 'bf16'),
    why: 'eight bits: four weights fill a word',
  },

  { stem: 'gemv_q4_direct', reduction: 'direct', rows: 1, cols: 32, format: q4(32, 'bf16'), why: 'one row, one group' },
  {
    stem: 'gemv_q4_direct',
    reduction: 'direct',
    rows: 1_500,
    cols: 32,
    format: q4(32, 'bf16'),
    grid: [2, 4],
    why: 'a folded grid',
  },
  {
    stem: 'gemv_q4_direct',
    reduction: 'direct',
    rows: 10,
    cols: 576,
    format: q4(64, 'f16'),
    accumulate: true,
    cuts: [3, 8],
    baseUnits: 7,
    why: 'three parts add to y',
  },
  {
    stem: 'gemv_q4_direct',
    reduction: 'direct',
    rows: 270,
    cols: 384,
    format: q4(128, 'f32'),
    why: 'more rows than a workgroup; pairs of f32',
  },
];

function create(stem: Stem, gpu: Gpu, shape: { cols: number; format: MatrixFormat; accumulate: boolean }): Kernel {
  const { format } = shape;
  if (stem === 'gemv') return createGemv(gpu, shape);
  if (stem !== 'gemv_q4') return createGemvDirect(gpu, shape);
  if (format.kind !== 'affine' || format.bits !== 4) throw new Error('gemv_q4 takes 4-bit weights');
  return createGemvQ4(gpu, { ...shape, format: { ...format, bits: 4 } });
}

export const gemvCases: KernelCase[] = table.map(
  ({ stem, reduction, rows, cols, format, accumulate = false, cuts = [], baseUnits = 0, grid, why }) => ({
    kernel: stem,
    name: `${reduction}, ${describeFormat(format)}, ${rows} x ${cols}${accumulate ? ', accumulate' : ''}${cuts.length ? `, cut before ${cuts}` : ''}`,
    why,
    run: async (device) => {
      const gpu = withReduction(device, reduction);
      if (typeof gpu === 'string') return skip(gpu);
      const next = random(6);
      const matrix = randomMatrix(next, rows, cols, format);
      const x = uniform(next, cols);
      const before = uniform(next, rows);
      return onBench(gpu, async (bench) => {
        const y = bench.output(accumulate ? before : rows);
        const kernel = create(stem, gpu, { cols, format, accumulate });
        requireStem(kernel, stem);
        const used = grid ? { ...kernel, grid: () => grid } : kernel;
        const bindings = { x: bench.input(x), y };
        const parts = bench.matrix(matrix, { baseUnits, cuts });
        await bench.run(...parts.map((part) => ({ kernel: used, bindings, ...part })));
        const shape = { tokens: 1, rows, cols };
        const want = gemmReference(x, matrix.values, shape);
        const scale = gemmReference(x.map(Math.abs), matrix.sizes, shape);
        if (accumulate) for (let r = 0; r < rows; r++) want[r]! += before[r]!;
        if (accumulate) for (let r = 0; r < rows; r++) scale[r]! += Math.abs(before[r]!);
        // cols products added; scale * q + bias and the product with x round three times; one more for the residual.
        return compare('y', await bench.read(y), want, (cols + 4) * ulp, scale);
      });
    },
  }),
);

import type { MatrixFormat } from '../format/types';
import type { Gpu } from '../gpu/device';
import type { Kernel } from '../gpu/kernel';
import { createGemv, createGemvDirect, createGemvQ4 } from '../kernels/gemv';
import { createGemvQ4Wide, type WideTeam, wideName } from '../kernels/gemv_teams';
import { gemmReference } from '../kernels/reference/gemv';
import { affine, bf16, describeFormat, f16, f32, q3, q4 } from './formats';
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
} from './harness';

type Stem = 'gemv' | 'gemv_q4' | 'gemv_q4_staged' | 'gemv_q4_held' | 'gemv_direct' | 'gemv_q4_direct';
type Row = {
  stem: Stem;
  /** 'direct' stems have nothing to reduce. */
  reduction: Reduction;
  rows: number;
  cols: number;
  format: MatrixFormat;
  accumulate?: boolean;
  /** Of gemv_q4_staged and gemv_q4_held. */
  team?: WideTeam;
  /** Rows before which a new part begins. */
  cuts?: number[];
  /** 16-byte units of other weights before this one. */
  baseUnits?: number;
  /** In place of the kernel's own grid. */
  grid?: readonly [number, number];
  why: string;
};

/** `shape`: rows and lanes x teams. */
function staged([rows, lanes, teams]: [2 | 4, number, number], kib = 16, nibbles: WideTeam['nibbles'] = 'convert') {
  return { stem: 'gemv_q4_staged', team: { rows, lanes, teams, x: 'staged', kib, nibbles } } as const;
}

function held([rows, lanes, teams]: [2 | 4, number, number], blocks = 1, kib = 16, nibbles: WideTeam['nibbles'] = 'convert') {
  return { stem: 'gemv_q4_held', team: { rows, lanes, teams, x: 'held', blocks, kib, nibbles } } as const;
}

const wide: Row[] = [
  {
    ...staged([4, 8, 2]),
    reduction: 'workgroup',
    rows: 37,
    cols: 576,
    format: q4(64, 'bf16'),
    why: 'two units left on the last step; rows end within a team',
  },
  {
    ...staged([2, 16, 4], 8),
    reduction: 'workgroup',
    rows: 5,
    cols: 2304,
    format: q4(64, 'f16'),
    why: 'two chunks, the second a step shorter and its last not full; more teams than rows',
  },
  {
    ...staged([4, 8, 4], 16, 'folded'),
    reduction: 'workgroup',
    rows: 70,
    cols: 96,
    format: q4(32, 'f32'),
    baseUnits: 1,
    why: 'fewer units than lanes; pairs of f32, an odd number a row; constants subtracted per unit',
  },
  {
    ...staged([4, 8, 2]),
    reduction: 'workgroup',
    rows: 40,
    cols: 32,
    format: q4(32, 'bf16'),
    grid: [2, 4],
    why: 'one unit; a folded grid larger than the rows',
  },
  {
    ...staged([4, 32, 2]),
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
    ...staged([4, 4, 16]),
    reduction: 'subgroups',
    rows: 21,
    cols: 576,
    format: q4(64, 'bf16'),
    why: 'one subgroup a team where it has four lanes',
  },
  {
    ...held([4, 104, 1], 3, 12),
    reduction: 'workgroup',
    rows: 21,
    cols: 3104,
    format: q4(32, 'bf16'),
    why: 'x held from two chunks; idle lanes, which are no power of two; more blocks than rows',
  },
  {
    ...held([2, 80, 1], 4, 16, 'folded'),
    reduction: 'subgroups',
    rows: 21,
    cols: 2304,
    format: q4(64, 'bf16'),
    why: 'several subgroups a team, two rows a block, the last of a team past the end; constants subtracted per unit',
  },
  {
    ...held([4, 32, 1]),
    reduction: 'subgroups',
    rows: 6,
    cols: 1024,
    format: q4(64, 'f16'),
    accumulate: true,
    cuts: [1],
    baseUnits: 3,
    why: 'a lane for each unit; two parts add to y',
  },
];

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

  ...wide,

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

function create(gpu: Gpu, { stem, cols, format, accumulate = false, team }: Row): Kernel {
  if (stem === 'gemv') return createGemv(gpu, { cols, format, accumulate });
  if (stem.endsWith('direct')) return createGemvDirect(gpu, { format, accumulate });
  if (format.kind !== 'affine' || format.bits !== 4) throw new Error(`${stem} takes 4-bit weights`);
  const shape = { cols, accumulate, format: { ...format, bits: 4 as const } };
  return team ? createGemvQ4Wide(gpu, { ...shape, team }) : createGemvQ4(gpu, shape);
}

function nameOf({ reduction, rows, cols, format, accumulate, cuts, team }: Row): string {
  const shared = team ? `, ${wideName(team)}` : '';
  return `${reduction}, ${describeFormat(format)}, ${rows} x ${cols}${shared}${accumulate ? ', accumulate' : ''}${cuts ? `, cut before ${cuts}` : ''}`;
}

export const gemvCases: KernelCase[] = table.map((row) => ({
  kernel: row.stem,
  name: nameOf(row),
  why: row.why,
  run: async (device) => {
    const { stem, reduction, rows, cols, format, accumulate = false, cuts = [], baseUnits = 0, grid } = row;
    const gpu = withReduction(device, reduction);
    if (typeof gpu === 'string') return skip(gpu);
    const next = random(6);
    const matrix = randomMatrix(next, rows, cols, format);
    const x = uniform(next, cols);
    const before = uniform(next, rows);
    return onBench(gpu, async (bench) => {
      const y = bench.output(accumulate ? before : rows);
      const kernel = create(gpu, row);
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
      // 'folded' adds 2^11 + q in place of q <= 15 to half of the sums of a unit, eight terms each.
      const folds = row.team?.nibbles === 'folded' ? (4 * 2 ** 11) / 15 : 0;
      return compare('y', await bench.read(y), want, (cols + 4 + folds) * ulp, scale);
    });
  },
}));

/** A few tokens times 4-bit weights: gemm_q4_few on f32, gemm_q4_few_int on what quantise wrote. */
import type { MatrixFormat } from '../format/types';
import type { Gpu } from '../gpu/device';
import type { Grid } from '../gpu/kernel';
import { createGemmQ4Few, createGemmQ4FewInt, type FewTeam, fewName } from '../kernels/gemm_few';
import { gemmReference } from '../kernels/reference/gemv';
import { type Affine4, type IntDtype, isInt } from '../kernels/variants';
import { describeFormat, q4 } from './formats';
import { missing, quantised } from './gemv_units';
import { compare, type KernelCase, onBench, random, randomMatrix, requireStem, skip, ulp, uniform } from './harness';

type Row = {
  x: 'f32' | Exclude<IntDtype, 'int24'>;
  team: FewTeam;
  rows: number;
  cols: number;
  format: MatrixFormat;
  tokens: number;
  accumulate?: boolean;
  cuts?: number[];
  baseUnits?: number;
  grid?: Grid;
  why: string;
};

const eight: FewTeam = { lanes: 32, teams: 4, tokens: 8 };
const usual = { rows: 21, cols: 1600, format: q4(64, 'bf16'), baseUnits: 2 };
const table: Omit<Row, 'x'>[] = [
  { team: eight, rows: 1, cols: 32, format: q4(32, 'bf16'), tokens: 1, why: 'one row of one group, one token; most lanes idle' },
  ...[2, 3, 8, 9].map((tokens) => ({
    team: eight,
    ...usual,
    tokens,
    why: `${tokens} tokens of blocks of eight; lanes idle in the last step, rows end within a workgroup`,
  })),
  {
    team: { lanes: 32, teams: 2, tokens: 2 },
    rows: 70,
    cols: 64,
    format: q4(32, 'f32'),
    tokens: 2,
    grid: [3, 1, 3],
    why: 'row blocks folded into z; pairs of f32',
  },
  {
    team: { lanes: 64, teams: 1, tokens: 4 },
    rows: 33,
    cols: 256,
    format: q4(128, 'f16'),
    accumulate: true,
    tokens: 7,
    cuts: [1, 30],
    baseUnits: 5,
    why: 'three parts add to y; two blocks of four tokens',
  },
  {
    team: { lanes: 128, teams: 1, tokens: 8 },
    rows: 9,
    cols: 320,
    format: q4(64, 'bf16'),
    accumulate: true,
    tokens: 16,
    why: 'two blocks of eight tokens add to y; more lanes than units',
  },
];

const dtypes = ['f32', 'int8', 'int12', 'int16'] as const;

export const gemmFewCases: KernelCase[] = table.flatMap((shape) =>
  dtypes.map((x): KernelCase => {
    const row = { ...shape, x };
    return {
      kernel: x === 'f32' ? 'gemm_q4_few' : 'gemm_q4_few_int',
      name: nameOf(row),
      why: row.why,
      run: (gpu) => run(gpu, row),
    };
  }),
);

function nameOf({ x, team, rows, cols, format, tokens, accumulate, cuts = [] }: Row): string {
  const rest = [accumulate ? 'accumulate' : '', cuts.length ? `cut before ${cuts}` : ''];
  return [x, fewName(team), describeFormat(format), `${tokens} x ${rows} x ${cols}`, ...rest].filter(Boolean).join(', ');
}

async function run(gpu: Gpu, row: Row): ReturnType<KernelCase['run']> {
  const { x: dtype, team, rows, cols, tokens, accumulate = false, cuts = [], baseUnits = 0, grid } = row;
  const lack = missing(gpu, dtype);
  if (lack) return skip(lack);
  const format = row.format as Affine4;
  const next = random(7);
  const matrix = randomMatrix(next, rows, cols, format);
  const x = uniform(next, tokens * cols);
  const before = accumulate ? uniform(next, tokens * rows) : new Float32Array(tokens * rows);
  return onBench(gpu, async (bench) => {
    const codes = isInt(dtype) ? await quantised(gpu, bench, x, dtype) : { y: bench.input(x), values: Float64Array.from(x) };
    const y = bench.output(accumulate ? before : tokens * rows);
    const shape = { cols, format, accumulate, team };
    const kernel = dtype === 'f32' ? createGemmQ4Few(gpu, shape) : createGemmQ4FewInt(gpu, { ...shape, x: dtype });
    requireStem(kernel, isInt(dtype) ? 'gemm_q4_few_int' : 'gemm_q4_few');
    const used = grid ? { ...kernel, grid: () => grid } : kernel;
    const bindings = { x: codes.y, y, step: bench.step({ tokens }) };
    await bench.run(...bench.matrix(matrix, { baseUnits, cuts }).map((part) => ({ kernel: used, bindings, tokens, ...part })));
    const size = { tokens, rows, cols };
    // What the codes leave of x meets the middle of each group's range, as in gemv_q4_units.
    const rest = Float64Array.from(x, (value, i) => value - codes.values[i]!);
    const main = gemmReference(codes.values, matrix.values, size);
    const left = gemmReference(rest, matrix.middle(), size);
    const want = main.map((value, i) => value + left[i]! + before[i]!);
    const scale = gemmReference(x.map(Math.abs), matrix.sizes, size).map((each, i) => each + Math.abs(before[i]!));
    return compare('y', await bench.read(y), want, (cols + 40) * ulp, scale); // as gemm; a unit's excess rounds as its sum of 32 does
  });
}

/** A few tokens times 4-bit weights, on what quantise wrote. */
import type { MatrixFormat } from '../format/types';
import type { Gpu } from '../gpu/device';
import type { Grid } from '../gpu/kernel';
import { createGemmQ4FewInt, type FewTeam, fewName } from '../kernels/gemm_few_int';
import { createQuantise } from '../kernels/gemv';
import { gemmReference } from '../kernels/reference/gemv';
import { type Affine4, type IntDtype, unitBytes } from '../kernels/variants';
import { describeFormat, q4 } from './formats';
import { noInt8 } from './gemv_units';
import { compare, type KernelCase, onBench, random, randomMatrix, requireStem, skip, ulp, uniform } from './harness';

type Row = {
  x: IntDtype;
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
];

export const gemmFewIntCases: KernelCase[] = table.flatMap((shape) =>
  (['int8', 'int16'] as const).map((x): KernelCase => {
    const row = { ...shape, x };
    return { kernel: 'gemm_q4_few_int', name: nameOf(row), why: row.why, run: (gpu) => run(gpu, row) };
  }),
);

function nameOf({ x, team, rows, cols, format, tokens, accumulate, cuts = [] }: Row): string {
  const rest = [accumulate ? 'accumulate' : '', cuts.length ? `cut before ${cuts}` : ''];
  return [x, fewName(team), describeFormat(format), `${tokens} x ${rows} x ${cols}`, ...rest].filter(Boolean).join(', ');
}

async function run(gpu: Gpu, row: Row): ReturnType<KernelCase['run']> {
  const { x: dtype, team, rows, cols, tokens, accumulate = false, cuts = [], baseUnits = 0, grid } = row;
  if (!gpu.int8Dot) return skip(noInt8);
  const format = row.format as Affine4;
  const next = random(7);
  const matrix = randomMatrix(next, rows, cols, format);
  // Whole numbers, 127 the largest of each 32: codes of one int8 or two hold them as they are.
  const x = uniform(next, tokens * cols).map((value, i) =>
    i % 32 === 7 ? 127 * Math.sign(value) || 127 : Math.round(126 * value),
  );
  const before = uniform(next, tokens * rows);
  return onBench(gpu, async (bench) => {
    const step = bench.step({ tokens });
    const codes = bench.output(unitBytes(tokens * cols, dtype) / 4);
    const quantise = createQuantise(gpu, { cols, y: dtype });
    await bench.run({ kernel: quantise, bindings: { x: bench.input(x), units: codes, step }, tokens });
    const y = bench.output(accumulate ? before : tokens * rows);
    const kernel = createGemmQ4FewInt(gpu, { cols, format, accumulate, team, x: dtype });
    requireStem(kernel, 'gemm_q4_few_int');
    const used = grid ? { ...kernel, grid: () => grid } : kernel;
    const parts = bench.matrix(matrix, { baseUnits, cuts });
    await bench.run(...parts.map((part) => ({ kernel: used, bindings: { x: codes, y, step }, tokens, ...part })));
    const want = gemmReference(x, matrix.values, { tokens, rows, cols });
    const scale = gemmReference(x.map(Math.abs), matrix.sizes, { tokens, rows, cols });
    for (let i = 0; i < want.length && accumulate; i++) {
      want[i]! += before[i]!;
      scale[i]! += Math.abs(before[i]!);
    }
    return compare('y', await bench.read(y), want, (cols + 40) * ulp, scale); // as gemm
  });
}

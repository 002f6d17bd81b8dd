/** The int8 path of one token: quantise_q8, and gemv_q4_q8 on what it wrote. */
import type { MatrixFormat } from '../../../src/format/types';
import type { Gpu } from '../../../src/gpu/device';
import { createQuantiseQ8, q8Bytes } from '../../../src/kernels/gemv';
import { createGemvQ4Q8, type Team, teamName } from '../../../src/kernels/gemv_teams';
import { gemmReference } from '../../../src/kernels/reference/gemv';
import { quantiseReference } from '../../../src/kernels/reference/quantise_q8';
import {
  type Bench,
  compare,
  type KernelCase,
  largest,
  type Outcome,
  type Output,
  onBench,
  type Reduction,
  random,
  randomMatrix,
  requireStem,
  skip,
  ulp,
  uniform,
  withReduction,
  worst,
} from '../harness';
import { describeFormat, q4 } from './formats';

const noInt8 = 'WGSL has no int8 dot product here';

/** What the units of quantise_q8 stand for: values scale * code, and the sum and the excess of each unit. */
function decode(floats: Float32Array) {
  const bytes = new DataView(floats.buffer, floats.byteOffset, floats.byteLength);
  const units = floats.length / 12;
  const values = new Float64Array(units * 32);
  const sums = new Float64Array(units);
  const excesses = new Float64Array(units);
  for (let u = 0; u < units; u++) {
    const [scale, excess, sum] = floats.subarray(12 * u + 8, 12 * u + 11) as unknown as [number, number, number];
    for (let c = 0; c < 32; c++) values[32 * u + c] = scale * bytes.getInt8(48 * u + 16 * (c % 2) + Math.floor(c / 2));
    sums[u] = sum;
    excesses[u] = excess;
  }
  return { values, sums, excesses };
}

const perUnit = (values: ArrayLike<number>, of: (unit: number[]) => number): Float64Array =>
  Float64Array.from({ length: values.length / 32 }, (_, u) => of(Array.from({ length: 32 }, (_, c) => values[32 * u + c]!)));
const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);

async function quantised(
  gpu: Gpu,
  bench: Bench,
  x: Float32Array<ArrayBuffer>,
): Promise<{ y: Output } & ReturnType<typeof decode>> {
  const y = bench.output(q8Bytes(x.length) / 4);
  await bench.run({ kernel: createQuantiseQ8(gpu, { cols: x.length }), bindings: { x: bench.input(x), y } });
  return { y, ...decode(await bench.read(y)) };
}

function compareQuantised(x: Float32Array, got: ReturnType<typeof decode>): Outcome {
  const want = quantiseReference(x);
  const sizes = perUnit(x.map(Math.abs), sum);
  const most = Float64Array.from(x, (_, i) => largest(x.subarray(i - (i % 32), i - (i % 32) + 32)) || 1);
  const excess = perUnit(want.values, sum).map((all, u) => 8 * (all - sum(Array.from(got.values.subarray(32 * u, 32 * u + 32)))));
  return worst(
    compare('values', got.values, want.values, 0.5 / 127 + 8 * ulp, most),
    compare('sums', got.sums, want.sums, 32 * ulp, sizes),
    compare(
      'excess',
      got.excesses,
      excess,
      40 * ulp,
      sizes.map((size) => 16 * size || 1),
    ),
  );
}

const vectors: { cols: number; change(x: number, i: number): number; why: string }[] = [
  { cols: 32, change: (x) => x, why: 'one unit' },
  { cols: 2112, change: (x) => x, why: 'more units than a workgroup' },
  { cols: 96, change: (x, i) => (i < 32 ? 0 : x * 1e-3), why: 'a unit of zeros' },
  { cols: 64, change: (x, i) => (i % 32 === 7 ? -200 : 0.3 * Math.abs(x)), why: 'one value makes the others round to nothing' },
];

const quantiseCases = vectors.map(
  ({ cols, change, why }): KernelCase => ({
    kernel: 'quantise_q8',
    name: `${cols}`,
    why,
    run: async (gpu) => {
      if (!gpu.int8Dot) return skip(noInt8);
      const x = uniform(random(8), cols).map(change);
      return onBench(gpu, async (bench) => compareQuantised(x, await quantised(gpu, bench, x)));
    },
  }),
);

type Row = {
  reduction: Exclude<Reduction, 'direct'>;
  rows: number;
  cols: number;
  format: MatrixFormat & { kind: 'affine'; bits: 4 };
  team: Team;
  accumulate?: boolean;
  cuts?: number[];
  baseUnits?: number;
  why: string;
};

const table: Row[] = [
  {
    reduction: 'workgroup',
    rows: 21,
    cols: 576,
    format: q4(64, 'bf16'),
    team: { rows: 2, lanes: 8, teams: 2 },
    why: 'two units left on the last step; rows end within a team',
  },
  {
    reduction: 'workgroup',
    rows: 70,
    cols: 96,
    format: q4(32, 'f32'),
    team: { rows: 4, lanes: 8, teams: 4 },
    baseUnits: 1,
    why: 'fewer units than lanes; pairs of f32, an odd number a row',
  },
  {
    reduction: 'subgroups',
    rows: 10,
    cols: 640,
    format: q4(128, 'f16'),
    team: { rows: 4, lanes: 32, teams: 2 },
    accumulate: true,
    cuts: [3, 8],
    baseUnits: 7,
    why: 'three parts add to y',
  },
];

const productCases = table.map(
  (row): KernelCase => ({
    kernel: 'gemv_q4_q8',
    name: `${row.reduction}, ${describeFormat(row.format)}, ${row.rows} x ${row.cols}, ${teamName(row.team)}`,
    why: row.why,
    run: async (device) => {
      const gpu = withReduction(device, row.reduction);
      if (typeof gpu === 'string') return skip(gpu);
      return gpu.int8Dot ? onBench(gpu, (bench) => product(gpu, bench, row)) : skip(noInt8);
    },
  }),
);

async function product(gpu: Gpu, bench: Bench, row: Row): Promise<Outcome> {
  const { rows, cols, format, team, accumulate = false, cuts = [], baseUnits = 0 } = row;
  const next = random(9);
  const matrix = randomMatrix(next, rows, cols, format);
  const x = uniform(next, cols);
  const before = accumulate ? uniform(next, rows) : new Float32Array(rows);
  const y = bench.output(accumulate ? before : rows);
  const kernel = createGemvQ4Q8(gpu, { cols, format, accumulate, team });
  requireStem(kernel, 'gemv_q4_q8');
  const codes = await quantised(gpu, bench, x);
  const parts = bench.matrix(matrix, { baseUnits, cuts });
  await bench.run(...parts.map((part) => ({ kernel, bindings: { x: codes.y, y }, ...part })));
  const shape = { tokens: 1, rows, cols };
  // What the codes leave of x meets the middle of each group's range, scale * 8 + bias, in place of the weight itself.
  const rest = Float64Array.from(x, (value, i) => value - codes.values[i]!);
  const main = gemmReference(codes.values, matrix.values, shape);
  const left = gemmReference(rest, matrix.middle(), shape);
  const want = main.map((value, r) => value + left[r]! + before[r]!);
  const scale = gemmReference(x.map(Math.abs), matrix.sizes, shape).map((size, r) => size + Math.abs(before[r]!));
  return compare('y', await bench.read(y), want, (cols + 40) * ulp, scale); // the excess of a unit rounds as its sum of 32 does
}

export const gemvQ8Cases: KernelCase[] = [...quantiseCases, ...productCases];

/** Units of 32 activations of one token: quantise, and gemv_q4_units on what it wrote. */
import type { MatrixFormat } from '../format/types';
import type { Gpu } from '../gpu/device';
import type { Kernel } from '../gpu/kernel';
import { createQuantise } from '../kernels/gemv';
import { createGemvQ4Units, createGemvQ4Wide, type Team, teamName } from '../kernels/gemv_teams';
import { gemmReference } from '../kernels/reference/gemv';
import { quantiseReference } from '../kernels/reference/quantise';
import {
  type ActivationDtype,
  type Affine4,
  codeBytes,
  type IntDtype,
  intDtypes,
  isInt,
  piecesOf,
  type UnitDtype,
  unitBytes,
} from '../kernels/variants';
import { describeFormat, q4 } from './formats';
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
} from './harness';

export const noInt8 = 'WGSL has no int8 dot product here';
/** Why a device cannot run a case on such activations; undefined where it can. */
export const missing = (gpu: Gpu, dtype: ActivationDtype): string | undefined =>
  isInt(dtype) && !gpu.int8Dot ? noInt8 : undefined;

/** Steps from 0 to the largest value of a unit. */
const stepsOf: Record<IntDtype, number> = { int8: 127, int12: 1791, int16: 32512, int24: 8_323_072 };

/** What units stand for: values, the sum of each unit, and of integers, values scale * code, its excess. Pieces lie as unit_layout says. */
export function decodeUnits(floats: Float32Array, count: number, dtype: UnitDtype) {
  const bytes = new DataView(floats.buffer, floats.byteOffset, floats.byteLength);
  const pieces = piecesOf(dtype);
  const units = count / 32;
  const values = new Float64Array(units * 32);
  const sums = new Float64Array(units);
  const excesses = new Float64Array(units);
  for (let u = 0; u < units; u++) {
    const word = (piece: number) => 4 * ((u - (u % 8)) * pieces + piece * 8 + (u % 8));
    if (!isInt(dtype)) {
      for (let c = 0; c < 32; c++) values[32 * u + c] = floats[word(Math.floor(c / 4)) + (c % 4)]!;
      for (let j = 0; j < 4; j++) sums[u]! += floats[word(8) + j]!;
      continue;
    }
    const tail = word(codeBytes(dtype));
    const [scale, excess, sum] = floats.subarray(tail, tail + 3) as unknown as [number, number, number];
    for (let c = 0; c < 32; c++) {
      const at = (piece: number) => 4 * word(piece) + Math.floor(c / 2);
      const high = bytes.getInt8(at(c % 2));
      if (dtype === 'int8') values[32 * u + c] = scale * high;
      else if (dtype === 'int16') values[32 * u + c] = scale * (256 * high + bytes.getInt8(at(2 + (c % 2))));
      else if (dtype === 'int24') {
        const [low, last] = [2, 4].map((piece) => bytes.getInt8(at(piece + (c % 2)))) as [number, number];
        values[32 * u + c] = scale * (65536 * high + 256 * low + last);
      } else values[32 * u + c] = scale * (256 * high + (c % 2 ? 16 : 1) * bytes.getUint8(at(2)));
    }
    sums[u] = sum;
    excesses[u] = excess;
  }
  return { values, sums, excesses };
}

const perUnit = (values: ArrayLike<number>, of: (unit: number[]) => number): Float64Array =>
  Float64Array.from({ length: values.length / 32 }, (_, u) => of(Array.from({ length: 32 }, (_, c) => values[32 * u + c]!)));
const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);

export async function quantised(
  gpu: Gpu,
  bench: Bench,
  x: Float32Array<ArrayBuffer>,
  dtype: UnitDtype,
): Promise<{ y: Output } & ReturnType<typeof decodeUnits>> {
  const y = bench.output(unitBytes(x.length, dtype) / 4);
  await bench.run({
    kernel: createQuantise(gpu, { cols: x.length, y: dtype }),
    bindings: { x: bench.input(x), units: y, step: bench.step({ tokens: 1 }) },
  });
  return { y, ...decodeUnits(await bench.read(y), x.length, dtype) };
}

/** @param x what was quantised, `noise` its own relative error. */
export function compareDecoded(x: Float32Array, got: ReturnType<typeof decodeUnits>, dtype: UnitDtype, noise = 0): Outcome {
  const want = quantiseReference(x);
  const sizes = perUnit(x.map(Math.abs), sum);
  const most = Float64Array.from(x, (_, i) => largest(x.subarray(i - (i % 32), i - (i % 32) + 32)) || 1);
  if (!isInt(dtype)) {
    return worst(
      compare('values', got.values, want.values, noise, most),
      compare('sums', got.sums, want.sums, 32 * ulp + noise, sizes),
    );
  }
  const excess = perUnit(want.values, sum).map((all, u) =>
    dtype === 'int24' ? 0 : 8 * (all - sum(Array.from(got.values.subarray(32 * u, 32 * u + 32)))),
  );
  return worst(
    compare('values', got.values, want.values, 0.5 / stepsOf[dtype] + 8 * ulp + noise, most),
    compare('sums', got.sums, want.sums, 32 * ulp + noise, sizes),
    compare(
      'excess',
      got.excesses,
      excess,
      40 * ulp + noise,
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

const quantiseCases = vectors.flatMap(({ cols, change, why }) =>
  (['f32x32', ...intDtypes] as const).map(
    (dtype): KernelCase => ({
      kernel: 'quantise',
      name: `${cols} to ${dtype}`,
      why,
      run: async (gpu) => {
        const lack = missing(gpu, dtype);
        if (lack) return skip(lack);
        const x = uniform(random(8), cols).map(change);
        return onBench(gpu, async (bench) => compareDecoded(x, await quantised(gpu, bench, x, dtype), dtype));
      },
    }),
  ),
);

type Row = {
  reduction: Exclude<Reduction, 'direct'>;
  rows: number;
  cols: number;
  format: MatrixFormat & { kind: 'affine'; bits: 4 };
  team: Team;
  x: UnitDtype;
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
    x: 'int8',
    why: 'two units left on the last step; rows end within a team',
  },
  {
    reduction: 'workgroup',
    rows: 70,
    cols: 96,
    format: q4(32, 'f32'),
    team: { rows: 4, lanes: 8, teams: 4 },
    x: 'int16',
    baseUnits: 1,
    why: 'fewer units than lanes; pairs of f32, an odd number a row',
  },
  ...(['int12', 'int24'] as const).map(
    (x): Row => ({
      reduction: 'workgroup',
      rows: 21,
      cols: 1120,
      format: q4(32, 'bf16'),
      team: { rows: 4, lanes: 16, teams: 2 },
      x,
      baseUnits: 3,
      why: `codes ${x === 'int12' ? 'that share their low bytes' : 'whose sums are beyond 32 bits'}; three units left on the last step`,
    }),
  ),
  ...(['int16', 'int24', 'f32x32'] as const).map(
    (x): Row => ({
      reduction: 'subgroups',
      rows: 10,
      cols: 640,
      format: q4(128, 'f16'),
      team: { rows: 4, lanes: 32, teams: 2 },
      x,
      accumulate: true,
      cuts: [3, 8],
      baseUnits: 7,
      why: 'three parts add to y',
    }),
  ),
  {
    reduction: 'workgroup',
    rows: 21,
    cols: 576,
    format: q4(64, 'bf16'),
    team: { rows: 2, lanes: 8, teams: 2 },
    x: 'f32x32',
    why: 'two units left on the last step; rows end within a team',
  },
];

const productCases = table.map(
  (row): KernelCase => ({
    kernel: 'gemv_q4_units',
    name: `${row.reduction}, ${describeFormat(row.format)}, ${row.rows} x ${row.cols}, ${row.x}, ${teamName(row.team)}`,
    why: row.why,
    run: async (device) => {
      const gpu = withReduction(device, row.reduction);
      if (typeof gpu === 'string') return skip(gpu);
      const lack = missing(gpu, row.x);
      return lack ? skip(lack) : onBench(gpu, (bench) => product(gpu, bench, row));
    },
  }),
);

async function product(gpu: Gpu, bench: Bench, row: Row): Promise<Outcome> {
  const { rows, cols, format, team, x: dtype, accumulate = false, cuts = [], baseUnits = 0 } = row;
  const next = random(9);
  const matrix = randomMatrix(next, rows, cols, format);
  const x = uniform(next, cols);
  const before = accumulate ? uniform(next, rows) : new Float32Array(rows);
  const y = bench.output(accumulate ? before : rows);
  const kernel = createGemvQ4Units(gpu, { cols, format, accumulate, team, x: dtype });
  requireStem(kernel, 'gemv_q4_units');
  const codes = await quantised(gpu, bench, x, dtype);
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

/** Of a unit's columns 0 and 4 the weights are alike and x is 127 * 65,536 and as much below 0, so that what is left is in the lower planes alone. */
const lowerPlanesCase: KernelCase = {
  kernel: 'gemv_q4_units',
  name: 'int24, the lower planes alone',
  why: 'beside the highest plane an error of theirs is as small as rounding',
  run: async (gpu) => {
    const lack = missing(gpu, 'int24');
    if (lack) return skip(lack);
    const [rows, cols, next, format] = [21, 576, random(10), q4(64, 'bf16')];
    const drawn: number[] = [];
    const alike = () => {
      drawn.push(drawn.length % 32 === 4 ? drawn.at(-4)! : next());
      return drawn.at(-1)!;
    };
    const matrix = randomMatrix(alike, rows, cols, format);
    const most = 127 * 65_536;
    const small = Float32Array.from({ length: cols }, (_, i) =>
      i % 32 === 0 || i % 32 === 4 ? 0 : Math.round(60_000 * next() - 30_000),
    );
    const x = small.map((value, i) => (i % 32 === 0 ? most : i % 32 === 4 ? -most : value));
    return onBench(gpu, async (bench) => {
      const y = bench.output(rows);
      const team: Team = { rows: 2, lanes: 8, teams: 2 };
      const kernel = createGemvQ4Units(gpu, { cols, format, accumulate: false, team, x: 'int24' });
      const codes = await quantised(gpu, bench, x, 'int24');
      await bench.run(...bench.matrix(matrix).map((part) => ({ kernel, bindings: { x: codes.y, y }, ...part })));
      const shape = { tokens: 1, rows, cols };
      const scale = gemmReference(small.map(Math.abs), matrix.sizes, shape);
      return compare('y', await bench.read(y), gemmReference(small, matrix.values, shape), (cols + 40) * ulp, scale);
    });
  },
};

// ---- several matrices in one dispatch -------------------------------------------------------------------------------

type SeveralRow = {
  stem: string;
  create(gpu: Gpu, shape: { cols: number; format: Affine4; accumulate: false }): Kernel;
  x: ActivationDtype;
};
const team: Team = { rows: 4, lanes: 8, teams: 2 };
const severalRows: SeveralRow[] = [
  { stem: 'gemv_q4_units', create: (gpu, shape) => createGemvQ4Units(gpu, { ...shape, team, x: 'int16' }), x: 'int16' },
  {
    stem: 'gemv_q4_staged',
    create: (gpu, shape) => createGemvQ4Wide(gpu, { ...shape, team: { ...team, x: 'staged', kib: 16, nibbles: 'convert' } }),
    x: 'f32',
  },
  {
    stem: 'gemv_q4_held',
    create: (gpu, shape) =>
      createGemvQ4Wide(gpu, { ...shape, team: { ...team, teams: 1, x: 'held', blocks: 2, kib: 16, nibbles: 'convert' } }),
    x: 'f32',
  },
];

const severalCases = severalRows.map(
  ({ stem, create, x: dtype }): KernelCase => ({
    kernel: stem,
    name: 'four matrices in one dispatch',
    why: 'none of them ends with a workgroup; each goes to a place of its own',
    run: async (device) => {
      const gpu = withReduction(device, 'workgroup');
      if (typeof gpu === 'string') return skip(gpu);
      const lack = missing(gpu, dtype);
      if (lack) return skip(lack);
      return onBench(gpu, async (bench) => {
        const cols = 256;
        const format = q4(64, 'bf16');
        const next = random(10);
        const matrices = [21, 3, 40, 1].map((rows) => randomMatrix(next, rows, cols, format));
        const ats = [64, 48, 0, 60];
        const x = uniform(next, cols);
        const y = bench.output(85);
        const kernel = create(gpu, { cols, format, accumulate: false });
        const per = kernel.rowsPerWorkgroup!;
        const rows = matrices.reduce((sum, matrix) => sum + Math.ceil(matrix.rows / per) * per, 0);
        const codes = dtype === 'f32' ? undefined : await quantised(gpu, bench, x, dtype);
        const weights = bench.several(matrices, ats);
        await bench.run({ kernel, bindings: { x: codes?.y ?? bench.input(x), y }, weights, rows });
        const got = await bench.read(y);
        return worst(
          ...matrices.map((matrix, i) => {
            const shape = { tokens: 1, rows: matrix.rows, cols };
            const scale = gemmReference(x.map(Math.abs), matrix.sizes, shape);
            const own = got.subarray(ats[i]!, ats[i]! + matrix.rows);
            const rounding = isInt(dtype) ? 1 / 32512 : 0;
            return compare(`matrix ${i}`, own, gemmReference(x, matrix.values, shape), (cols + 40) * ulp + rounding, scale);
          }),
        );
      });
    },
  }),
);

export const gemvUnitCases: KernelCase[] = [...quantiseCases, ...productCases, lowerPlanesCase, ...severalCases];

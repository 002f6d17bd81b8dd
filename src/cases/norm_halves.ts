/** An RMSNorm in two halves: the products in front of it begin it, those behind it end it. */
import type { Gpu } from '../gpu/device';
import { createQuantise } from '../kernels/gemv';
import { createGateUpQ4Units, createGemvQ4Units, type Team, teamName, unitTeam, type Write } from '../kernels/gemv_teams';
import { conv1dSiluReference } from '../kernels/reference/conv1d_silu';
import { gemmReference } from '../kernels/reference/gemv';
import { weighReference } from '../kernels/reference/rms_norm';
import { swigluReference } from '../kernels/reference/swiglu';
import { createWeighUnits } from '../kernels/rms_norm';
import { type ActivationDtype, isInt, type UnitDtype, unitBytes } from '../kernels/variants';
import { describeFormat, q4 } from './formats';
import { compareDecoded, decodeUnits, missing } from './gemv_units';
import {
  type Bench,
  compare,
  expUlps,
  type KernelCase,
  largest,
  type Outcome,
  type Output,
  onBench,
  poison,
  type Random,
  type Reduction,
  random,
  randomMatrix,
  requireStem,
  skip,
  type TestMatrix,
  ulp,
  uniform,
  withReduction,
  worst,
} from './harness';

type Format = ReturnType<typeof q4>;
const eps = Math.fround(1e-6);
const dtypes = ['f32', 'f32x32', 'int16', 'int24'] as const;
/** What a product reads that writes such units: both are integers, or both f32. */
const readsWhereWrites = (dtype: ActivationDtype): UnitDtype => (isInt(dtype) ? dtype : 'f32x32');

/** Whole numbers, 127 the largest of each 32, which codes hold as they are; as what a product of x's dtype reads. */
async function activations(gpu: Gpu, bench: Bench, next: Random, cols: number, dtype: UnitDtype) {
  const x = uniform(next, cols).map((value, i) => (i % 32 === 7 ? 127 * Math.sign(value) || 127 : Math.round(126 * value)));
  const units = bench.output(unitBytes(cols, dtype) / 4);
  const kernel = createQuantise(gpu, { cols, y: dtype });
  await bench.run({ kernel, bindings: { x: bench.input(x), units, step: bench.step({ tokens: 1 }) } });
  return { x, bound: units };
}

/** The squares of a residual stream that nobody has, and the scale they give. */
function randomSquares(bench: Bench, next: Random, cols: number, size = 1) {
  const squares = uniform(next, cols / 32, 8 * size, 64 * size);
  const sum = squares.reduce((all, value) => all + value, 0);
  return { squares: bench.input(squares), scale: 1 / Math.sqrt(sum / cols + eps) };
}

const unitsOf = (bench: Bench, count: number, dtype: ActivationDtype): Output =>
  bench.output(dtype === 'f32' ? count : unitBytes(count, dtype) / 4);

async function compareUnits(
  bench: Bench,
  units: Output,
  want: Float64Array,
  { dtype, tolerance, scale }: { dtype: ActivationDtype; tolerance: number; scale: number },
): Promise<Outcome> {
  const got = await bench.read(units);
  if (dtype === 'f32') return compare('units', got, want, tolerance, scale);
  if (!isInt(dtype)) return compare('units', decodeUnits(got, want.length, dtype).values, want, tolerance, scale);
  // Relative to the largest of a unit, where the values' own tolerance is relative to the largest of all.
  const least = Math.min(...Array.from({ length: want.length / 32 }, (_, u) => largest(want.subarray(32 * u, 32 * u + 32))));
  return compareDecoded(Float32Array.from(want), decodeUnits(got, want.length, dtype), dtype, (tolerance * scale * 8) / least);
}

const weighCases = [
  { cols: 32, why: 'one unit' },
  { cols: 2112, why: 'more units than a workgroup' },
].flatMap(({ cols, why }) =>
  dtypes.map(
    (dtype): KernelCase => ({
      kernel: 'weigh_units',
      name: `${cols} to ${dtype}`,
      why,
      run: async (gpu) => {
        const lack = missing(gpu, dtype);
        if (lack) return skip(lack);
        return onBench(gpu, async (bench) => {
          const next = random(31);
          const [x, w] = [uniform(next, cols), uniform(next, cols, 0.5, 1.5)];
          const [units, squares] = [unitsOf(bench, cols, dtype), bench.output(cols / 32)];
          const kernel = createWeighUnits(gpu, { cols, units: dtype });
          await bench.run({ kernel, bindings: { units, x: bench.input(x), squares }, weights: bench.vectors(w) });
          const want = weighReference(x, w);
          return worst(
            await compareUnits(bench, units, want.weighed, { dtype, tolerance: 2 * ulp, scale: largest(want.weighed) }),
            compare('squares', await bench.read(squares), want.squares, 32 * ulp),
          );
        });
      },
    }),
  ),
);

type Product = {
  reduction: Exclude<Reduction, 'direct'>;
  team: Team;
  cols: number;
  format: Format;
  why: string;
};

const products: Product[] = [
  {
    reduction: 'workgroup',
    team: { rows: 4, lanes: 16, teams: 8, ahead: true },
    cols: 576,
    format: q4(64, 'bf16'),
    why: 'weights read ahead, two units left on the last step',
  },
  {
    reduction: 'subgroups',
    team: { rows: 4, lanes: 32, teams: 8 },
    cols: 2176,
    format: q4(128, 'f16'),
    why: 'subgroups, more squares than lanes',
  },
];

const createProduct = (gpu: Gpu, { team, cols, format }: Product, write: Write, x: UnitDtype) =>
  createGemvQ4Units(gpu, { cols, format, accumulate: write.kind === 'residual', write, team, x });

const nameOf = ({ reduction, format, cols, team }: Product, rest: string) =>
  `${reduction}, ${describeFormat(format)}, ${cols} columns, ${teamName(team)}, ${rest}`;

const productCases = products.flatMap((row): KernelCase[] => [
  ...(['f32x32', 'int16', 'int24'] as const).map(
    (x): KernelCase => ({
      kernel: 'gemv_q4_units',
      name: nameOf(row, `normed, ${x}`),
      why: `the scale of a norm on two matrices; ${row.why}`,
      run: (device) => onVariant(device, row, x, (gpu, bench) => normed(gpu, bench, row, x)),
    }),
  ),
  ...([0, 1] as const).map(
    (tokens): KernelCase => ({
      kernel: 'gemv_q4_units',
      name: nameOf(row, `convolved, ${tokens} tokens`),
      why: `a delta rule's q, k and v in two parts, and what is not convolved; ${row.why}`,
      run: (device) => onVariant(device, row, 'f32x32', (gpu, bench) => convolved(gpu, bench, row, tokens)),
    }),
  ),
  ...(['f32x32', 'int16', 'int24'] as const).flatMap((x) =>
    [1, 2, 4, 8].map(
      (units): KernelCase => ({
        kernel: 'gemv_q4_units',
        name: nameOf(row, `heads of ${units} units, ${x}`),
        why: `the scale of a norm of each head, where y alone is written and where the next norm begins; ${row.why}`,
        run: (device) => onVariant(device, row, x, (gpu, bench) => scaledHeads(gpu, bench, row, { x, units })),
      }),
    ),
  ),
  ...dtypes.map(
    (dtype): KernelCase => ({
      kernel: 'gemv_q4_units',
      name: nameOf(row, `residual, ${dtype}`),
      why: `two parts of a residual stream and the norm behind; ${row.why}`,
      run: (device) => onVariant(device, row, dtype, (gpu, bench) => residual(gpu, bench, row, dtype)),
    }),
  ),
]);

async function onVariant(
  device: Gpu,
  { reduction }: Pick<Product, 'reduction'>,
  dtype: ActivationDtype,
  run: (gpu: Gpu, bench: Bench) => Promise<Outcome>,
): Promise<Outcome> {
  const gpu = withReduction(device, reduction);
  if (typeof gpu === 'string') return skip(gpu);
  const lack = missing(gpu, dtype);
  return lack ? skip(lack) : onBench(gpu, (bench) => run(gpu, bench));
}

async function normed(gpu: Gpu, bench: Bench, row: Product, dtype: UnitDtype): Promise<Outcome> {
  const { cols, format } = row;
  const next = random(32);
  const matrices = [21, 40].map((rows) => randomMatrix(next, rows, cols, format));
  const ats = [48, 0];
  const { x, bound } = await activations(gpu, bench, next, cols, dtype);
  const { squares, scale } = randomSquares(bench, next, cols);
  const y = bench.output(70);
  const kernel = createProduct(gpu, row, { kind: 'normed', eps }, dtype);
  requireStem(kernel, 'gemv_q4_units');
  const per = kernel.rowsPerWorkgroup!;
  const rows = matrices.reduce((sum, matrix) => sum + Math.ceil(matrix.rows / per) * per, 0);
  await bench.run({ kernel, bindings: { x: bound, y, squares }, weights: bench.several(matrices, ats), rows });
  const got = await bench.read(y);
  return worst(
    ...matrices.map((matrix, i) => {
      const shape = { tokens: 1, rows: matrix.rows, cols };
      const want = gemmReference(x, matrix.values, shape).map((value) => value * scale);
      const size = gemmReference(x.map(Math.abs), matrix.sizes, shape).map((value) => value * scale);
      return compare(`matrix ${i}`, got.subarray(ats[i]!, ats[i]! + matrix.rows), want, (cols + 60) * ulp, size);
    }),
  );
}

async function convolved(gpu: Gpu, bench: Bench, row: Product, tokens: 0 | 1): Promise<Outcome> {
  const { cols, format } = row;
  const channels = 37;
  const next = random(35);
  const matrices = [24, 13, 20].map((rows) => randomMatrix(next, rows, cols, format));
  const ats = [0, 24, 48];
  const { x, bound } = await activations(gpu, bench, next, cols, 'f32x32');
  const { squares, scale } = randomSquares(bench, next, cols, 1e6); // sums of a few units
  const conv = uniform(next, channels * 4);
  const before = uniform(next, 3 * 3 * channels, -2, 2);
  const [y, state] = [bench.output(68), bench.output(before)];
  const kernel = createProduct(gpu, row, { kind: 'convolved', eps, channels }, 'f32x32');
  requireStem(kernel, 'gemv_q4_units');
  const per = kernel.rowsPerWorkgroup!;
  const rows = matrices.reduce((sum, matrix) => sum + Math.ceil(matrix.rows / per) * per, 0);
  const step = bench.step({ tokens, sourceSlot: 1, targetSlot: 2 });
  const weights = bench.severalAfter(uniform(next, cols), matrices, ats, conv);
  await bench.run({ kernel, bindings: { x: bound, y, squares, state, step }, weights, rows });
  const of = (values: ArrayLike<number>, matrix: TestMatrix, weights: Float64Array) =>
    gemmReference(values, weights, { tokens: 1, rows: matrix.rows, cols }).map((value) => value * scale);
  const [a, b, z] = matrices.map((matrix) => of(x, matrix, matrix.values)) as [Float64Array, Float64Array, Float64Array];
  const slot = before.subarray(3 * channels, 2 * 3 * channels);
  const want = conv1dSiluReference([...a, ...b], conv, slot, channels);
  const after = Float64Array.from(before);
  after.set(tokens === 0 ? slot : want.state, 2 * 3 * channels);
  const size = Math.max(...matrices.map((matrix) => largest(of(x.map(Math.abs), matrix, matrix.sizes))));
  const tolerance = 64 * ulp; // of sums of terms of both signs
  const got = await bench.read(y);
  return worst(
    compare('q, k, v', got.subarray(0, channels), want.y, 2 * tolerance, 4 * size), // four taps, and silu's slope
    compare('others', got.subarray(48, 68), z, tolerance, size),
    compare('between', got.subarray(channels, 48), new Float64Array(48 - channels).fill(poison), 0),
    compare('state', await bench.read(state), after, tokens === 0 ? 0 : tolerance, size),
  );
}

async function scaledHeads(
  gpu: Gpu,
  bench: Bench,
  { team, cols: about, format }: Product,
  { x: dtype, units }: { x: UnitDtype; units: number },
): Promise<Outcome> {
  const cols = Math.floor(about / 256) * 256; // whole heads
  const [rows, next] = [64, random(36)];
  const matrix = randomMatrix(next, rows, cols, format);
  const { x, bound } = await activations(gpu, bench, next, cols, dtype);
  const squares = uniform(next, cols / 32, 8, 64);
  const before = uniform(next, rows, -100, 100);
  const shape = { cols, format, accumulate: true, x: dtype, heads: { units, eps } };
  const weights = bench.severalAfter(uniform(next, rows), [matrix], [0]);
  const own = { x: bound, headSquares: bench.input(squares) };
  const [alone, y] = [bench.output(before), bench.output(before)];
  const plain = createGemvQ4Units(gpu, { ...shape, team: { ...team, teams: 2 } });
  await bench.run({ kernel: plain, bindings: { ...own, y: alone }, weights: bench.several([matrix], [0]), rows });
  const begins = createGemvQ4Units(gpu, { ...shape, team, write: { kind: 'residual', units: dtype } });
  const rest = { units: unitsOf(bench, rows, dtype), squares: bench.output(rows / 32) };
  await bench.run({ kernel: begins, bindings: { ...own, ...rest, y }, weights, rows });
  const scaled = x.map((value, c) => {
    const first = Math.floor(c / 32 / units) * units;
    const sum = squares.subarray(first, first + units).reduce((all, square) => all + square, 0);
    return value / Math.sqrt(sum / (32 * units) + eps);
  });
  const one = { tokens: 1, rows, cols };
  const want = gemmReference(scaled, matrix.values, one).map((value, r) => value + before[r]!);
  const size = gemmReference(scaled.map(Math.abs), matrix.sizes, one).map((value, r) => value + Math.abs(before[r]!));
  const got = await bench.read(alone);
  return worst(
    compare('y', got, want, (cols + 60) * ulp, size),
    compare('y where a norm begins', await bench.read(y), got, 0, 1),
  );
}

async function residual(gpu: Gpu, bench: Bench, row: Product, dtype: ActivationDtype): Promise<Outcome> {
  const { cols, format } = row;
  const next = random(33);
  const parts = [64, 32].map((rows) => randomMatrix(next, rows, cols, format));
  const before = uniform(next, 96, -100, 100);
  const w = uniform(next, 96, 0.5, 1.5);
  const { x, bound } = await activations(gpu, bench, next, cols, readsWhereWrites(dtype));
  const [y, squares, units] = [bench.output(before), bench.output(3), unitsOf(bench, 96, dtype)];
  const kernel = createProduct(gpu, row, { kind: 'residual', units: dtype }, readsWhereWrites(dtype));
  requireStem(kernel, 'gemv_q4_units');
  const bindings = { x: bound, y, units, squares };
  const ats = [0, 64];
  for (const [i, part] of parts.entries())
    await bench.run({ kernel, bindings, weights: bench.severalAfter(w, [part], [ats[i]!]), rows: part.rows });
  const want = Float64Array.from(before);
  const size = Float64Array.from(before, Math.abs);
  for (const [i, { rows, values, sizes }] of parts.entries()) {
    gemmReference(x, values, { tokens: 1, rows, cols }).forEach((value, r) => {
      want[ats[i]! + r]! += value;
    });
    gemmReference(x.map(Math.abs), sizes, { tokens: 1, rows, cols }).forEach((value, r) => {
      size[ats[i]! + r]! += value;
    });
  }
  const tolerance = (cols + 60) * ulp;
  const most = largest(size) * 1.5;
  const begun = weighReference(want, w);
  // A sum of squares is off by twice what its largest value is, relative to the sizes.
  const squareSizes = weighReference(size, w).squares.map((sum, u) => Math.max(sum, begun.squares[u]!));
  return worst(
    compare('y', await bench.read(y), want, tolerance, size),
    compare('squares', await bench.read(squares), begun.squares, 2 * tolerance + 32 * ulp, squareSizes),
    await compareUnits(bench, units, begun.weighed, { dtype, tolerance: tolerance + 2 * ulp, scale: most }),
  );
}

type GateUp = Omit<Product, 'team'> & { lanes: number; rows?: 2; ahead?: boolean };
const gateUps: GateUp[] = [
  {
    reduction: 'workgroup',
    lanes: 16,
    ahead: true,
    cols: 576,
    format: q4(64, 'bf16'),
    why: 'read ahead, two units left on the last step',
  },
  { reduction: 'subgroups', lanes: 32, cols: 2176, format: q4(128, 'f16'), why: 'subgroups, more squares than lanes' },
  {
    reduction: 'subgroups',
    lanes: 16,
    rows: 2,
    ahead: true,
    cols: 320,
    format: q4(64, 'bf16'),
    why: 'pairs of rows, which fill a subgroup together; weights read ahead',
  },
];

const gateUpCases = gateUps.flatMap((row) =>
  dtypes.map(
    (dtype): KernelCase => ({
      kernel: 'gate_up_q4_units',
      name: `${row.reduction}, ${describeFormat(row.format)}, ${row.cols} columns, ${row.lanes} lanes for ${row.rows ?? 4} rows${row.ahead ? ' ahead' : ''} to ${dtype}`,
      why: `three workgroups; ${row.why}`,
      run: (device) => onVariant(device, row, dtype, (gpu, bench) => gateUp(gpu, bench, row, dtype)),
    }),
  ),
);

async function gateUp(
  gpu: Gpu,
  bench: Bench,
  { cols, format, lanes, rows: teamRows, ahead = false }: GateUp,
  dtype: ActivationDtype,
): Promise<Outcome> {
  const next = random(34);
  const rows = 96;
  const matrices = [randomMatrix(next, rows, cols, format), randomMatrix(next, rows, cols, format)] as const;
  const { x, bound } = await activations(gpu, bench, next, cols, readsWhereWrites(dtype));
  const { squares, scale } = randomSquares(bench, next, cols, 1e6); // gates of a few units
  const units = unitsOf(bench, rows, dtype);
  const kernel = createGateUpQ4Units(gpu, {
    cols,
    format,
    eps,
    team: { ...unitTeam(lanes, teamRows), ahead },
    x: readsWhereWrites(dtype),
    units: dtype,
  });
  requireStem(kernel, 'gate_up_q4_units');
  await bench.run({ kernel, bindings: { x: bound, squares, units }, weights: bench.several(matrices, [0, 0]), rows });
  const [gate, up] = matrices.map(({ values }) => gemmReference(x, values, { tokens: 1, rows, cols }).map((v) => v * scale));
  const want = swigluReference(gate!, up!);
  const size = Math.max(
    ...matrices.map(({ sizes }) => largest(gemmReference(x.map(Math.abs), sizes, { tokens: 1, rows, cols }))),
  );
  // The error of each sum, of terms of both signs, meets the other factor.
  const tolerance = (64 + expUlps(largest(gate!))) * ulp;
  const scaled = size * scale * Math.max(1, largest(gate!), largest(up!));
  return compareUnits(bench, units, want, { dtype, tolerance, scale: scaled });
}

export const normHalvesCases: KernelCase[] = [...weighCases, ...productCases, ...gateUpCases];

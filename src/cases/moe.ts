import type { MatrixFormat } from '../format/types';
import { absentSlot } from '../gpu/kernel';
import {
  createMoeCombine,
  createMoeDown,
  createMoeDownQ4,
  createMoeDownSumQ4,
  createMoeGateUp,
  createMoeGateUpQ4,
  createMoeProject,
} from '../kernels/moe';
import { gemmReference } from '../kernels/reference/gemv';
import { moeCombineReference, moeDownReference, moeGateUpReference } from '../kernels/reference/moe';
import { rmsNormReference } from '../kernels/reference/rms_norm';
import { swigluReference } from '../kernels/reference/swiglu';
import { affine, bf16, describeFormat, f32, q3, q4 } from './formats';
import {
  compare,
  expUlps,
  type KernelCase,
  largest,
  onBench,
  poison,
  type Reduction,
  random,
  randomMatrix,
  skip,
  type TestMatrix,
  ulp,
  uniform,
  withReduction,
  worst,
} from './harness';

const create = {
  moe_gate_up: createMoeGateUp,
  moe_down: createMoeDown,
  moe_gate_up_q4: createMoeGateUpQ4,
  moe_down_q4: createMoeDownQ4,
};

type Row = {
  kernel: 'moe_gate_up' | 'moe_down' | 'moe_gate_up_q4' | 'moe_down_q4';
  reduction: Reduction;
  rows: number;
  cols: number;
  format: MatrixFormat;
  /** By token. */
  picks: number[][];
  /** Experts in no slot; what they give is zero with `zero`. */
  away?: number[];
  zero?: true;
  why: string;
};

const picks = [
  [3, 0, 2],
  [1, 3, 4],
];
const rows: Row[] = (['moe_gate_up', 'moe_down'] as const).flatMap((kernel): Row[] => [
  {
    kernel,
    reduction: 'direct',
    rows: 7,
    cols: 128,
    format: q4(64, 'bf16'),
    picks,
    why: 'rows past the last four; an expert chosen twice',
  },
  {
    kernel,
    reduction: 'workgroup',
    rows: 12,
    cols: 320,
    format: affine(8, 64, 'bf16'),
    picks,
    away: [3],
    why: 'an expert that is away',
  },
  { kernel, reduction: 'subgroups', rows: 8, cols: 96, format: q3(32, 'f16'), picks, away: [0, 4], why: 'words across quads' },
  {
    kernel,
    reduction: 'direct',
    rows: 5,
    cols: 36,
    format: bf16,
    picks: [[4], [2], [0]],
    why: 'padded rows; one expert a token',
  },
  { kernel, reduction: 'workgroup', rows: 4, cols: 260, format: f32, picks: [[0, 1, 2, 3, 4]], why: 'all of them, one token' },
]);

const q4Rows: Row[] = (['moe_gate_up_q4', 'moe_down_q4'] as const).flatMap((kernel): Row[] => [
  {
    kernel,
    reduction: 'workgroup',
    rows: 37,
    cols: 96,
    format: q4(32, 'bf16'),
    picks,
    away: [3],
    why: '8 lanes, 3 units; rows within a team',
  },
  { kernel, reduction: 'subgroups', rows: 64, cols: 512, format: q4(64, 'f16'), picks, why: '16 lanes, a unit each' },
  { kernel, reduction: 'subgroups', rows: 20, cols: 1152, format: q4(64, 'f32'), picks: [[4, 2]], why: '32 lanes, 36 units' },
]);

const zeroRows: Row[] = [
  {
    kernel: 'moe_down',
    reduction: 'direct',
    rows: 5,
    cols: 36,
    format: bf16,
    picks,
    away: [3],
    zero: true,
    why: 'an absent expert gives 0',
  },
  {
    kernel: 'moe_down_q4',
    reduction: 'workgroup',
    rows: 9,
    cols: 64,
    format: q4(64, 'bf16'),
    picks,
    away: [0],
    zero: true,
    why: 'likewise',
  },
];

const expertCases = [...zeroRows, ...rows, ...q4Rows].map(
  ({ kernel: stem, reduction, rows, cols, format, picks, away = [], zero = false, why }): KernelCase => ({
    kernel: stem,
    name: `${reduction} ${rows} x ${cols} ${describeFormat(format)}, ${picks.map((own) => own.join(' ')).join(' | ')}${away.length ? `, without ${away}` : ''}`,
    why,
    run: async (device) => {
      const gpu = withReduction(device, reduction);
      if (typeof gpu === 'string') return skip(gpu);
      return onBench(gpu, async (bench) => {
        const next = random(5);
        const chosen = picks[0]!.length;
        const choices = picks.flat();
        const isGateUp = stem.startsWith('moe_gate_up');
        const experts = Array.from({ length: 5 }, () =>
          Array.from({ length: isGateUp ? 2 : 1 }, () => randomMatrix(next, rows, cols, format)),
        );
        const slotOf = [2, 0, 3, 1, 4]; // not where their numbers say
        const { weights, slotBytes } = bench.experts(slotOf.map((_, slot) => experts[slotOf.indexOf(slot)]!));
        const slots = Uint32Array.from(slotOf, (slot, expert) => (away.includes(expert) ? absentSlot : slot));
        const x = uniform(next, (isGateUp ? picks.length : choices.length) * cols);
        const y = bench.output(choices.length * rows);
        const shape = { rows, cols, format, chosen, slotBytes, absentZero: zero };
        const kernel = create[stem](gpu, shape as typeof shape & { format: ReturnType<typeof q4> });
        const bindings = { x: bench.input(x), picks: bench.input(Uint32Array.from(choices)), slots: bench.input(slots), y };
        await bench.run({ kernel, bindings, tokens: picks.length, weights });
        const of = (part: number, what: 'values' | 'sizes') => (expert: number) => experts[expert]![part]![what];
        const want = isGateUp
          ? moeGateUpReference(x, of(0, 'values'), of(1, 'values'), { picks: choices, chosen, rows, cols })
          : moeDownReference(x, of(0, 'values'), { picks: choices, rows, cols });
        choices.forEach((expert, i) => {
          if (away.includes(expert)) want.fill(zero ? 0 : poison, i * rows, (i + 1) * rows);
        });
        // Sums of `cols` products of about 1 x 1; silu and a product behind them.
        const size = Math.max(...experts.flat().map((matrix: TestMatrix) => largest(matrix.sizes))) * cols;
        const scale = want.map((value) => (value === poison ? 1 : isGateUp ? size * Math.max(1, size / 8) : size));
        return compare('y', await bench.read(y), want, (isGateUp ? 24 : 8) * ulp, scale);
      });
    },
  }),
);

const combineCases = [
  { tokens: 3, cols: 132, chosen: 4, why: 'threads past the end' },
  { tokens: 1, cols: 2048, chosen: 8, why: 'one token of 35B-A3B' },
].map(
  ({ tokens, cols, chosen, why }): KernelCase => ({
    kernel: 'moe_combine',
    name: `${tokens} x ${cols}, ${chosen} experts`,
    why,
    run: (gpu) =>
      onBench(gpu, async (bench) => {
        const next = random(7);
        const hidden = uniform(next, tokens * cols);
        const experts = uniform(next, tokens * chosen * cols);
        const weights = uniform(next, tokens * chosen, 0, 1);
        const sharedOut = uniform(next, tokens * cols);
        const sharedGate = uniform(next, tokens, -3, 3);
        const y = bench.output(hidden);
        await bench.run({
          kernel: createMoeCombine(gpu, { cols, chosen }),
          bindings: {
            ...{ experts: bench.input(experts), weights: bench.input(weights) },
            ...{ sharedOut: bench.input(sharedOut), sharedGate: bench.input(sharedGate) },
            ...{ hidden: y, step: bench.step({ tokens }) },
          },
          tokens,
        });
        const want = moeCombineReference(hidden, { experts, weights, sharedOut, sharedGate }, { tokens, chosen, cols });
        return compare('hidden', await bench.read(y), want, (2 * chosen + 4 + expUlps(3)) * ulp, chosen + 2);
      }),
  }),
);

type SumRow = {
  reduction: Reduction;
  rows: number;
  cols: number;
  format: ReturnType<typeof q4>;
  picks: number[];
  away?: number[];
  cuts?: number[];
  why: string;
};

const sumRows: SumRow[] = [
  {
    reduction: 'workgroup',
    rows: 37,
    cols: 96,
    format: q4(32, 'bf16'),
    picks: [3, 0, 2],
    away: [0],
    cuts: [16, 29],
    why: '8 lanes, 3 units; the shared matrix in parts; an expert that is away',
  },
  {
    reduction: 'subgroups',
    rows: 64,
    cols: 512,
    format: q4(64, 'bf16'),
    picks: [3, 0, 2, 4, 1, 0, 2, 3],
    why: '35B-A3B: 16 lanes, nine teams',
  },
  {
    reduction: 'workgroup',
    rows: 20,
    cols: 1152,
    format: q4(64, 'f32'),
    picks: [4, 2, 1, 0, 3, 2, 1, 0, 4, 3],
    why: '32 lanes, 36 units; two rounds, the last not whole',
  },
  {
    reduction: 'subgroups',
    rows: 12,
    cols: 1024,
    format: q4(64, 'f16'),
    picks: [1],
    why: '32 lanes; one expert beside the shared one',
  },
];

const sumCases = sumRows.map(
  ({ reduction, rows, cols, format, picks, away = [], cuts = [], why }): KernelCase => ({
    kernel: 'moe_down_sum_q4',
    name: `${reduction} ${rows} x ${cols} ${describeFormat(format)}, ${picks.join(' ')}${away.length ? `, without ${away}` : ''}`,
    why,
    run: async (device) => {
      const gpu = withReduction(device, reduction);
      if (typeof gpu === 'string') return skip(gpu);
      return onBench(gpu, async (bench) => {
        const next = random(9);
        const chosen = picks.length;
        const experts = Array.from({ length: 5 }, () => randomMatrix(next, rows, cols, format));
        const sharedOne = randomMatrix(next, rows, cols, format);
        const slotOf = [2, 0, 3, 1, 4]; // not where their numbers say
        const pool = bench.pool(slotOf.map((_, slot) => experts[slotOf.indexOf(slot)]!));
        const parts = bench.matrix(sharedOne, { cuts, behind: pool.record });
        const slots = Uint32Array.from(slotOf, (slot, expert) => (away.includes(expert) ? absentSlot : slot));
        const [x, gate, up] = [uniform(next, chosen * cols), uniform(next, cols, -3, 3), uniform(next, cols)];
        const weights = uniform(next, chosen, 0, 1);
        const [sharedGate] = uniform(next, 1, -3, 3) as unknown as [number];
        const at = { gate: 1, up: 2 + cols / 4, sharedGate: 3 + cols / 2 }; // a unit of junk before each
        const projected = new Float32Array(4 * at.sharedGate + 4).fill(poison);
        projected.set(gate, 4 * at.gate);
        projected.set(up, 4 * at.up);
        projected[4 * at.sharedGate] = sharedGate;
        const before = uniform(next, rows);
        const hidden = bench.output(before);
        const bindings = {
          ...{ x: bench.input(x), projected: bench.input(projected), picks: bench.input(Uint32Array.from(picks)) },
          ...{ slots: bench.input(slots), weights: bench.input(weights), pool: { buffer: pool.buffer }, y: hidden },
        };
        const kernel = createMoeDownSumQ4(gpu, { rows, cols, format, chosen, slotBytes: pool.slotBytes }, at);
        await bench.run(...parts.map((part) => ({ kernel, bindings, ...part })));
        const outs = moeDownReference(x, (expert) => experts[expert]!.values, { picks, rows, cols });
        picks.forEach((expert, rank) => {
          if (away.includes(expert)) outs.fill(0, rank * rows, (rank + 1) * rows);
        });
        const act = Float32Array.from(swigluReference(gate, up));
        const sharedOut = moeDownReference(act, () => sharedOne.values, { picks: [0], rows, cols });
        const sums = { experts: outs, weights, sharedOut, sharedGate: [sharedGate] };
        const want = moeCombineReference(before, sums, { tokens: 1, chosen, cols: rows });
        // Sums of `cols` products of about 1 x 3, as many of them as there are experts.
        const size = Math.max(...[...experts, sharedOne].map(({ sizes }) => largest(sizes))) * cols;
        return compare('hidden', await bench.read(hidden), want, 24 * ulp, size * (chosen + 3));
      });
    },
  }),
);

type ProjectRow = {
  reduction: Reduction;
  cols: number;
  rows: { router: number; gate: number };
  format: ReturnType<typeof q4>;
  bytes: MatrixFormat;
  why: string;
};

const projectRows: ProjectRow[] = [
  {
    reduction: 'subgroups',
    cols: 2048,
    rows: { router: 21, gate: 37 },
    format: q4(64, 'bf16'),
    bytes: affine(8, 64, 'bf16'),
    why: 'two units a lane; rows within a team',
  },
  {
    reduction: 'workgroup',
    cols: 96,
    rows: { router: 40, gate: 16 },
    format: q4(32, 'f32'),
    bytes: affine(8, 96, 'f32'),
    why: 'fewer units than lanes; other groups',
  },
  {
    reduction: 'subgroups',
    cols: 1088,
    rows: { router: 8, gate: 9 },
    format: q4(32, 'f16'),
    bytes: affine(4, 32, 'f16'),
    why: 'a router of 4 bits; units that 32 lanes do not divide',
  },
];

const projectCases = projectRows.map(
  ({ reduction, cols, rows, format, bytes, why }): KernelCase => ({
    kernel: 'moe_project',
    name: `${reduction} ${rows.router}, 1 x ${cols} ${describeFormat(bytes)}, 2 x ${rows.gate} ${describeFormat(format)}`,
    why,
    run: async (device) => {
      const gpu = withReduction(device, reduction);
      if (typeof gpu === 'string') return skip(gpu);
      return onBench(gpu, async (bench) => {
        const next = random(13);
        const matrices = [
          randomMatrix(next, rows.router, cols, bytes),
          randomMatrix(next, 1, cols, bytes),
          randomMatrix(next, rows.gate, cols, format),
          randomMatrix(next, rows.gate, cols, format),
        ];
        const ats = [0, rows.router + 3, rows.router + 9, rows.router + rows.gate + 12];
        const x = uniform(next, cols, -4, 4);
        const w = uniform(next, cols, 0.5, 2);
        const weights = bench.severalAfter(w, matrices, ats);
        const values = ats[3]! + rows.gate;
        const [y, normed, saved] = [bench.output(values), bench.output(cols), bench.output(cols)];
        const kernel = createMoeProject(gpu, { cols, eps: 1e-6, format, bytes });
        const count = matrices.reduce((sum, matrix) => sum + Math.ceil(matrix.rows / 8) * 8, 0);
        await bench.run({ kernel, bindings: { x: bench.input(x), normed, y, saved }, weights, rows: count });
        const unit = rmsNormReference(x, w, 1e-6);
        const want = new Float64Array(values).fill(poison);
        matrices.forEach((matrix, i) => {
          want.set(gemmReference(Float32Array.from(unit), matrix.values, { tokens: 1, rows: matrix.rows, cols }), ats[i]!);
        });
        const size = Math.max(...matrices.map(({ sizes }) => largest(sizes))) * cols * largest(unit);
        const scale = want.map((value) => (value === poison ? 1 : size));
        return worst(
          compare('saved', await bench.read(saved), x, 0, 1),
          compare('normed', await bench.read(normed), unit, (cols / 8 + 8) * ulp, largest(unit)),
          compare('y', await bench.read(y), want, 16 * ulp, scale),
        );
      });
    },
  }),
);

export const moeCases: KernelCase[] = [...projectCases, ...expertCases, ...combineCases, ...sumCases];

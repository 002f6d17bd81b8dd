import { createDeltaProjectQ4, createNormGemvQ4 } from '../kernels/norm_gemv';
import { conv1dSiluReference } from '../kernels/reference/conv1d_silu';
import { gemmReference } from '../kernels/reference/gemv';
import { rmsNormReference } from '../kernels/reference/rms_norm';
import { describeFormat, q4 } from './formats';
import {
  compare,
  type KernelCase,
  largest,
  onBench,
  poison,
  type Reduction,
  random,
  randomMatrix,
  skip,
  ulp,
  uniform,
  withReduction,
  worst,
} from './harness';

type Row = { reduction: Reduction; cols: number; rows: number[]; format: ReturnType<typeof q4>; why: string };

const rows: Row[] = [
  {
    reduction: 'subgroups',
    cols: 2048,
    rows: [70, 37, 2, 2],
    format: q4(64, 'bf16'),
    why: 'a delta rule of 35B-A3B, fewer rows',
  },
  { reduction: 'workgroup', cols: 96, rows: [33, 5], format: q4(32, 'f32'), why: 'fewer units than lanes; no third matrix' },
  { reduction: 'subgroups', cols: 2304, rows: [9], format: q4(128, 'f16'), why: 'the widest; one matrix' },
  { reduction: 'workgroup', cols: 1088, rows: [8, 32, 1], format: q4(64, 'bf16'), why: 'units that 32 lanes do not divide' },
];

const gemvCases = rows.map(
  ({ reduction, cols, rows, format, why }): KernelCase => ({
    kernel: 'norm_gemv_q4',
    name: `${reduction} ${rows.join(', ')} x ${cols} ${describeFormat(format)}`,
    why,
    run: async (device) => {
      const gpu = withReduction(device, reduction);
      if (typeof gpu === 'string') return skip(gpu);
      return onBench(gpu, async (bench) => {
        const next = random(21);
        const matrices = rows.map((count) => randomMatrix(next, count, cols, format));
        const x = uniform(next, cols, -4, 4);
        const w = uniform(next, cols, 0.5, 2);
        const ats = rows.map((_, i) => rows.slice(0, i).reduce((sum, count) => sum + count + 3, 0)); // three junk values between
        const values = ats.at(-1)! + rows.at(-1)!;
        const y = bench.output(values);
        const kernel = createNormGemvQ4(gpu, { cols, eps: 1e-6, format });
        const per = kernel.rowsPerWorkgroup!;
        const count = rows.reduce((sum, own) => sum + Math.ceil(own / per) * per, 0);
        const weights = bench.severalAfter(w, matrices, ats);
        await bench.run({ kernel, bindings: { x: bench.input(x), y }, weights, rows: count });
        const unit = Float32Array.from(rmsNormReference(x, w, 1e-6));
        const want = new Float64Array(values).fill(poison);
        matrices.forEach((matrix, i) => {
          want.set(gemmReference(unit, matrix.values, { tokens: 1, rows: matrix.rows, cols }), ats[i]!);
        });
        const size = Math.max(...matrices.map(({ sizes }) => largest(sizes))) * cols * largest(unit);
        const scale = want.map((value) => (value === poison ? 1 : size));
        return compare('y', await bench.read(y), want, 16 * ulp, scale);
      });
    },
  }),
);

type DeltaRow = { reduction: Reduction; channels: number; tokens: 0 | 1; source: number; target: number; why: string };

const deltaRows: DeltaRow[] = [
  {
    reduction: 'subgroups',
    channels: 72,
    tokens: 1,
    source: 1,
    target: 1,
    why: 'in place; rows behind the channels are not convolved',
  },
  { reduction: 'workgroup', channels: 40, tokens: 1, source: 2, target: 0, why: 'from slot to slot' },
  { reduction: 'subgroups', channels: 33, tokens: 0, source: 0, target: 1, why: 'a step of no tokens moves nothing on' },
];

const projectCases = deltaRows.map(
  ({ reduction, channels, tokens, source, target, why }): KernelCase => ({
    kernel: 'delta_project_q4',
    name: `${reduction} ${channels} channels, ${tokens} tokens, slot ${source} to ${target}`,
    why,
    run: async (device) => {
      const gpu = withReduction(device, reduction);
      if (typeof gpu === 'string') return skip(gpu);
      return onBench(gpu, async (bench) => {
        const [cols, format] = [128, q4(64, 'bf16')];
        const next = random(22);
        const matrices = [channels, 20, 3].map((rows) => randomMatrix(next, rows, cols, format));
        const ats = [0, channels + 4, channels + 32];
        const x = uniform(next, cols, -4, 4);
        const w = uniform(next, cols, 0.5, 2);
        const conv = uniform(next, channels * 4);
        const before = uniform(next, 3 * 3 * channels, -2, 2);
        const [y, state] = [bench.output(channels + 35), bench.output(before)];
        const kernel = createDeltaProjectQ4(gpu, { cols, eps: 1e-6, format, channels });
        const per = kernel.rowsPerWorkgroup!;
        const count = matrices.reduce((sum, { rows }) => sum + Math.ceil(rows / per) * per, 0);
        const step = bench.step({ tokens, sourceSlot: source, targetSlot: target });
        const weights = bench.severalAfter(w, matrices, ats, conv);
        await bench.run({ kernel, bindings: { x: bench.input(x), y, state, step }, weights, rows: count });
        const unit = Float32Array.from(rmsNormReference(x, w, 1e-6));
        const sums = matrices.map(({ values, rows }) => gemmReference(unit, values, { tokens: 1, rows, cols }));
        const slot = before.subarray(source * 3 * channels, (source + 1) * 3 * channels);
        const convolved = conv1dSiluReference(sums[0]!, conv, slot, channels);
        const want = new Float64Array(channels + 35).fill(poison);
        [convolved.y, sums[1]!, sums[2]!].forEach((values, i) => {
          want.set(values, ats[i]!);
        });
        const after = Float64Array.from(before);
        after.set(tokens === 0 ? slot : convolved.state, target * 3 * channels);
        const size = Math.max(...matrices.map(({ sizes }) => largest(sizes))) * cols * largest(unit);
        const scale = want.map((value) => (value === poison ? 1 : 2 * size));
        return worst(
          compare('y', await bench.read(y), want, 16 * ulp, scale),
          compare('state', await bench.read(state), after, tokens === 0 ? 0 : 16 * ulp, size),
        );
      });
    },
  }),
);

export const normGemvCases: KernelCase[] = [...gemvCases, ...projectCases];

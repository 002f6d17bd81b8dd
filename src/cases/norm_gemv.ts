import { createNormGemvQ4 } from '../kernels/norm_gemv';
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

export const normGemvCases: KernelCase[] = rows.map(({ reduction, cols, rows, format, why }) => ({
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
}));

/** What a decode step runs between its products: kernels that write whole units of 32 activations. */
import type { Gpu } from '../gpu/device';
import type { Kernel } from '../gpu/kernel';
import type { BufferRange } from '../gpu/memory';
import { createAttentionCombineUnits } from '../kernels/attention';
import { combineReference } from '../kernels/reference/attention';
import { rmsNormReference } from '../kernels/reference/rms_norm';
import { swigluReference } from '../kernels/reference/swiglu';
import { createRmsNormUnits } from '../kernels/rms_norm';
import { createSwigluUnits } from '../kernels/swiglu';
import { type ActivationDtype, intDtypes, unitBytes } from '../kernels/variants';
import { compareDecoded, decodeUnits, missing } from './gemv_units';
import { type Bench, compare, expUlps, type KernelCase, onBench, random, skip, ulp, uniform, type Weights } from './harness';

type Subject = {
  kernel: Kernel;
  bindings: Record<string, BufferRange>;
  weights?: Weights;
  want: Float64Array;
  /** Of each value of `want`, relative to the largest of its unit for integers, to itself for f32. */
  tolerance: number;
  /** Of sums that may cancel: what `tolerance` is relative to for f32. */
  scale?: number;
};

const dtypes = ['f32', 'f32x32', ...intDtypes] as const;

function unitCases(kernel: string, name: string, why: string, make: (gpu: Gpu, bench: Bench, y: ActivationDtype) => Subject) {
  return dtypes.map(
    (dtype): KernelCase => ({
      kernel,
      name: `${name} to ${dtype}`,
      why,
      run: async (gpu) => {
        const lack = missing(gpu, dtype);
        if (lack) return skip(lack);
        return onBench(gpu, async (bench) => {
          const { kernel, bindings, weights, want, tolerance, scale } = make(gpu, bench, dtype);
          const y = bench.output(dtype === 'f32' ? want.length : unitBytes(want.length, dtype) / 4);
          await bench.run({ kernel, bindings: { ...bindings, units: y }, ...(weights ? { weights } : {}) });
          const got = await bench.read(y);
          if (dtype === 'f32') return compare('y', got, want, tolerance, scale);
          return compareDecoded(Float32Array.from(want), decodeUnits(got, want.length, dtype), dtype, tolerance);
        });
      },
    }),
  );
}

const normRows: { cols: number; firstRow: number; why: string }[] = [
  { cols: 32, firstRow: 0, why: 'the smallest: one unit' },
  { cols: 1056, firstRow: 2, why: 'a later row; most threads have none' },
  { cols: 8224, firstRow: 0, why: 'more units than threads: x is read twice' },
];
const normCases = normRows.flatMap(({ cols, firstRow, why }) =>
  unitCases('rms_norm_units', `${cols} from row ${firstRow}`, why, (gpu, bench, y) => {
    const eps = Math.fround(1e-6);
    const next = random(21);
    const x = uniform(next, (firstRow + 1) * cols);
    const w = uniform(next, cols, 0.5, 1.5);
    return {
      kernel: createRmsNormUnits(gpu, { cols, eps, y }),
      bindings: { x: bench.input(x), step: bench.step({ tokens: 1, firstRow }) },
      weights: bench.vectors(w),
      want: rmsNormReference(x.subarray(firstRow * cols), w, eps),
      tolerance: (cols / 2 + 8) * ulp, // as rms_norm
    };
  }),
);

const swigluRows: { cols: number; gates: number; why: string }[] = [
  { cols: 32, gates: 4, why: 'one unit' },
  { cols: 2112, gates: 30, why: 'more units than a workgroup; gates that silu closes or passes whole' },
];
const swigluCases = swigluRows.flatMap(({ cols, gates, why }) =>
  unitCases('swiglu_units', `${cols}, |gate| < ${gates}`, why, (gpu, bench, y) => {
    const next = random(22);
    const gate = uniform(next, cols, -gates, gates);
    const up = uniform(next, cols);
    return {
      kernel: createSwigluUnits(gpu, { cols, y }),
      bindings: { gate: bench.input(gate), up: bench.input(up) },
      want: swigluReference(gate, up),
      tolerance: (6 + expUlps(gates)) * ulp, // as swiglu
    };
  }),
);

/** Parts of a context as attention_split leaves them, at a position that fills some of them. */
const combineRows: { heads: number; headDim: number; parts: number; position: number; why: string }[] = [
  { heads: 3, headDim: 64, parts: 5, position: 190, why: 'three parts of five; two units a head' },
  { heads: 2, headDim: 256, parts: 128, position: 64 * 70, why: 'more parts than lanes; the last ones are empty' },
];
const combineCases = combineRows.flatMap(({ heads, headDim, parts, position, why }) =>
  unitCases('attention_combine_units', `${heads} x ${headDim}, at ${position} in ${parts} parts`, why, (gpu, bench, y) => {
    const next = random(23);
    const used = Math.ceil((position + 1) / 64);
    const sums = uniform(next, parts * heads * headDim);
    const stats = uniform(next, parts * heads * 2, 1, 3);
    const qGate = uniform(next, heads * 2 * headDim, -4, 4);
    const want = combineReference({ sums, stats, qGate }, { heads, headDim, used });
    const buffers = { sums: bench.input(sums), stats: bench.input(stats), qGate: bench.input(qGate) };
    return {
      kernel: createAttentionCombineUnits(gpu, { heads, headDim, parts, y }),
      bindings: { ...buffers, step: bench.step({ tokens: 1, position }) },
      want,
      tolerance: (2 * used + expUlps(4) + 8) * ulp,
      scale: 1,
    };
  }),
);

export const unitsCases: KernelCase[] = [...normCases, ...swigluCases, ...combineCases];

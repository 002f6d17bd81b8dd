import { createGatedRmsNorm } from '../kernels/gated_rms_norm';
import { gatedRmsNormReference } from '../kernels/reference/gated_rms_norm';
import {
  compare,
  expUlps,
  type KernelCase,
  largest,
  onBench,
  type Reduction,
  random,
  skip,
  ulp,
  uniform,
  withReduction,
} from './harness';

type Row = { reduction: Reduction; heads: number; dim: number; tokens: number; gates?: number; why: string };

const rows: Row[] = [
  { reduction: 'direct', heads: 1, dim: 4, tokens: 1, why: 'the smallest' },
  { reduction: 'direct', heads: 3, dim: 128, tokens: 7, why: 'several heads and tokens' },
  { reduction: 'workgroup', heads: 3, dim: 128, tokens: 2, why: 'half the lanes idle' },
  { reduction: 'subgroups', heads: 3, dim: 128, tokens: 33, why: 'half the lanes idle' },
  { reduction: 'subgroups', heads: 3, dim: 128, tokens: 1, gates: 30, why: 'gates that silu closes or passes whole' },
  { reduction: 'subgroups', heads: 2, dim: 260, tokens: 2, why: 'one lane works on the last stride' },
];

export const gatedRmsNormCases: KernelCase[] = rows.map(({ reduction, heads, dim, tokens, gates = 4, why }) => ({
  kernel: 'gated_rms_norm',
  name: `${reduction}, ${tokens} x ${heads} x ${dim}`,
  why,
  run: async (device) => {
    const gpu = withReduction(device, reduction);
    if (typeof gpu === 'string') return skip(gpu);
    const eps = Math.fround(1e-6);
    const next = random(2);
    const o = uniform(next, tokens * heads * dim);
    const z = uniform(next, tokens * heads * dim, -gates, gates);
    const w = uniform(next, dim, 0.5, 1.5);
    return onBench(gpu, async (bench) => {
      const y = bench.output(o.length);
      await bench.run({
        kernel: createGatedRmsNorm(gpu, { heads, dim, eps }),
        bindings: { o: bench.input(o), z: bench.input(z), y },
        weights: bench.vectors(w),
        tokens,
      });
      // The norm as in rms_norm; e^-z, 1 + it and the division; four products.
      const tolerance = (dim / 2 + 12 + expUlps(largest(z))) * ulp;
      return compare('y', await bench.read(y), gatedRmsNormReference(o, z, w, eps), tolerance);
    });
  },
}));

import { rmsNormReference } from '../kernels/reference/rms_norm';
import { createRmsNorm } from '../kernels/rms_norm';
import { compare, type KernelCase, onBench, type Reduction, random, skip, ulp, uniform, withReduction } from './harness';

type Row = { reduction: Reduction; cols: number; tokens: number; firstRow?: number; size?: number; why: string };

const rows: Row[] = [
  { reduction: 'direct', cols: 4, tokens: 1, why: 'the smallest: one quad' },
  { reduction: 'direct', cols: 260, tokens: 2, why: 'one thread takes every quad' },
  { reduction: 'workgroup', cols: 4, tokens: 1, why: '63 of 64 lanes have nothing' },
  { reduction: 'workgroup', cols: 260, tokens: 3, why: 'one lane works on the last stride' },
  { reduction: 'subgroups', cols: 4, tokens: 2, why: 'subgroups without work' },
  { reduction: 'subgroups', cols: 260, tokens: 33, why: 'one lane works on the last stride' },
  { reduction: 'subgroups', cols: 260, tokens: 2, firstRow: 5, why: 'the head reads from a later row and writes from the first' },
  { reduction: 'subgroups', cols: 260, tokens: 2, size: 1e-4, why: 'mean(x^2) is as small as eps' },
];

export const rmsNormCases: KernelCase[] = rows.map(({ reduction, cols, tokens, firstRow = 0, size = 1, why }) => ({
  kernel: 'rms_norm',
  name: `${reduction}, ${tokens} x ${cols}${firstRow ? ` from row ${firstRow}` : ''}`,
  why,
  run: async (device) => {
    const gpu = withReduction(device, reduction);
    if (typeof gpu === 'string') return skip(gpu);
    const eps = Math.fround(1e-6);
    const next = random(1);
    const x = uniform(next, (firstRow + tokens) * cols, -size, size);
    const w = uniform(next, cols, 0.5, 1.5);
    return onBench(gpu, async (bench) => {
      const y = bench.output(tokens * cols);
      const step = bench.step({ tokens, firstRow });
      await bench.run({
        kernel: createRmsNorm(gpu, { cols, eps }),
        bindings: { x: bench.input(x), y, step },
        weights: bench.vectors(w),
        tokens,
      });
      // A sum of cols squares, halved by the root; inverseSqrt 2, the mean 2.5, three products.
      const tolerance = (cols / 2 + 8) * ulp;
      return compare('y', await bench.read(y), rmsNormReference(x.subarray(firstRow * cols), w, eps), tolerance);
    });
  },
}));

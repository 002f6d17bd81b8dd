import type { MatrixFormat } from '../format/types';
import { createEmbed } from '../kernels/embed';
import { embedReference } from '../kernels/reference/embed';
import { bf16, describeFormat, f16, f32, q3, q4 } from './formats';
import { compare, type KernelCase, onBench, random, randomMatrix, ulp } from './harness';

type Row = { rows: number; cols: number; format: MatrixFormat; tokens: number; cuts?: number[]; baseUnits?: number; why: string };

const rows: Row[] = [
  { rows: 1, cols: 4, format: f32, tokens: 1, why: 'the smallest: one row of one quad' },
  { rows: 9, cols: 260, format: bf16, tokens: 7, why: 'more than one workgroup a row, threads past its end, padded rows' },
  { rows: 9, cols: 12, format: f16, tokens: 33, baseUnits: 5, why: 'padded rows, somewhere in the slab' },
  { rows: 11, cols: 320, format: q4(64, 'bf16'), tokens: 7, baseUnits: 2, why: 'the usual format' },
  {
    rows: 11,
    cols: 320,
    format: q4(64, 'bf16'),
    tokens: 33,
    baseUnits: 2,
    cuts: [3, 10],
    why: 'each of three parts writes its rows only',
  },
  { rows: 7, cols: 96, format: q3(32, 'f16'), tokens: 2, why: 'weights that straddle words' },
  { rows: 5, cols: 128, format: q3(128, 'f32'), tokens: 31, baseUnits: 1, why: 'pairs of f32, an odd number of them' },
];

export const embedCases: KernelCase[] = rows.map(({ rows, cols, format, tokens, cuts = [], baseUnits = 0, why }) => ({
  kernel: 'embed',
  name: `${describeFormat(format)}, ${tokens} of ${rows} x ${cols}${cuts.length ? `, cut before ${cuts}` : ''}`,
  why,
  run: (gpu) =>
    onBench(gpu, async (bench) => {
      const next = random(5);
      const matrix = randomMatrix(next, rows, cols, format);
      const ids = Uint32Array.from({ length: tokens }, (_, t) => (t < 2 ? (t + 1) * (rows - 1) : next() * rows) % rows);
      const y = bench.output(tokens * cols);
      const kernel = createEmbed(gpu, { cols, format });
      const bindings = { ids: bench.input(ids), y };
      const parts = bench.matrix(matrix, { baseUnits, cuts });
      await bench.run(...parts.map((part) => ({ kernel, bindings, tokens, ...part })));
      // One product and one sum; a float row is copied exactly.
      const tolerance = format.kind === 'affine' ? 2 * ulp : 0;
      return compare('y', await bench.read(y), embedReference(ids, matrix.values, cols), tolerance, largestSize(matrix.sizes));
    }),
}));

const largestSize = (sizes: Float64Array) => sizes.reduce((most, size) => Math.max(most, size), 0);

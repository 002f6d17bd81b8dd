import { createQkNormRope } from '../kernels/qk_norm_rope';
import { qkNormRopeReference } from '../kernels/reference/qk_norm_rope';
import type { KvDtype } from '../kernels/variants';
import {
  compare,
  type KernelCase,
  onBench,
  poison,
  type Reduction,
  random,
  skip,
  ulp,
  uniform,
  withReduction,
  worst,
} from './harness';
import { cacheValues, readCache } from './kv_cache';

type Row = {
  reduction: Reduction;
  kv: KvDtype;
  heads: number;
  kvHeads: number;
  headDim: number;
  rotary: number;
  tokens: number;
  position: number;
  why: string;
};

const rows: Row[] = [
  {
    reduction: 'direct',
    kv: 'f32',
    heads: 1,
    kvHeads: 1,
    headDim: 32,
    rotary: 8,
    tokens: 1,
    position: 0,
    why: 'the smallest, one head of each, a quarter rotated',
  },
  {
    reduction: 'direct',
    kv: 'f16',
    heads: 8,
    kvHeads: 2,
    headDim: 256,
    rotary: 64,
    tokens: 2,
    position: 3,
    why: 'the shape of the small models',
  },
  { reduction: 'direct', kv: 'f32', heads: 6, kvHeads: 1, headDim: 64, rotary: 32, tokens: 7, position: 9, why: 'half rotated' },
  { reduction: 'direct', kv: 'f16', heads: 5, kvHeads: 1, headDim: 128, rotary: 128, tokens: 2, position: 1, why: 'all rotated' },
  {
    reduction: 'workgroup',
    kv: 'f32',
    heads: 5,
    kvHeads: 1,
    headDim: 128,
    rotary: 64,
    tokens: 2,
    position: 3,
    why: 'half the lanes idle',
  },
  {
    reduction: 'workgroup',
    kv: 'f16',
    heads: 4,
    kvHeads: 2,
    headDim: 256,
    rotary: 64,
    tokens: 1,
    position: 5,
    why: 'every lane has one quad',
  },
  {
    reduction: 'subgroups',
    kv: 'f16',
    heads: 6,
    kvHeads: 2,
    headDim: 256,
    rotary: 64,
    tokens: 33,
    position: 31,
    why: 'three queries a key head, many tokens',
  },
  {
    reduction: 'subgroups',
    kv: 'f32',
    heads: 2,
    kvHeads: 2,
    headDim: 32,
    rotary: 16,
    tokens: 2,
    position: 1,
    why: 'a key head for every query',
  },
];

export const qkNormRopeCases: KernelCase[] = rows.map(({ reduction, kv, why, ...shape }) => ({
  kernel: 'qk_norm_rope',
  name: `${reduction}, kv ${kv}, ${shape.tokens} at ${shape.position}, heads ${shape.heads}/${shape.kvHeads} x ${shape.headDim}, rotary ${shape.rotary}`,
  why,
  run: async (device) => {
    const gpu = withReduction(device, reduction);
    if (typeof gpu === 'string') return skip(gpu);
    const { heads, kvHeads, headDim, rotary, tokens, position } = shape;
    const eps = Math.fround(1e-6);
    const next = random(8);
    const qGate = uniform(next, tokens * heads * 2 * headDim);
    const k = uniform(next, tokens * kvHeads * headDim);
    const v = uniform(next, tokens * kvHeads * headDim);
    const qNorm = uniform(next, headDim, 0.5, 1.5);
    const kNorm = uniform(next, headDim, 0.5, 1.5);
    const capacity = position + tokens + 1;
    const angles = uniform(next, (capacity * rotary) / 2, -3, 3);
    const rope = Float32Array.from({ length: capacity * rotary }, (_, i) =>
      i % 2 === 0 ? Math.cos(angles[i / 2]!) : Math.sin(angles[(i - 1) / 2]!),
    );
    return onBench(gpu, async (bench) => {
      const q = bench.output(tokens * heads * headDim);
      const keys = bench.output(cacheValues(kv, capacity * kvHeads * headDim));
      const values = bench.output(cacheValues(kv, capacity * kvHeads * headDim));
      await bench.run({
        kernel: createQkNormRope(gpu, { heads, kvHeads, headDim, rotary, eps, kv }),
        bindings: {
          qGate: bench.input(qGate),
          k: bench.input(k),
          v: bench.input(v),
          q,
          keys,
          values,
          rope: bench.input(rope),
          step: bench.step({ tokens, position }),
        },
        weights: bench.vectors(qNorm, kNorm),
        tokens,
      });
      const inputs = { qGate, k, qNorm, kNorm, rope };
      const want = qkNormRopeReference(inputs, { ...shape, eps });
      // The norm as in rms_norm, then two products and a sum: relative to |a| + |b| of the rotated pair.
      const tolerance = (headDim / 2 + 11) * ulp;
      const unturned = qkNormRopeReference({ ...inputs, rope: rope.map((_, i) => (i % 2 === 0 ? 1 : 0)) }, { ...shape, eps });
      const size = (x: Float64Array) => x.map((value, i) => Math.abs(value) + Math.abs(x[partner(i, headDim, rotary)]!));
      // A cache of f16 keeps 11 bits, in any direction; below 2^-14 its steps stop shrinking.
      const kept = kv === 'f16' ? 2 ** -10 : 0;
      const atLeast = (x: Float64Array) => x.map((value) => Math.max(Math.abs(value), 2 ** -14));
      const row = kvHeads * headDim;
      const cached = async (output: typeof keys) => readCache(kv, await bench.read(output), position * row, tokens * row);
      const keysGot = await cached(keys);
      const valuesGot = await cached(values);
      return worst(
        compare('q', await bench.read(q), want.q, tolerance, size(unturned.q)),
        compare('keys', keysGot.written, want.keys, tolerance + kept, atLeast(size(unturned.keys))),
        compare('values', valuesGot.written, v, kept, atLeast(Float64Array.from(v))),
        compare(
          'keys around',
          keysGot.around,
          keysGot.around.map(() => poison),
          0,
        ),
        compare(
          'values around',
          valuesGot.around,
          valuesGot.around.map(() => poison),
          0,
        ),
      );
    });
  },
}));

/** The other index of a rotated pair; itself where nothing turns. */
function partner(index: number, headDim: number, rotary: number): number {
  const i = index % headDim;
  if (i >= rotary) return index;
  return i < rotary / 2 ? index + rotary / 2 : index - rotary / 2;
}

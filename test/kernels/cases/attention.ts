import { createAttention, createAttentionDirect } from '../../../src/kernels/attention';
import { attentionReference } from '../../../src/kernels/reference/attention';
import type { KvDtype } from '../../../src/kernels/variants';
import {
  compare,
  expUlps,
  type KernelCase,
  onBench,
  type Reduction,
  random,
  skip,
  ulp,
  uniform,
  withReduction,
} from '../harness';
import { randomCache } from './kv_cache';

type Shape = { kv: KvDtype; heads: number; kvHeads: number; headDim: number };
type Row = Shape & { reduction: Reduction; tokens: number; position: number; sharpness?: number; why: string };

const small: Shape = { kv: 'f16', heads: 4, kvHeads: 1, headDim: 256 };
const odd: Shape = { kv: 'f32', heads: 6, kvHeads: 2, headDim: 32 };
const rows: Row[] = [
  { reduction: 'workgroup', ...small, tokens: 1, position: 0, why: 'one token at position 0: one key, 63 lanes masked' },
  { reduction: 'workgroup', ...small, tokens: 2, position: 62, why: 'the second token fills the first block of 64 keys' },
  { reduction: 'workgroup', ...small, tokens: 2, position: 63, why: 'the second token begins another block' },
  { reduction: 'workgroup', ...odd, tokens: 33, position: 100, why: 'blocks begin within the step; three queries a key head' },
  { reduction: 'subgroups', ...small, tokens: 1, position: 0, why: 'one token at position 0' },
  { reduction: 'subgroups', ...small, tokens: 7, position: 125, why: 'lengths on both sides of 128 keys' },
  {
    reduction: 'subgroups',
    ...small,
    tokens: 2,
    position: 130,
    sharpness: 20,
    why: 'sharp: later blocks outweigh earlier ones by far',
  },
  {
    reduction: 'subgroups',
    kv: 'f16',
    heads: 6,
    kvHeads: 1,
    headDim: 128,
    tokens: 31,
    position: 0,
    why: 'prefill from nothing, six queries a key head',
  },
  {
    reduction: 'subgroups',
    kv: 'f32',
    heads: 5,
    kvHeads: 1,
    headDim: 64,
    tokens: 64,
    position: 1,
    why: 'five queries a key head, f32 cache',
  },
  { reduction: 'direct', ...small, tokens: 1, position: 0, why: 'one token at position 0' },
  { reduction: 'direct', ...small, tokens: 33, position: 63, why: 'more threads than one workgroup' },
  { reduction: 'direct', ...small, tokens: 2, position: 130, sharpness: 20, why: 'sharp: the largest score keeps moving' },
  { reduction: 'direct', ...odd, tokens: 7, position: 100, why: 'three queries a key head, f32 cache' },
  {
    reduction: 'direct',
    kv: 'f32',
    heads: 2,
    kvHeads: 2,
    headDim: 64,
    tokens: 2,
    position: 5,
    why: 'a key head for every query',
  },
  {
    reduction: 'direct',
    kv: 'f16',
    heads: 16,
    kvHeads: 1,
    headDim: 128,
    tokens: 7,
    position: 60,
    why: 'sixteen queries a key head; threads past the end',
  },
];

export const attentionCases: KernelCase[] = rows.map(({ reduction, tokens, position, sharpness = 3, why, ...shape }) => ({
  kernel: reduction === 'direct' ? 'attention_direct' : 'attention',
  name: `${reduction}, kv ${shape.kv}, ${tokens} at ${position}, heads ${shape.heads}/${shape.kvHeads} x ${shape.headDim}`,
  why,
  run: async (device) => {
    const gpu = withReduction(device, reduction);
    if (typeof gpu === 'string') return skip(gpu);
    const { kv, heads, kvHeads, headDim } = shape;
    const next = random(9);
    const q = uniform(next, tokens * heads * headDim, -sharpness, sharpness);
    const qGate = uniform(next, tokens * heads * 2 * headDim, -4, 4);
    // One position more than is attended to: a kernel that looks ahead sees it.
    const keys = randomCache(next, kv, (position + tokens + 1) * kvHeads * headDim);
    const values = randomCache(next, kv, (position + tokens + 1) * kvHeads * headDim);
    return onBench(gpu, async (bench) => {
      const y = bench.output(tokens * heads * headDim);
      await bench.run({
        kernel: reduction === 'direct' ? createAttentionDirect(gpu, shape) : createAttention(gpu, shape),
        bindings: {
          q: bench.input(q),
          qGate: bench.input(qGate),
          keys: bench.input(keys.words),
          values: bench.input(values.words),
          y,
          step: bench.step({ tokens, position }),
        },
        tokens,
      });
      const inputs = { q, qGate, keys: keys.numbers, values: values.numbers };
      const step = { tokens, position, heads, kvHeads, headDim };
      const want = attentionReference(inputs, step);
      // Each weight e^(score - most) is off by the score's absolute error (a chain of headDim / 4 sums of products of at most
      // sharpness / sqrt(headDim) each, four at a time) and exp's; they are added up twice, over the length and over the
      // length again; the gate is a sigmoid. Relative to the same average of |v|.
      const range = 2 * sharpness * Math.sqrt(headDim);
      const score = (headDim / 4 + 8) * sharpness * Math.sqrt(headDim);
      const length = position + tokens;
      const tolerance = (2 * (score + expUlps(range) + length) + expUlps(4) + 6) * ulp;
      const scale = attentionReference({ ...inputs, values: values.numbers.map(Math.abs) }, step);
      return compare('y', await bench.read(y), want, tolerance, scale);
    });
  },
}));

import { createDeltaGates, createDeltaPrepare, createDeltaQkNorm, type DeltaShape, deltaChannels } from '../kernels/delta';
import { conv1dSiluReference } from '../kernels/reference/conv1d_silu';
import { deltaGatesReference, deltaQkNormReference } from '../kernels/reference/delta';
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
  worst,
} from './harness';

export const describe = ({ keyHeads, valueHeads, keyDim, valueDim }: DeltaShape) =>
  `${keyHeads} x ${keyDim} to ${valueHeads} x ${valueDim}`;

// ---- delta_qk_norm --------------------------------------------------------------------------------------------------

type NormRow = { reduction: Reduction; shape: DeltaShape; tokens: number; why: string };

const normRows: NormRow[] = [
  { reduction: 'direct', shape: { keyHeads: 1, valueHeads: 1, keyDim: 4, valueDim: 16 }, tokens: 1, why: 'the smallest' },
  {
    reduction: 'direct',
    shape: { keyHeads: 2, valueHeads: 6, keyDim: 128, valueDim: 32 },
    tokens: 7,
    why: 'values between the tokens stay',
  },
  {
    reduction: 'workgroup',
    shape: { keyHeads: 2, valueHeads: 2, keyDim: 128, valueDim: 32 },
    tokens: 2,
    why: 'half the lanes idle',
  },
  { reduction: 'subgroups', shape: { keyHeads: 2, valueHeads: 6, keyDim: 128, valueDim: 32 }, tokens: 33, why: 'many tokens' },
  { reduction: 'subgroups', shape: { keyHeads: 1, valueHeads: 1, keyDim: 32, valueDim: 64 }, tokens: 1, why: 'most lanes idle' },
];

const normCases: KernelCase[] = normRows.map(({ reduction, shape, tokens, why }) => ({
  kernel: 'delta_qk_norm',
  name: `${reduction}, ${tokens} tokens, ${describe(shape)}`,
  why,
  run: async (device) => {
    const gpu = withReduction(device, reduction);
    if (typeof gpu === 'string') return skip(gpu);
    const before = uniform(random(10), tokens * deltaChannels(shape));
    return onBench(gpu, async (bench) => {
      const qkv = bench.output(before);
      await bench.run({ kernel: createDeltaQkNorm(gpu, shape), bindings: { qkv }, tokens });
      // A sum of keyDim squares, halved by the root; two inverseSqrt of 2 each, three products.
      return compare('qkv', await bench.read(qkv), deltaQkNormReference(before, shape), (shape.keyDim / 2 + 8) * ulp);
    });
  },
}));

// ---- delta_gates ----------------------------------------------------------------------------------------------------

type GateRow = { heads: number; tokens: number; size: number; why: string };

const gateRows: GateRow[] = [
  { heads: 1, tokens: 1, size: 3, why: 'the smallest' },
  { heads: 6, tokens: 33, size: 3, why: 'heads not a multiple of four, threads past the end' },
  { heads: 6, tokens: 7, size: 25, why: 'softplus(-25) is 1e-11, where 1 + e^x is 1; softplus(25) is 25' },
];

const gateCases: KernelCase[] = gateRows.map(({ heads, tokens, size, why }) => ({
  kernel: 'delta_gates',
  name: `${tokens} x ${heads}, |a| < ${size}`,
  why,
  run: (gpu) =>
    onBench(gpu, async (bench) => {
      const next = random(11);
      const a = uniform(next, tokens * heads, -size, size);
      const b = uniform(next, tokens * heads, -size, size);
      const negExpA = uniform(next, heads, -4, -0.1);
      const dtBias = uniform(next, heads);
      const gates = bench.output(2 * a.length);
      await bench.run({
        kernel: createDeltaGates(gpu, { valueHeads: heads }),
        bindings: { a: bench.input(a), b: bench.input(b), gates, step: bench.step({ tokens }) },
        weights: bench.vectors(negExpA, dtBias),
        tokens,
      });
      // e^-|x|, with x = a + dt_bias itself rounded; a division; the series of seven terms (each a product and a sum, what
      // follows them under a quarter ulp); two more products and a sum.
      const tolerance = (expUlps(size + 1) + size + 1 + 2.5 + 14 + 4) * ulp;
      return compare('gates', await bench.read(gates), deltaGatesReference(a, b, negExpA, dtBias), tolerance);
    }),
}));

// ---- delta_prepare ----------------------------------------------------------------------------------------------------

type StepRow = {
  reduction: Exclude<Reduction, 'direct'>;
  shape: DeltaShape;
  tokens: 0 | 1;
  source: number;
  target: number;
  why: string;
};

const stepRows: StepRow[] = [
  {
    reduction: 'workgroup',
    shape: { keyHeads: 1, valueHeads: 1, keyDim: 4, valueDim: 16 },
    ...{ tokens: 1, source: 0, target: 0 },
    why: 'the smallest, in place',
  },
  {
    reduction: 'subgroups',
    shape: { keyHeads: 2, valueHeads: 6, keyDim: 128, valueDim: 128 },
    ...{ tokens: 1, source: 2, target: 0 },
    why: 'heads not a multiple of four; the source slot stays as it was',
  },
  {
    reduction: 'subgroups',
    shape: { keyHeads: 2, valueHeads: 2, keyDim: 64, valueDim: 272 },
    ...{ tokens: 1, source: 1, target: 1 },
    why: 'values wider than a workgroup has lanes',
  },
  {
    reduction: 'subgroups',
    shape: { keyHeads: 2, valueHeads: 2, keyDim: 64, valueDim: 64 },
    ...{ tokens: 0, source: 1, target: 1 },
    why: 'a step of no tokens leaves the state as it is',
  },
];

const stepCases: KernelCase[] = stepRows.map(({ reduction, shape, tokens, source, target, why }) => ({
  kernel: 'delta_prepare',
  name: `${reduction}, ${Object.values(shape).join(' x ')}, ${tokens} tokens, slot ${source} to ${target}`,
  why,
  run: async (device) => {
    const gpu = withReduction(device, reduction);
    if (typeof gpu === 'string') return skip(gpu);
    const channels = deltaChannels(shape);
    const next = random(14);
    const x = uniform(next, channels, -2, 2);
    const [a, b] = [uniform(next, shape.valueHeads, -3, 3), uniform(next, shape.valueHeads, -3, 3)];
    const w = uniform(next, channels * 4);
    const negExpA = uniform(next, shape.valueHeads, -4, -0.1);
    const dtBias = uniform(next, shape.valueHeads);
    const before = uniform(next, 3 * 3 * channels, -2, 2);
    return onBench(gpu, async (bench) => {
      const [qkv, gates, state] = [bench.output(channels), bench.output(2 * shape.valueHeads), bench.output(before)];
      const step = bench.step({ tokens, sourceSlot: source, targetSlot: target });
      await bench.run({
        kernel: createDeltaPrepare(gpu, shape),
        bindings: { x: bench.input(x), a: bench.input(a), b: bench.input(b), qkv, gates, state, step },
        weights: bench.vectors(w, negExpA, dtBias),
      });
      const slot = before.subarray(source * 3 * channels, (source + 1) * 3 * channels);
      const want = conv1dSiluReference(x, w, slot, channels);
      const after = Float64Array.from(before);
      after.set(tokens === 0 ? slot : want.state, target * 3 * channels);
      const normed = deltaQkNormReference(want.y, shape);
      // As conv1d_silu; a norm divides what it gets by its size, errors too.
      const keys = 2 * shape.keyHeads * shape.keyDim;
      const grown = Math.max(1, ...normed.subarray(0, keys).map((value, i) => Math.abs(value / (want.y[i]! || 1))));
      const tolerance = (1.1 * 8 + 4 + expUlps(largest(want.y)) + shape.keyDim / 2 + 8) * ulp * grown;
      return worst(
        compare('qkv', await bench.read(qkv), normed, tolerance, 8),
        compare('gates', await bench.read(gates), deltaGatesReference(a, b, negExpA, dtBias), (expUlps(4) + 4 + 20.5) * ulp),
        compare('state', await bench.read(state), after, 0, 1),
      );
    });
  },
}));

export const deltaInputCases: KernelCase[] = [...normCases, ...gateCases, ...stepCases];

import { createConv1dSilu } from '../kernels/conv1d_silu';
import { conv1dSiluReference } from '../kernels/reference/conv1d_silu';
import { compare, expUlps, type KernelCase, largest, onBench, poison, random, ulp, uniform, worst } from './harness';

type Row = { channels: number; tokens: number; source: number; target: number; why: string };

const slots = 3;
const rows: Row[] = [
  { channels: 4, tokens: 1, source: 0, target: 0, why: 'the smallest; the window moves by one within its slot' },
  { channels: 100, tokens: 1, source: 2, target: 0, why: 'threads past the last channel; the source slot stays as it was' },
  { channels: 100, tokens: 2, source: 0, target: 2, why: 'fewer tokens than the window holds: one old input stays' },
  { channels: 100, tokens: 2, source: 1, target: 1, why: 'the same in place' },
  { channels: 100, tokens: 3, source: 1, target: 2, why: 'exactly the window' },
  { channels: 100, tokens: 33, source: 0, target: 0, why: 'a second block, of one token' },
  { channels: 100, tokens: 66, source: 1, target: 0, why: 'three blocks' },
];

export const conv1dSiluCases: KernelCase[] = rows.map(({ channels, tokens, source, target, why }) => ({
  kernel: 'conv1d_silu',
  name: `${tokens} x ${channels}, slot ${source} to ${target}`,
  why,
  run: (gpu) =>
    onBench(gpu, async (bench) => {
      const next = random(4);
      const x = uniform(next, tokens * channels, -2, 2);
      const w = uniform(next, channels * 4);
      const before = uniform(next, slots * 3 * channels, -2, 2);
      const y = bench.output(x.length);
      const state = bench.output(before);
      await bench.run({
        kernel: createConv1dSilu(gpu, { channels }),
        bindings: { x: bench.input(x), y, state, step: bench.step({ tokens, sourceSlot: source, targetSlot: target }) },
        weights: bench.vectors(w),
        tokens,
      });
      const slot = before.subarray(source * 3 * channels, (source + 1) * 3 * channels);
      const want = conv1dSiluReference(x, w, slot, channels);
      const after = Float64Array.from(before);
      after.set(want.state, target * 3 * channels);
      // Four products added, silu's slope is at most 1.1; then e^-sum, 1 + it, the division. All relative to the sum's terms,
      // four of at most 2 each.
      const tolerance = (1.1 * 8 + 4 + expUlps(largest(want.y))) * ulp;
      return worst(
        compare('y', await bench.read(y), want.y, tolerance, 8),
        compare('state', await bench.read(state), after, 0, poison),
      );
    }),
}));

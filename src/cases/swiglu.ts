import { swigluReference } from '../kernels/reference/swiglu';
import { createSwiglu } from '../kernels/swiglu';
import { compare, expUlps, type KernelCase, largest, onBench, random, ulp, uniform } from './harness';

type Row = { cols: number; tokens: number; gates: number; grid?: readonly [number, number]; why: string };

const rows: Row[] = [
  { cols: 4, tokens: 1, gates: 4, why: 'the smallest: one thread' },
  { cols: 4, tokens: 33, gates: 4, why: 'rows shorter than a workgroup' },
  { cols: 260, tokens: 7, gates: 30, why: 'threads past the end; gates that silu closes or passes whole' },
  { cols: 260, tokens: 2, gates: 100, why: 'e^100 is past the largest f32: silu(-100) is 0, not NaN' },
  { cols: 260, tokens: 7, gates: 4, grid: [2, 4], why: 'a grid folded into y' },
];

export const swigluCases: KernelCase[] = rows.map(({ cols, tokens, gates, grid, why }) => ({
  kernel: 'swiglu',
  name: `${tokens} x ${cols}, |gate| < ${gates}${grid ? `, grid ${grid}` : ''}`,
  why,
  run: (gpu) =>
    onBench(gpu, async (bench) => {
      const next = random(3);
      const gate = uniform(next, tokens * cols, -gates, gates);
      const up = uniform(next, tokens * cols);
      const y = bench.output(gate.length);
      const kernel = createSwiglu(gpu, { cols });
      await bench.run({
        kernel: grid ? { ...kernel, grid: () => grid } : kernel,
        bindings: { gate: bench.input(gate), up: bench.input(up), y, step: bench.step({ tokens }) },
        tokens,
      });
      // e^-gate, 1 + it, the division 2.5, one product. Below 2^-100 a value may as well be zero.
      const want = swigluReference(gate, up);
      const scale = want.map((value) => Math.max(Math.abs(value), 2 ** -100));
      return compare('y', await bench.read(y), want, (6 + expUlps(largest(gate))) * ulp, scale);
    }),
}));

import { createAdvance, packStops } from '../kernels/advance';
import { advanceReference } from '../kernels/reference/advance';
import { packStep } from '../kernels/step';
import { compare, type KernelCase, onBench } from './harness';

type Row = { tokens: 0 | 1; id: number; stops: number[]; why: string };

const rows: Row[] = [
  { tokens: 1, id: 5, stops: [], why: 'nothing to stop at' },
  { tokens: 1, id: 5, stops: [4, 6], why: 'one position on' },
  { tokens: 1, id: 6, stops: [4, 6], why: 'the last of the stops' },
  { tokens: 0, id: 5, stops: [4, 6], why: 'over is over' },
];

export const advanceCases: KernelCase[] = rows.map(({ tokens, id, stops, why }) => ({
  kernel: 'advance',
  name: `${tokens} tokens, id ${id}, stops [${stops}]`,
  why,
  run: (gpu) =>
    onBench(gpu, async (bench) => {
      const before = { tokens, position: 7, firstRow: 3, sourceSlot: 1, targetSlot: 2 };
      // The words of a Step as the f32 that the bench compares: bits stay bits.
      const step = bench.output(new Float32Array(packStep(before).buffer));
      const bindings = { ids: bench.input(Uint32Array.of(id, 99)), stops: bench.input(packStops(stops)), step };
      await bench.run({ kernel: createAdvance(gpu), bindings });
      const got = new Uint32Array((await bench.read(step)).slice().buffer);
      return compare('step', got, packStep({ ...before, ...advanceReference(before, id, stops) }), 0, 1);
    }),
}));

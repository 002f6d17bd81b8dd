import { absentSlot } from '../gpu/kernel';
import { createMoeGateUpQ4, createMoeRankedGateUpQ4, createMoeRoute, createMoeRouteOne } from '../kernels/moe';
import { moeRouteReference } from '../kernels/reference/moe';
import { q4 } from './formats';
import {
  compare,
  expUlps,
  type KernelCase,
  largest,
  type Output,
  onBench,
  type Reduction,
  random,
  randomMatrix,
  skip,
  ulp,
  uniform,
  withReduction,
  worst,
} from './harness';

type Route = { experts: number; chosen: number; tokens: number; renormalised?: boolean; equal?: boolean; why: string };

const routes: Route[] = [
  { experts: 8, chosen: 3, tokens: 5, why: 'fewer experts than threads' },
  { experts: 256, chosen: 8, tokens: 3, why: '35B-A3B' },
  { experts: 512, chosen: 10, tokens: 2, why: '397B: two experts a thread' },
  { experts: 1022, chosen: 64, tokens: 1, why: 'the most there may be, and not a whole number of quads' },
  { experts: 30, chosen: 7, tokens: 4, equal: true, why: 'many equal logits: the lower index wins' },
  { experts: 1, chosen: 1, tokens: 2, why: 'no choice' },
  { experts: 40, chosen: 6, tokens: 3, renormalised: false, why: 'weights that do not sum to 1' },
];

const routeCases = routes.map(
  ({ experts, chosen, tokens, renormalised = true, equal = false, why }): KernelCase => ({
    kernel: 'moe_route',
    name: `${chosen} of ${experts}, ${tokens} tokens${equal ? ', ties' : ''}${renormalised ? '' : ', not renormalised'}`,
    why,
    run: (gpu) =>
      onBench(gpu, async (bench) => {
        const logits = uniform(random(11), tokens * experts, -9, 9);
        if (equal) for (let i = 0; i < logits.length; i++) logits[i] = Math.round(logits[i]! / 6);
        const shape = { tokens, experts, chosen, renormalised };
        const want = moeRouteReference(logits, shape);
        const picks = bench.output(tokens * chosen);
        const weights = bench.output(tokens * chosen);
        const kernel = createMoeRoute(gpu, shape);
        await bench.run({ kernel, bindings: { logits: bench.input(logits), picks, weights }, tokens });
        const got = (await bench.read(picks)).slice();
        const ids = new Uint32Array(got.buffer, got.byteOffset, got.length);
        // Up to 1,022 terms e^x with |x| < 18, a division.
        const tolerance = (expUlps(18) + 1022 + 4) * ulp;
        return worst(
          compare('picks', ids, want.picks, 0, 1),
          compare('weights', await bench.read(weights), want.weights, tolerance, largest(want.weights)),
        );
      }),
  }),
);

const routeOneCases = [
  { experts: 256, chosen: 8, away: [] as number[], why: 'all there' },
  { experts: 30, chosen: 7, away: [1, 2, 3, 5, 8, 13, 21], why: 'some are not' },
].map(
  ({ experts, chosen, away, why }): KernelCase => ({
    kernel: 'moe_route_one',
    name: `${chosen} of ${experts}, without ${away.length}`,
    why,
    run: (gpu) =>
      onBench(gpu, async (bench) => {
        const next = random(12);
        const logits = uniform(next, experts, -9, 9);
        const hidden = uniform(next, 1028);
        const slots = Uint32Array.from({ length: experts }, (_, e) => (away.includes(e) ? absentSlot : e));
        const shape = { experts, chosen, renormalised: true };
        const want = moeRouteReference(logits, { ...shape, tokens: 1 });
        const picks = bench.output(chosen + 1);
        const weights = bench.output(chosen);
        const saved = bench.output(hidden.length);
        await bench.run({
          kernel: createMoeRouteOne(gpu, { ...shape, cols: hidden.length }),
          bindings: {
            logits: bench.input(logits),
            slots: bench.input(slots),
            hidden: bench.input(hidden),
            picks,
            weights,
            saved,
          },
        });
        const got = (await bench.read(picks)).slice();
        const ids = new Uint32Array(got.buffer, got.byteOffset, got.length);
        const missing = want.picks.filter((expert) => away.includes(expert)).length;
        return worst(
          compare('picks, missing', ids, [...want.picks, missing], 0, 1),
          compare('saved', await bench.read(saved), hidden, 0, 1),
          compare('weights', await bench.read(weights), want.weights, (expUlps(18) + chosen + 4) * ulp, largest(want.weights)),
        );
      }),
  }),
);

const rankedCases = [
  { reduction: 'subgroups', experts: 256, chosen: 8, rows: 70, cols: 2048, away: [], ties: false, near: true, why: '35B-A3B' },
  {
    reduction: 'workgroup',
    experts: 30,
    chosen: 7,
    rows: 37,
    cols: 96,
    away: [1, 2, 3, 5, 8],
    ties: true,
    near: true,
    why: 'equal logits',
  },
  {
    reduction: 'workgroup',
    experts: 1022,
    chosen: 60,
    rows: 4,
    cols: 64,
    away: [0],
    ties: false,
    near: false,
    why: 'the most there may be',
  },
].map(
  ({ reduction, experts, chosen, rows, cols, away, ties, near, why }): KernelCase => ({
    kernel: 'moe_gate_up_q4 ranked',
    name: `${reduction}${near ? ' near' : ''} ${chosen} of ${experts}, ${rows} x ${cols}, without ${away.length}`,
    why: `${why}: the same bits as moe_route_one and moe_gate_up_q4`,
    run: async (device) => {
      const gpu = withReduction(device, reduction as Reduction);
      if (typeof gpu === 'string') return skip(gpu);
      return onBench(gpu, async (bench) => {
        const next = random(14);
        const format = q4(32, 'bf16');
        const logits = uniform(next, experts, -9, 9).map((value) => (ties ? Math.round(value / 6) : value));
        const images = Array.from({ length: 3 }, () => [0, 1].map(() => randomMatrix(next, rows, cols, format)));
        const { weights, slotBytes } = bench.experts(images);
        const slots = Uint32Array.from({ length: experts }, (_, e) => ((away as number[]).includes(e) ? absentSlot : e % 3));
        const choice = { experts, chosen, renormalised: true };
        const shape = { rows, cols, format, chosen, slotBytes };
        const own = { x: bench.input(uniform(next, cols)), slots: bench.input(slots) };
        const out = () => ({ picks: bench.output(chosen + 1), weights: bench.output(chosen) });
        const [apart, ranked] = [out(), out()];
        const [apartY, rankedY] = [bench.output(chosen * rows), bench.output(chosen * rows)];
        const input = bench.input(logits);
        const hidden = bench.input(uniform(next, 4));
        await bench.run({
          kernel: createMoeRouteOne(gpu, { ...choice, cols: 4 }),
          bindings: { ...apart, logits: input, slots: own.slots, hidden, saved: bench.output(4) },
        });
        const kernel = createMoeGateUpQ4(gpu, shape);
        await bench.run({ kernel, bindings: { ...own, picks: apart.picks, y: apartY }, weights });
        const both = createMoeRankedGateUpQ4(gpu, { ...shape, near }, choice);
        await bench.run({ kernel: both, bindings: { ...own, ...ranked, logits: input, y: rankedY }, weights });
        const want = moeRouteReference(logits, { ...choice, tokens: 1 }).weights;
        const same = async (what: string, got: Output, want: Output) => {
          const bits = async (own: Output) => new Uint32Array((await bench.read(own)).slice().buffer);
          return compare(what, await bits(got), await bits(want), 0, 1);
        };
        return worst(
          await same('picks, missing', ranked.picks, apart.picks),
          await same('weights', ranked.weights, apart.weights),
          await same('y', rankedY, apartY),
          compare(
            'weights by reference',
            await bench.read(ranked.weights),
            want,
            (expUlps(18) + chosen + 4) * ulp,
            largest(want),
          ),
        );
      });
    },
  }),
);

export const moeChoiceCases: KernelCase[] = [...routeCases, ...routeOneCases, ...rankedCases];

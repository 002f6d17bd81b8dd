import type { MatrixFormat } from '../format/types';
import type { Gpu } from '../gpu/device';
import { absentSlot } from '../gpu/kernel';
import { createMoeDownGrouped, createMoeGateUpGrouped, createMoeGroup, mostTiles } from '../kernels/moe_grouped';
import { moeDownReference, moeGateUpReference, moeGroupReference } from '../kernels/reference/moe';
import { bf16, describeFormat, f32, q3, q4 } from './formats';
import {
  compare,
  type KernelCase,
  largest,
  onBench,
  poison,
  type Random,
  type Reduction,
  random,
  randomMatrix,
  skip,
  type TestMatrix,
  ulp,
  uniform,
  withReduction,
  worst,
} from './harness';

/** Choices that a tile holds. */
const tileOf = ({ direct }: Gpu) => (direct ? 4 : 32);

/** Different experts for each token; those of low number more often. */
function randomPicks(next: Random, { tokens, experts, chosen }: { tokens: number; experts: number; chosen: number }): number[] {
  return Array.from({ length: tokens }, () => {
    const own = new Set<number>();
    while (own.size < chosen) own.add(Math.floor(next() ** 3 * experts));
    return [...own];
  }).flat();
}

const groupCases = [
  { reduction: 'workgroup', experts: 256, chosen: 8, tokens: 40, why: '35B-A3B: some experts not at all, some in several tiles' },
  { reduction: 'workgroup', experts: 1024, chosen: 3, tokens: 7, why: 'the most there may be, several to a thread' },
  { reduction: 'workgroup', experts: 1, chosen: 1, tokens: 100, why: 'one expert' },
  { reduction: 'direct', experts: 16, chosen: 4, tokens: 33, why: 'tiles of four' },
].map(
  ({ reduction, experts, chosen, tokens, why }): KernelCase => ({
    kernel: 'moe_group',
    name: `${reduction} ${chosen} of ${experts}, ${tokens} tokens`,
    why,
    run: (device) => {
      const gpu = withReduction(device, reduction as Reduction) as Gpu;
      return onBench(gpu, async (bench) => {
        const picks = randomPicks(random(21), { tokens, experts, chosen });
        const want = moeGroupReference(picks, { experts, tile: tileOf(gpu) });
        const count = want.tiles.length / 3;
        const places = picks.length + 5; // room for a longer chunk
        const tiles = 2 * places;
        const initial = new Uint32Array(tiles + 1 + want.tiles.length).fill(absentSlot);
        initial.set(picks);
        const own = bench.output(new Float32Array(initial.buffer));
        const kernel = createMoeGroup(gpu, { experts, chosen, places, tiles });
        await bench.run({ kernel, bindings: { picks: own, step: bench.step({ tokens }) }, tokens });
        const got = new Uint32Array((await bench.read(own)).slice().buffer);
        const sorted = [];
        for (let i = 0; i < want.tiles.length; i += 3) {
          if (i > 0 && want.tiles[i - 3] === want.tiles[i]) continue;
          const end = want.tiles.findLastIndex((expert, at) => at % 3 === 0 && expert === want.tiles[i]) + 2;
          sorted.push(...got.slice(places + want.tiles[i + 1]!, places + want.tiles[end]!).sort());
        }
        const most = mostTiles(picks.length, experts, tileOf(gpu));
        return worst(
          compare('picks', got.slice(0, picks.length), picks, 0, 1),
          compare('places', sorted, want.places, 0, 1),
          compare('tiles', got.slice(tiles), [count, ...want.tiles], 0, 1),
          compare('tiles beyond the most', [Math.max(0, count - most)], [0], 0, 1),
        );
      });
    },
  }),
);

const create = { moe_gate_up_grouped: createMoeGateUpGrouped, moe_down_grouped: createMoeDownGrouped };

type Row = {
  reduction: Reduction;
  rows: number;
  cols: number;
  format: MatrixFormat;
  chosen: number;
  tokens: number;
  away?: number[];
  /** For one of both only: what they share needs no second row. */
  only?: 'moe_gate_up_grouped';
  why: string;
};

const only = 'moe_gate_up_grouped';
const rows: Row[] = [
  { reduction: 'workgroup', rows: 70, cols: 96, format: q4(32, 'bf16'), chosen: 3, tokens: 37, away: [1], why: 'several tiles' },
  { reduction: 'workgroup', rows: 128, cols: 64, format: q4(64, 'f32'), chosen: 2, tokens: 5, only, why: 'tiles next to empty' },
  { reduction: 'workgroup', rows: 7, cols: 96, format: q3(32, 'f16'), chosen: 3, tokens: 4, only, why: 'words across quads' },
  {
    reduction: 'workgroup',
    rows: 66,
    cols: 36,
    format: bf16,
    chosen: 2,
    tokens: 20,
    why: 'columns past the last 16',
  },
  {
    reduction: 'direct',
    rows: 70,
    cols: 128,
    format: q4(64, 'bf16'),
    chosen: 3,
    tokens: 11,
    away: [2],
    why: 'CPU: several tiles',
  },
  { reduction: 'direct', rows: 5, cols: 36, format: f32, chosen: 2, tokens: 3, only, why: 'CPU: half of eight columns' },
  { reduction: 'direct', rows: 12, cols: 96, format: q3(32, 'f16'), chosen: 1, tokens: 6, only, why: 'CPU: words across quads' },
];

const productCases = (['moe_gate_up_grouped', 'moe_down_grouped'] as const).flatMap((stem) =>
  rows
    .filter(({ only = stem }) => only === stem)
    .map(
      ({ reduction, rows, cols, format, chosen, tokens, away = [], why }): KernelCase => ({
        kernel: stem,
        name: `${reduction} ${rows} x ${cols} ${describeFormat(format)}, ${tokens} tokens, ${chosen} of 5${away.length ? `, without ${away}` : ''}`,
        why,
        run: async (device) => {
          const gpu = withReduction(device, reduction);
          if (typeof gpu === 'string') return skip(gpu);
          return onBench(gpu, async (bench) => {
            const next = random(22);
            const isGateUp = stem === 'moe_gate_up_grouped';
            const picks = randomPicks(next, { tokens, experts: 5, chosen });
            const experts = Array.from({ length: 5 }, () =>
              Array.from({ length: isGateUp ? 2 : 1 }, () => randomMatrix(next, rows, cols, format)),
            );
            const slotOf = [2, 0, 3, 1, 4]; // not where their numbers say
            const { weights, slotBytes } = bench.experts(slotOf.map((_, slot) => experts[slotOf.indexOf(slot)]!));
            const slots = Uint32Array.from(slotOf, (slot, expert) => (away.includes(expert) ? absentSlot : slot));
            const x = uniform(next, (isGateUp ? tokens : picks.length) * cols);
            const y = bench.output(picks.length * rows);
            const at = { experts: 5, places: picks.length, tiles: 2 * picks.length };
            const sorted = new Float32Array(at.tiles + 1 + 3 * mostTiles(picks.length, 5, tileOf(gpu)));
            new Uint32Array(sorted.buffer).set(picks);
            const own = bench.output(sorted);
            const group = {
              kernel: createMoeGroup(gpu, { ...at, chosen }),
              bindings: { picks: own, step: bench.step({ tokens }) },
            };
            const kernel = create[stem](gpu, { rows, cols, format, chosen, slotBytes }, at);
            const bindings = { x: bench.input(x), picks: own, slots: bench.input(slots), y };
            await bench.run(group, { kernel, bindings, tokens, weights });
            const of = (part: number) => (expert: number) => experts[expert]![part]!.values;
            const want = isGateUp
              ? moeGateUpReference(x, of(0), of(1), { picks, chosen, rows, cols })
              : moeDownReference(x, of(0), { picks, rows, cols });
            picks.forEach((expert, i) => {
              if (away.includes(expert)) want.fill(poison, i * rows, (i + 1) * rows);
            });
            // Sums of `cols` products of about 1 x 1, one after another; silu and a product behind them.
            const size = Math.max(...experts.flat().map((matrix: TestMatrix) => largest(matrix.sizes))) * cols;
            const scale = want.map((value) => (value === poison ? 1 : isGateUp ? size * Math.max(1, size / 8) : size));
            return compare('y', await bench.read(y), want, (isGateUp ? 24 : 8) * ulp, scale);
          });
        },
      }),
    ),
);

export const moeGroupedCases: KernelCase[] = [...groupCases, ...productCases];

import { expect, test, vi } from 'vitest';
import { picksOf, realisticTrace } from '../../src/bench/trace';
import { Random } from '../../src/engine/random';
import { SlotPolicy } from '../../src/plan/slot_policy';
import { type Choices, choicesOf, inTurn, likeText, movingWindow, round, type Shape, type Text, uniform } from './expert_texts';

vi.setConfig({ testTimeout: 120_000 }); // sixteen traces a test

/** One token of a layer. @returns how many of its keys were not there. */
type Cache = (picks: readonly number[]) => number;

/** The baseline: the least recently used of a layer makes room. */
function leastRecentlyUsed(slots: number): { use: Cache; held: ReadonlySet<number> } {
  const held = new Set<number>();
  const makeRoom = (picks: readonly number[]) => {
    for (const old of held) {
      if (picks.includes(old)) continue;
      held.delete(old);
      return;
    }
  };
  const use = (picks: readonly number[]) => {
    let misses = 0;
    for (const key of picks) {
      if (!held.delete(key)) misses += 1;
      if (held.size >= slots) makeRoom(picks);
      held.add(key);
    }
    for (const key of held) if (held.size > slots) held.delete(key);
    return misses;
  };
  return { use, held };
}

/** As where layers are asked one by one, and as where what they will choose is guessed. */
type Order = 'used first' | 'fetched first';

function policyCache(policy: SlotPolicy, order: Order): Cache {
  return (picks) => {
    if (order === 'used first') policy.use(picks);
    const keep = new Set(picks);
    const missing = picks.filter((key) => policy.slotOf(key) === undefined);
    for (const key of missing) policy.take(key, keep);
    if (order === 'fetched first') policy.use(picks);
    return missing.length;
  };
}

type Misses = { lru: number; policy: number };

const noMisses = (): Misses => ({ lru: 0, policy: 0 });
const policyOf = (shape: Shape, perLayer: number) =>
  new SlotPolicy({ slots: perLayer * shape.layers, ...shape }, (key) => Math.floor(key / shape.experts));

/** Misses of all tokens, and of those after the first ones. */
function replay(choices: Choices, shape: Shape, perLayer: number, order: Order): { all: Misses; later: Misses } {
  const baselines = Array.from({ length: shape.layers }, () => leastRecentlyUsed(perLayer));
  const policy = policyCache(policyOf(shape, perLayer), order);
  const [all, later] = [noMisses(), noMisses()];
  for (const [token, picksOfLayers] of choices.entries()) {
    for (const [layer, picks] of picksOfLayers.entries()) {
      const [lru, own] = [baselines[layer]!.use(picks), policy(picks)];
      for (const misses of token < warmUp ? [all] : [all, later]) {
        misses.lru += lru;
        misses.policy += own;
      }
    }
  }
  return { all, later };
}

const tokens = 300;
const warmUp = 100;
const layers = 12;

/** Shapes, and slots of a layer. */
const rooms: [shape: Shape, perLayer: number][] = [
  ...[13, 32, 64].map((slots): [Shape, number] => [{ layers, experts: 128, chosen: 8 }, slots]),
  ...[64, 128, 192].map((slots): [Shape, number] => [{ layers, experts: 256, chosen: 8 }, slots]),
  ...[16, 128].map((slots): [Shape, number] => [{ layers, experts: 512, chosen: 10 }, slots]),
];
const window = (perLayer: number) => movingWindow(Math.max(12, Math.floor(0.9 * perLayer)), 30);

/** Of experts and slots of a layer. */
const texts: Record<string, (experts: number, perLayer: number) => Text> = {
  'few experts do most': () => likeText({ zipf: 1.4, repeat: 0.4, drift: 4 }),
  local: () => likeText({ zipf: 0.8, repeat: 0.6, drift: 10 }),
  flat: () => likeText({ zipf: 0.4, repeat: 0.2, drift: 10 }),
  'changing subjects': (experts) => likeText({ zipf: 1.1, repeat: 0.4, drift: experts }),
  'longer subjects': (experts) => likeText({ zipf: 1.1, repeat: 0.4, drift: experts, every: 150 }),
  'no locality': () => uniform,
  'repeats only': () => likeText({ zipf: 0, repeat: 0.4, drift: 0 }),
  'round and round': (_, perLayer) => round(perLayer + 8),
  'a moving window': (_, perLayer) => window(perLayer),
};
/** Its end punishes what its beginning taught. */
const treacherous = (experts: number, perLayer: number) => {
  const likely = (drift: number) => likeText({ zipf: 1.1, repeat: 0.4, drift });
  return inTurn([likely(4), window(perLayer), uniform, likely(experts)], 70);
};

/** Reports the share of the baseline's misses in each room. @returns the most that the policy missed beyond them. */
function excess(
  name: string,
  choicesOf: (shape: Shape, perLayer: number, seed: number) => Choices,
  seeds: readonly number[],
): { all: number; later: number } {
  const most = { all: Number.NEGATIVE_INFINITY, later: Number.NEGATIVE_INFINITY };
  const rows = rooms.map(([shape, perLayer]) => {
    const sum = noMisses();
    for (const seed of seeds) {
      const { all, later } = replay(
        choicesOf(shape, perLayer, seed),
        shape,
        perLayer,
        seed % 2 === 0 ? 'fetched first' : 'used first',
      );
      most.all = Math.max(most.all, all.policy - all.lru);
      most.later = Math.max(most.later, later.policy - later.lru);
      sum.lru += later.lru;
      sum.policy += later.policy;
    }
    return `${perLayer} of ${shape.experts}: ${((100 * sum.policy) / sum.lru).toFixed(1)} %`;
  });
  console.log(name, most, rows.join(', '));
  return most;
}

test.each(Object.entries(texts))(
  '%s: never more misses than the least recently used of each layer on equal slots',
  (name, text) => {
    const most = excess(name, (shape, perLayer, seed) => choicesOf(text(shape.experts, perLayer), shape, tokens, seed), [1, 2]);
    expect(most.all).toBeLessThanOrEqual(0);
    expect(most.later).toBeLessThanOrEqual(layers); // what had been gained before may be lost
  },
);

test('a text that punishes what it taught costs a miss for each layer at most, ever', () => {
  const most = excess(
    'treacherous',
    (shape, perLayer, seed) => choicesOf(treacherous(shape.experts, perLayer), shape, tokens, seed),
    [1, 2, 3],
  );
  expect(most.all).toBeLessThanOrEqual(layers);
});

function realChoices(shape: Shape, count: number, seed: number): Choices {
  const trace = realisticTrace(shape, count, seed);
  const picks = (token: number, layer: number) =>
    Array.from(picksOf(trace, layer, token), (expert) => layer * shape.experts + expert);
  return Array.from({ length: count }, (_, token) => Array.from({ length: shape.layers }, (__, layer) => picks(token, layer)));
}

test('with the locality of real text fewer misses: a tenth where a quarter of the experts has slots', () => {
  const most = excess('real', (shape, _, seed) => realChoices(shape, tokens, seed), [1, 2]);
  expect(most.all).toBeLessThanOrEqual(0);
  expect(most.later).toBeLessThanOrEqual(layers);
  const shape = { layers, experts: 256, chosen: 8 };
  for (const seed of [3, 4]) {
    const { later } = replay(realChoices(shape, tokens, seed), shape, 64, 'fetched first');
    expect(later.policy).toBeLessThan(0.92 * later.lru);
  }
});

test.each(['used first', 'fetched first'] as const)(
  'whoever looks at what is held and asks for what is not gains a miss for each layer at most (%s)',
  (order) => {
    const shape = { layers: 3, experts: 64, chosen: 4 };
    let staked = 0;
    for (const [perLayer, seed] of [
      [4, 1],
      [6, 2],
      [16, 3],
      [40, 4],
      [16, 5],
      [16, 6],
    ] as const) {
      const random = new Random(seed);
      const baselines = Array.from({ length: shape.layers }, () => leastRecentlyUsed(perLayer));
      const policy = policyOf(shape, perLayer);
      const cache = policyCache(policy, order);
      const likely = Array.from({ length: shape.layers }, () => likeText({ zipf: 1, repeat: 0.3, drift: 2 })(shape, random));
      let [ahead, most] = [0, 0];
      for (let token = 0; token < 4000; token++) {
        const hostile = token % 400 > 250; // before, the policy is taught that its choices are good
        for (let layer = 0; layer < shape.layers; layer++) {
          const lacking = [...baselines[layer]!.held].filter((key) => policy.slotOf(key) === undefined);
          staked = Math.max(staked, lacking.length);
          const usual = likely[layer]!().map((expert) => layer * shape.experts + expert);
          const picks = [...new Set([...(hostile ? lacking : []), ...usual])].slice(0, shape.chosen);
          ahead += cache(picks) - baselines[layer]!.use(picks);
          most = Math.max(most, ahead);
        }
      }
      expect(most).toBeLessThanOrEqual(shape.layers);
    }
  },
);

test('slots for fewer than a token chooses of a layer: hardly more misses, though the baseline has room for what is chosen besides', () => {
  const shape = { layers: 40, experts: 512, chosen: 10 };
  const [count, seed] = [120, 1];
  const others = ['local', 'repeats only', 'round and round', 'a moving window'].map((name) => texts[name]!);
  for (const perLayer of [4, 9]) {
    const { all: real } = replay(realChoices(shape, count, seed), shape, perLayer, 'fetched first');
    expect(real.policy).toBeLessThanOrEqual(1.003 * real.lru);
    for (const text of others) {
      const { all } = replay(choicesOf(text(shape.experts, perLayer), shape, count, seed), shape, perLayer, 'used first');
      expect(all.policy).toBeLessThanOrEqual(1.025 * all.lru);
    }
  }
});

test('a layer that uses few of its slots leaves them to the others', () => {
  const shape = { layers: 2, experts: 64, chosen: 4 };
  const policy = policyOf(shape, 16);
  const cache = policyCache(policy, 'used first');
  const next = round(24)(shape, new Random(1));
  for (let token = 0; token < 12; token++) {
    cache([64, 65, 66, 67]);
    const misses = cache(next());
    expect(misses).toBe(token < 6 ? shape.chosen : 0);
  }
});

test('what is fetched for a guess and used by nobody goes first', () => {
  const shape = { layers: 1, experts: 16, chosen: 2 };
  const policy = policyOf(shape, 6);
  const cache = policyCache(policy, 'used first');
  for (let token = 0; token < 4; token++) cache([0, 1]);
  cache([2, 3]);
  policy.take(9, new Set());
  cache([4, 5]);
  expect(policy.slotOf(9)).toBeUndefined();
});

test('fewer slots than the layers choose at once: what is wanted now stays, whatever goes', () => {
  const shape = { layers, experts: 128, chosen: 8 };
  const policy = new SlotPolicy({ ...shape, slots: 10 }, (key) => Math.floor(key / shape.experts));
  const cache = policyCache(policy, 'fetched first');
  for (const picksOfLayers of choicesOf(likeText({ zipf: 1, repeat: 0.3, drift: 4 }), shape, 40, 1)) {
    for (const picks of picksOfLayers) {
      cache(picks);
      expect(new Set(picks.map((key) => policy.slotOf(key))).size).toBe(shape.chosen);
      expect(picks.every((key) => policy.slotOf(key)! < policy.slots)).toBe(true);
    }
  }
});

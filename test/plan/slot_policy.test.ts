import { expect, test } from 'vitest';
import { random } from '../../src/cases/harness';
import { SlotPolicy } from '../../src/plan/slot_policy';

type Text = {
  /** Popularity of the nth expert is 1 / n^zipf. */
  zipf: number;
  /** Chance that a choice of the token before is chosen again. */
  repeat: number;
  /** Experts of a layer whose popularity changes every 50 tokens. */
  drift: number;
};
const layers = 12;
const experts = 128;
const chosen = 8;
const warmUp = 100;

/** Keys by token and layer. */
function traceOf({ zipf, repeat, drift }: Text, tokens = 400): number[][][] {
  const next = random(1);
  const below = (n: number) => Math.floor(next() * n);
  const popularity = Array.from({ length: layers }, () => Array.from({ length: experts }, (_, i) => i));
  const mix = (list: number[], times: number) => {
    for (let n = 0; n < times; n++) {
      const [i, j] = [below(experts), below(experts)];
      [list[i], list[j]] = [list[j]!, list[i]!];
    }
  };
  for (const list of popularity) mix(list, 4 * experts);
  let sum = 0;
  const sums = Array.from({ length: experts }, (_, i) => (sum += 1 / (i + 1) ** zipf));
  const draw = () => {
    const at = next() * sum;
    return sums.findIndex((upTo) => upTo >= at);
  };
  let before: number[][] = popularity.map(() => []);
  return Array.from({ length: tokens }, (_, token) => {
    if (token % 50 === 49) for (const list of popularity) mix(list, drift);
    before = popularity.map((list, layer) => {
      const picks = new Set(before[layer]!.filter(() => next() < repeat));
      while (picks.size < chosen) picks.add(layer * experts + list[draw()]!);
      return [...picks];
    });
    return before;
  });
}

type Cache = { use(key: number, keep: ReadonlySet<number>): boolean };

/** The baseline: equal slots for each layer, the least recently used makes room. */
function leastRecentlyUsed(slots: number): Cache {
  const used = new Set<number>();
  return {
    use(key, keep) {
      const hit = used.delete(key);
      const oldest = hit || used.size < slots ? undefined : [...used].find((old) => !keep.has(old));
      if (oldest !== undefined) used.delete(oldest);
      used.add(key);
      return hit;
    },
  };
}

function engines(slots: number): Cache {
  const policy = new SlotPolicy(slots, layers, (key) => Math.floor(key / experts));
  return {
    use(key, keep) {
      const hit = policy.slotOf(key) !== undefined;
      policy.touch(key);
      if (!hit) policy.take(key, keep);
      return hit;
    },
  };
}

function hitRate(trace: number[][][], cacheOf: (layer: number) => Cache): number {
  let hits = 0;
  for (const [token, choices] of trace.entries()) {
    for (const [layer, picks] of choices.entries()) {
      const keep = new Set(picks);
      for (const key of picks) if (cacheOf(layer).use(key, keep) && token >= warmUp) hits += 1;
    }
  }
  return hits / ((trace.length - warmUp) * layers * chosen);
}

const texts: [name: string, text: Text][] = [
  ['as real text: few experts do most', { zipf: 1.4, repeat: 0.4, drift: 4 }],
  ['local', { zipf: 0.8, repeat: 0.6, drift: 10 }],
  ['flat', { zipf: 0.4, repeat: 0.2, drift: 10 }],
  ['changing subjects', { zipf: 1.1, repeat: 0.4, drift: 128 }],
];

test.each(texts)(
  '%s: the policy misses no more (within 0.4 % of choices) than the least recently used of each layer on equal slots',
  (name, text) => {
    const trace = traceOf(text);
    const rows = [0.1, 0.25, 0.5, 0.75].map((share) => {
      const perLayer = Math.floor(share * experts);
      const baselines = Array.from({ length: layers }, () => leastRecentlyUsed(perLayer));
      const engine = engines(perLayer * layers);
      return { share, baseline: hitRate(trace, (layer) => baselines[layer]!), engine: hitRate(trace, () => engine) };
    });
    console.log(name, rows.map((row) => `${row.share}: ${row.engine.toFixed(3)} against ${row.baseline.toFixed(3)}`).join(', '));
    for (const { baseline, engine } of rows) expect(engine).toBeGreaterThanOrEqual(baseline - 0.004);
  },
);

test('fewer slots than the layers choose at once: what is wanted now stays, whatever goes', () => {
  const policy = new SlotPolicy(chosen + 2, layers, (key) => Math.floor(key / experts));
  for (const choices of traceOf({ zipf: 1, repeat: 0.3, drift: 4 }, 40)) {
    for (const picks of choices) {
      const keep = new Set(picks);
      for (const key of picks) if (policy.slotOf(key) === undefined) policy.take(key, keep);
      expect(new Set(picks.map((key) => policy.slotOf(key))).size).toBe(chosen);
      expect(picks.every((key) => policy.slotOf(key)! < policy.slots)).toBe(true);
    }
  }
});

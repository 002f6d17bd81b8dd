import { expect, test } from 'vitest';
import { modelTable, type ReportedContext } from '../../src/bench/model_report';
import { leastRecentlyUsedMisses, picksOf, realisticTrace } from '../../src/bench/trace';

const shape = { layers: 6, experts: 256, chosen: 8 };
const upTo = (tokens: number) => Array.from({ length: tokens }, (_, i) => i);

test('the least recently used of each layer hit as in traces of a real 35B-A3B', () => {
  const [tokens, counted] = [1500, 1000];
  const trace = realisticTrace(shape, tokens, 1);
  const hits = (share: number) => {
    const misses = leastRecentlyUsedMisses(trace, share * shape.experts * shape.layers, upTo(tokens), counted);
    return 1 - misses / (counted * shape.layers * shape.chosen);
  };
  const figures = [0.25, 0.5, 0.75].map(hits);
  console.log(figures.map((figure) => figure.toFixed(3)).join(', '));
  const real: [number, number][] = [
    [0.76, 0.87],
    [0.94, 0.96],
    [0.98, 0.99],
  ];
  for (const [i, [least, most]] of real.entries()) {
    expect(figures[i]).toBeGreaterThanOrEqual(least);
    expect(figures[i]).toBeLessThanOrEqual(most);
  }
});

test('a token chooses distinct experts, layers differ, and the same seed gives the same trace', () => {
  const trace = realisticTrace(shape, 50, 3);
  for (let layer = 0; layer < shape.layers; layer++) {
    for (let token = 0; token < 50; token++) {
      const picks = picksOf(trace, layer, token);
      expect(new Set(picks).size).toBe(shape.chosen);
      expect(Math.max(...picks)).toBeLessThan(shape.experts);
    }
  }
  expect(picksOf(trace, 0, 7)).not.toEqual(picksOf(trace, 1, 7));
  expect(realisticTrace(shape, 50, 3).picks).toEqual(trace.picks);
  expect(realisticTrace(shape, 50, 4).picks).not.toEqual(trace.picks);
});

test('misses are counted by hand: two slots, the least recently used goes, a token keeps what it wants', () => {
  const picks = Uint32Array.from([0, 1, 0, 2, 1, 2, 2, 0]);
  const trace = { layers: 1, experts: 4, chosen: 2, tokens: 4, picks };
  // 0 1 | 0 hits, 2 takes 1's place | 1 takes 0's, 2 hits | 2 hits, 0 takes 1's
  expect(leastRecentlyUsedMisses(trace, 2, [0, 1, 2, 3], 3)).toBe(3);
  expect(leastRecentlyUsedMisses(trace, 2, [0, 1, 2, 3], 4)).toBe(5);
  expect(leastRecentlyUsedMisses(trace, 1, [0, 1, 2, 3], 4)).toBeGreaterThanOrEqual(5);
  expect(leastRecentlyUsedMisses(trace, 4, [0, 1, 2, 3], 3)).toBe(1);
});

test('a report of a mixture says who chose its experts', () => {
  const speed = { median: 100, spread: 0.1 };
  const row = {
    ...{ context: 0, promptTokens: 8, decodeTokens: 4, prefillTokensPerSecond: speed, decodeTokensPerSecond: speed },
    ...{ bytesPerToken: { total: 1e6 }, streamedBytesPerToken: 0, gbPerSecond: 1, prefillTflops: 1, peakGpuBytes: 1e9 },
    ...{ plannedGpuBytes: 1e9, dispatchesPerToken: 20, dispatchesPerLayer: 5, submitsPerToken: 1, logitDeviation: 1, ids: [] },
    ...{ repeatable: true, profiles: [], ofRead: 0.1, ofFma: 0.1 },
  } as unknown as ReportedContext;
  const experts = { slots: 40, hits: 90, misses: 10, prefetchHits: 5, bytesPerToken: 1e5, syncsPerToken: 1.5 };
  const mixture = { ...row, experts } as ReportedContext;
  const asked = { promptTokens: 8, decodeTokens: 4, repeat: 3 };
  const [first] = modelTable('shapes', { ...asked, trace: 'real' }, [mixture]).split('\n');
  expect(first).toMatch(/; experts as in a text of real locality/);
  expect(modelTable('shapes', asked, [mixture])).toMatch(/; experts as the routers choose\n/);
  const leaning = { ...asked, routing: { skew: 1, locality: 0.7 } };
  expect(modelTable('shapes', leaning, [mixture])).toMatch(/; experts as routers of skew 1 and locality 0.7 choose\n/);
  const random = { ...asked, routing: { skew: 0, locality: 0 } };
  expect(modelTable('shapes', random, [mixture])).toMatch(/; experts as random routers, which favour none, choose\n/);
  expect(modelTable('shapes', asked, [mixture])).toContain('hits 90 %');
  expect(modelTable('shapes', asked, [row])).not.toContain('experts');
});

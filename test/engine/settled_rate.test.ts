/** Which part of a flow counts, and when enough of it was seen. */
import { expect, test } from 'vitest';
import { SettledRate } from '../../src/engine/settled_rate';

const limits = { sliceMs: 100, sliceBytes: 1000, mostMs: 600 };

/** Arrivals every `everyMs` at a rate that depends on the time. */
function flow(rateAt: (ms: number) => number, everyMs: number, startMs = 5000): { ms: number; bytesPerMs: number } {
  const rate = new SettledRate(startMs, limits);
  let ms = 0;
  for (; !rate.done; ms += everyMs) rate.add(everyMs * rateAt(ms), startMs + ms + everyMs);
  return { ms, bytesPerMs: rate.bytesPerMs };
}

test.each([
  { why: 'steady: three slices', rateAt: () => 100, everyMs: 1, ms: 300, bytesPerMs: 100 },
  { why: 'a fast beginning', rateAt: (ms: number) => (ms < 150 ? 250 : 190), everyMs: 1, ms: 400, bytesPerMs: 190 },
  { why: 'a slow beginning', rateAt: (ms: number) => (ms < 90 ? 20 : 190), everyMs: 1, ms: 300, bytesPerMs: 190 },
  { why: 'ever slower: the end of the time', rateAt: (ms: number) => 1000 * 0.998 ** ms, everyMs: 1, ms: 600, bytesPerMs: 369 },
  { why: 'slices wait for bytes', rateAt: () => 5, everyMs: 1, ms: 600, bytesPerMs: 5 },
  { why: 'too slow for three slices: as long again', rateAt: () => 2, everyMs: 1, ms: 1200, bytesPerMs: 2 },
  { why: 'a piece every 150 ms', rateAt: () => 100, everyMs: 150, ms: 450, bytesPerMs: 100 },
  { why: 'the first piece takes longer than there is time', rateAt: () => 1, everyMs: 4000, ms: 4000, bytesPerMs: 1 },
])('$why', ({ rateAt, everyMs, ms, bytesPerMs }) => {
  const seen = flow(rateAt, everyMs);
  expect(seen.ms).toBe(ms);
  expect(seen.bytesPerMs).toBeGreaterThan(bytesPerMs * 0.98);
  expect(seen.bytesPerMs).toBeLessThan(bytesPerMs * 1.02);
});

test('pieces that come at once count for all of their time, also those that come when it is over', () => {
  const rate = new SettledRate(0, limits);
  expect(rate.bytesPerMs).toBe(0);
  for (let i = 0; i < 8; i++) rate.add(4000, 4000 + i / 10);
  expect(rate.bytesPerMs).toBeCloseTo(8, 2);
});

test('of bursts after a first slice as many count as there were pauses', () => {
  const rate = new SettledRate(0, limits);
  for (const burst of [250, 500, 750]) for (let i = 0; i < 8; i++) rate.add(4000, burst + i / 10);
  expect(rate.done).toBe(true);
  expect(rate.bytesPerMs).toBeCloseTo(32_000 / 250, 1);
});

test('nothing changes a rate that has settled', () => {
  const rate = new SettledRate(0, limits);
  for (let ms = 1; !rate.done; ms++) rate.add(100, ms);
  for (let ms = 301; ms < 500; ms++) rate.add(1, ms);
  expect(rate.bytesPerMs).toBe(100);
});

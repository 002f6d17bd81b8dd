import { expect, test } from 'vitest';
import { sample } from '../../src/bench/check';
import { productTotals, withShares } from '../../src/bench/report';
import { relativeError, summarise } from '../../src/bench/statistics';

test.each([
  { values: [3, 1, 2], median: 2, spread: 1, why: 'odd count, not in order' },
  { values: [4, 1, 2, 2], median: 2, spread: 1.5, why: 'even count: the mean of the middle two' },
  { values: [10, 9, 11, 100], median: 10.5, spread: 91 / 10.5, why: 'one outlier moves the spread, not the median' },
  { values: [5], median: 5, spread: 0, why: 'one value' },
])('$values: $why', ({ values, median, spread }) => {
  const before = [...values];
  expect(summarise(values)).toEqual({ median, spread, count: values.length });
  expect(values).toEqual(before);
});

test.each([
  { got: [3, 4], want: [3, 4], error: 0, why: 'equal' },
  { got: [3, 4.5], want: [3, 4], error: 0.1, why: '0.5 of a norm of 5' },
  { got: [3, Number.NaN], want: [3, 4], error: Number.POSITIVE_INFINITY, why: 'NaN is no agreement' },
  { got: [3, Number.POSITIVE_INFINITY], want: [3, 4], error: Number.POSITIVE_INFINITY, why: 'nor is infinity' },
  { got: [3], want: [3, 4], error: Number.POSITIVE_INFINITY, why: 'a value is missing' },
])('relative error of $got against $want: $why', ({ got, want, error }) => {
  expect(relativeError(got, want)).toBeCloseTo(error, 12);
});

test('a sample is in order, without repeats, with both ends, and the same every time', () => {
  const rows = sample(17408, 64, 1);
  expect(rows.length).toBe(64);
  expect(new Set(rows).size).toBe(64);
  expect([rows[0], rows.at(-1)]).toEqual([0, 17407]);
  expect(rows).toEqual([...rows].sort((a, b) => a - b));
  expect(sample(17408, 64, 1)).toEqual(rows);
  expect(sample(3, 64, 1)).toEqual([0, 1, 2]);
});

test('a total counts the best of each matrix as often as a token passes it', () => {
  const of = (value: number) => ({ value, spread: 0 });
  const ceilings = {
    ...{ probeBytes: 0, readGBps: of(100), copyGBps: of(1), fmaTflops: of(10) },
    ...{ dispatchUs: of(1), encodeUs: of(1), roundTripMs: of(1) },
  };
  const shape = { matrix: 'a', rows: 1, cols: 1, tokens: 1, activations: 'f32' as const };
  const row = { ...shape, outcome: 'right' as const, error: 0, spread: 0, batches: 5 };
  const rows = [
    { ...row, candidate: 'fast', perToken: 2, us: 1000, gbPerSecond: 60, tflops: 2, best: true },
    { ...row, candidate: 'slow', perToken: 2, us: 9000, gbPerSecond: 1, tflops: 1, best: false },
    { ...row, matrix: 'b', candidate: 'fast', perToken: 1, us: 2000, gbPerSecond: 20, tflops: 4, best: true },
  ];
  const exact = { tokens: 1, activations: 'f32', ms: 4, gbPerSecond: 40, tflops: 3, ofRead: 0.4, ofFma: 0.3 };
  expect(productTotals(rows, ceilings)).toEqual([exact]);
  const int8 = { ...rows[0]!, candidate: 'int8', activations: 'int8' as const, us: 500, gbPerSecond: 120, tflops: 4 };
  const fast = { tokens: 1, activations: 'int8', ms: 3, ofFma: expect.closeTo(4 / 10, 9), ofRead: expect.closeTo(160 / 300, 9) };
  expect(productTotals([...rows, int8], ceilings)).toEqual([exact, { ...fast, gbPerSecond: 160 / 3, tflops: 4 }]);
  expect(withShares(rows[0]!, ceilings)).toMatchObject({ ofRead: 0.6, ofFma: 0.2 });
});

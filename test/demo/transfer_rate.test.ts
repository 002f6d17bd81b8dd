import { expect, test } from 'vitest';
import { TransferRate } from '../../demo/transfer_rate';

function rateOf(samples: [ms: number, loaded: number][]): TransferRate {
  const rate = new TransferRate();
  for (const [ms, loaded] of samples) rate.add(ms, loaded);
  return rate;
}

test('a resumed download counts what arrives, not what was there', () => {
  const rate = rateOf([
    [0, 10e9],
    [1000, 10.05e9],
    [2000, 10.1e9],
  ]);
  expect(rate.bytesPerSecond).toBe(50e6);
  expect(rate.describe(15.1e9)).toBe('50.0 MB/s, about 2 min left');
});

test('nothing is said too early, and a stall is owned up to', () => {
  expect(rateOf([[0, 0]]).describe(1e9)).toBe('');
  expect(rateOf([[0, 0], [500, 9e6]]).describe(1e9)).toBe(''); // biome-ignore format: samples
  expect(rateOf([[0, 5], [9000, 5], [20_000, 5]]).describe(1e9)).toBe('nothing arrives at the moment'); // biome-ignore format: samples
});

test('old speed is forgotten', () => {
  const rate = new TransferRate();
  for (let s = 0; s <= 20; s++) rate.add(s * 1000, s * 100e6);
  for (let s = 21; s <= 40; s++) rate.add(s * 1000, 2000e6 + (s - 20) * 1e6);
  expect(rate.bytesPerSecond).toBe(1e6);
});

test('bytes that are taken back, or a pause, start the measurement anew', () => {
  const rate = rateOf([[0, 0], [2000, 100], [3000, 50]]); // biome-ignore format: samples
  expect(rate.bytesPerSecond).toBeUndefined();
  rate.add(5000, 2050);
  expect(rate.bytesPerSecond).toBe(1000);
  rate.reset();
  expect(rate.describe(1e9)).toBe('');
});

test('the end is a second away, never none', () => {
  expect(rateOf([[0, 0], [2000, 999_999]]).describe(1_000_000)).toMatch(/about 1\.0 s left$/); // biome-ignore format: samples
  expect(rateOf([[0, 0], [2000, 1_000_000]]).describe(1_000_000)).toBe('500 kB/s'); // biome-ignore format: samples
});

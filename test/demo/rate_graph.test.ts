import { expect, test } from 'vitest';
import { bytesPerToken, RateSamples } from '../../demo/rate_graph';
import { large } from './plans';

test('tokens are counted in half seconds; the newest is not over yet', () => {
  const samples = new RateSamples();
  for (const ms of [1000, 1100, 1400, 1600, 2600]) samples.add(ms);
  expect(samples.rates).toEqual([6, 2, 0]);
});

test('between replies no time passes, and old samples leave', () => {
  const samples = new RateSamples();
  samples.add(0);
  samples.add(600);
  samples.begin();
  samples.add(900_000);
  samples.add(900_600);
  expect(samples.rates).toEqual([2, 2, 2]);
  for (let ms = 901_000; ms < 960_000; ms += 100) samples.add(ms);
  expect(samples.rates.length).toBe(59);
});

test('a token reads every weight once, and streams what does not fit', () => {
  const { weights, streamed } = bytesPerToken(large);
  expect(streamed).toBe(large.streamedBytesPerToken);
  expect(weights).toBeGreaterThanOrEqual(streamed);
});

test('of a mixture a token reads the experts that it chooses, and fetches those that are not there', () => {
  const experts = { slots: 512, of: 10_240, slotBytes: 1_800_000, perToken: 320 };
  const mixture = { ...large, experts, expectedExpertBytesPerToken: 60e6 };
  const dense = bytesPerToken(large);
  expect(bytesPerToken(mixture)).toEqual({ weights: dense.weights + 576e6, streamed: dense.streamed + 60e6 });
});

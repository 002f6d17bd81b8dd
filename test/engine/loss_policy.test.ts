import { expect, test } from 'vitest';
import { LossPolicy } from '../../src/engine/loss_policy';

const minute = 60_000;

test.each([
  { at: [0], verdict: 'again', why: 'the first' },
  { at: [0, 4.9 * minute], verdict: 'less', why: 'a second within five minutes' },
  { at: [0, 5 * minute], verdict: 'again', why: 'a second after five minutes' },
  { at: [0, 2 * minute, 4 * minute], verdict: 'stop', why: 'a third within five minutes' },
  { at: [0, 4 * minute, 8 * minute], verdict: 'less', why: 'never more than two within five minutes' },
  { at: [0, 1, 2, 3], verdict: 'stop', why: 'a fourth' },
])('$why: $verdict', ({ at, verdict }) => {
  const policy = new LossPolicy();
  expect(at.map((ms) => policy.lost(ms)).at(-1)).toBe(verdict);
});

test('forgiven, the next one is the first', () => {
  const policy = new LossPolicy();
  for (const ms of [0, 1, 2]) policy.lost(ms);
  policy.forgive();
  expect(policy.lost(3)).toBe('again');
});

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseByteBudget } from '../../src/api/byte_budget';
import { parseBytes } from '../../src/plan/byte_budget';

test.each([
  { budget: 1, bytes: 1, why: 'bytes' },
  { budget: '4GB', bytes: 4e9, why: 'decimal units' },
  { budget: ' 1.5 GiB ', bytes: 1_610_612_736, why: 'binary units, spaces' },
  { budget: '512mb', bytes: 512e6, why: 'small letters' },
  { budget: '4.27GB', bytes: 4_270_000_000, why: 'the nearest byte, although 4.27 * 1e9 is just below' },
  { budget: '123456', bytes: 123_456, why: 'no unit' },
  { budget: '0', bytes: undefined, why: 'nothing' },
  { budget: '4 gigs', bytes: undefined, why: 'another word' },
  { budget: '1e9', bytes: undefined, why: 'an exponent' },
  { budget: '-1GB', bytes: undefined, why: 'a sign' },
  { budget: 1.5, bytes: undefined, why: 'half a byte' },
  { budget: Number.POSITIVE_INFINITY, bytes: undefined, why: 'no end' },
  { budget: '99999999999TB', bytes: undefined, why: 'beyond exact numbers' },
])('$budget is $bytes bytes: $why', ({ budget, bytes }) => {
  expect(parseByteBudget(budget)).toBe(bytes);
});

/** The page may not import the planner, so the two read sizes on their own; they may differ by a rounding. */
test('page and planner read the same sizes', () => {
  const unit = fc.constantFrom('', 'B', 'b', 'K', 'KB', 'kib', 'MB', 'MiB', 'M', 'GB', 'Gi', 'GiB', 'G', 'TB', 'TiB', 'x', 'PB');
  const text = fc.tuple(fc.constantFrom('', ' ', '-'), fc.float({ min: 0, noNaN: true }), fc.constantFrom('', ' '), unit);
  const size = fc.oneof(
    fc.double(),
    fc.nat(),
    fc.string(),
    text.map((parts) => parts.join('')),
    unit.map((name) => `4${name}`),
  );
  const planners = (budget: string | number) => {
    try {
      return parseBytes('x', budget);
    } catch {
      return undefined;
    }
  };
  fc.assert(
    fc.property(size, (budget) => {
      const [mine, theirs] = [parseByteBudget(budget) ?? 0, planners(budget) ?? 0];
      expect(Math.abs(mine - theirs)).toBeLessThanOrEqual(typeof budget === 'number' ? 0 : 1); // 4.27 * 1e9 is no whole number
    }),
    { numRuns: 2000 },
  );
});

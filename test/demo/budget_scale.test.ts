import fc from 'fast-check';
import { expect, test } from 'vitest';
import { budgetAt, budgetScale, budgetText, parseBudget, SLIDER_STEPS, stepOf } from '../../demo/budget_scale';

const sizes = fc.tuple(fc.integer({ min: 1_000_000, max: 2 ** 40 }), fc.double({ min: 1, max: 100, noNaN: true }));

test('the ends hold what they promise: the smallest budget that works, and everything', () => {
  expect(budgetScale({ smallest: 962_199_552, fits: 16_912_345_678 })).toEqual({ least: 962_200_000, most: 17_000_000_000 });
  fc.assert(
    fc.property(sizes, ([smallest, ratio]) => {
      const fits = Math.ceil(smallest * ratio);
      const { least, most } = budgetScale({ smallest, fits });
      expect(least).toBeGreaterThanOrEqual(smallest);
      expect(most).toBeGreaterThanOrEqual(fits);
      expect(least).toBeLessThanOrEqual(smallest * 1.001);
    }),
  );
});

test('every position is a budget within the ends that never falls, and finds its way back', () => {
  fc.assert(
    fc.property(sizes, ([smallest, ratio]) => {
      const scale = budgetScale({ smallest, fits: Math.ceil(smallest * ratio) });
      let last = 0;
      for (let step = 0; step <= SLIDER_STEPS; step += 20) {
        const bytes = budgetAt(scale, step);
        expect(bytes).toBeGreaterThanOrEqual(Math.max(last, scale.least));
        expect(bytes).toBeLessThanOrEqual(scale.most);
        // Positions closer together than three figures can tell are one.
        const closeness = Math.log(scale.most / scale.least) / SLIDER_STEPS;
        if (closeness > 0.01) expect(stepOf(scale, bytes)).toBe(step);
        last = bytes;
      }
    }),
  );
});

test('budgets beyond an end are at that end, and a model that just fits has one position', () => {
  const scale = { least: 1e9, most: 16e9 };
  expect([5e8, 1e9, 4e9, 16e9, 64e9].map((bytes) => stepOf(scale, bytes))).toEqual([0, 0, 200, 400, 400]);
  expect(budgetAt({ least: 5e6, most: 5e6 }, 200)).toBe(5e6);
  expect(stepOf({ least: 5e6, most: 5e6 }, 5e6)).toBe(SLIDER_STEPS);
});

test.each([
  { bytes: 4e9, text: '4 GB' },
  { bytes: 4_270_000_000, text: '4.27 GB' },
  { bytes: 12_500_000, text: '12.5 MB' },
  { bytes: 2 ** 32, text: '4.294967296 GB' },
  { bytes: 12, text: '12 B' },
])('$bytes bytes are written $text', ({ bytes, text }) => expect(budgetText(bytes)).toBe(text));

test('what is written is read as the same number', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), (bytes) => {
      expect(parseBudget(budgetText(bytes))).toEqual({ value: bytes });
    }),
  );
});

test.each([
  { text: '', parsed: { value: undefined } },
  { text: '1.5 GiB', parsed: { value: 1_610_612_736 } },
  { text: 'much', parsed: { message: expect.stringContaining('4 GB') } },
  { text: '0', parsed: { message: expect.any(String) } },
])('"$text" as a budget', ({ text, parsed }) => expect(parseBudget(text)).toEqual(parsed));

/** Which units stay resident: never more than is free, a ring that holds two units, and more bytes never stream more. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { chooseResidency, pinnedBytes, type Residency, smallestRing } from '../../src/plan/residency';
import { type Speeds, simulatePass, type TimelineUnit } from '../../src/plan/timeline';

const mib = 1024 * 1024;
const slotBytes = 32 * mib;
const unitOf = (bytes: number, computeBytesPerMs = 1e8, slot = slotBytes): TimelineUnit => {
  const computeMs = bytes / computeBytesPerMs;
  return { bytes, slots: Math.ceil(bytes / slot), streamed: true, computeMs, submits: Math.max(1, Math.round(computeMs / 2)) };
};

/** 64 layers, one in four with full attention, and a head in 22 slices: the sizes of a 27B model at 4 bits. */
function large(computeBytesPerMs?: number, layerCount = 64, slices = 22): TimelineUnit[] {
  const layers = Array.from({ length: layerCount }, (_, i) => [i % 4 === 3 ? 59e6 : 75e6, 150e6]).flat();
  return [...layers, ...Array.from({ length: slices }, () => 32e6)].map((bytes) => unitOf(bytes, computeBytesPerMs));
}

const allBytes = (units: readonly TimelineUnit[]) =>
  pinnedBytes(
    units,
    units.map(() => false),
  );
/** Each unit rounded up to 256, as it is where it is pinned. */
const streamedBytes = (units: readonly TimelineUnit[], { streamed }: Residency) => allBytes(units) - pinnedBytes(units, streamed);

/** The two-unit minimum, by its definition. */
function twoUnits(units: readonly TimelineUnit[], streamed: readonly boolean[]): number {
  const order = units.flatMap((unit, i) => (streamed[i] ? [unit.slots] : []));
  if (order.length < 2) return order[0] ?? 0;
  return Math.max(...order.map((own, i) => own + order[(i + 1) % order.length]!));
}

const small = 1000;
const sizes = fc.oneof(
  fc.array(fc.integer({ min: 1, max: 6 * small }), { minLength: 1, maxLength: 16 }),
  // Few sizes, as models have, with a run of slices at the end.
  fc
    .record({
      a: fc.integer({ min: 1, max: 9 * small }),
      b: fc.integer({ min: 1, max: 9 * small }),
      layers: fc.nat(12),
      slices: fc.nat(8),
    })
    .map(({ a, b, layers, slices }) => [
      ...Array.from({ length: layers }, () => [a, b]).flat(),
      ...Array.from({ length: slices }, () => small),
      b,
    ]),
);
const speedsArbitrary: fc.Arbitrary<Speeds | undefined> = fc.option(
  fc.record({
    readBytesPerMs: fc.double({ min: 10, max: 1000, noNaN: true }),
    uploadBytesPerMs: fc.double({ min: 100, max: 10_000, noNaN: true }),
    perTokenMs: fc.double({ min: 0, max: 30, noNaN: true }),
  }),
  { nil: undefined },
);
const problem = fc.record({
  units: fc
    .record({ sizes, computeBytesPerMs: fc.double({ min: 20, max: 5000, noNaN: true }) })
    .map(({ sizes: list, computeBytesPerMs }) => list.map((bytes) => unitOf(bytes, computeBytesPerMs, small))),
  speeds: speedsArbitrary,
  share: fc.double({ min: 0, max: 1.1, noNaN: true }),
  shareMore: fc.double({ min: 0, max: 1.1, noNaN: true }),
});
const budgetAt = (units: readonly TimelineUnit[], share: number) => {
  const least = smallestRing(units) * small;
  return Math.floor(least + share * Math.max(0, allBytes(units) - least));
};

describe('chooseResidency', () => {
  test('never exceeds what is free, and the ring holds any two units that follow each other', () => {
    fc.assert(
      fc.property(problem, ({ units, speeds, share }) => {
        const freeBytes = budgetAt(units, share);
        const { streamed, ringSlots } = chooseResidency(units, { freeBytes, slotBytes: small, speeds });
        expect(streamed).toHaveLength(units.length);
        expect(pinnedBytes(units, streamed) + ringSlots * small).toBeLessThanOrEqual(freeBytes);
        expect(ringSlots).toBeGreaterThanOrEqual(twoUnits(units, streamed));
        if (!streamed.includes(true)) expect(ringSlots).toBe(0);
        if (allBytes(units) <= freeBytes) expect(streamed).not.toContain(true);
      }),
      { numRuns: 200 },
    );
  });

  test('more bytes never stream more', () => {
    fc.assert(
      fc.property(problem, ({ units, speeds, share, shareMore }) => {
        const [low, high] = [budgetAt(units, Math.min(share, shareMore)), budgetAt(units, Math.max(share, shareMore))];
        const at = (freeBytes: number) => streamedBytes(units, chooseResidency(units, { freeBytes, slotBytes: small, speeds }));
        expect(at(high)).toBeLessThanOrEqual(at(low));
      }),
      { numRuns: 200 },
    );
  });

  // Speeds for which several policies serve the range: where one follows another, streaming must not grow.
  test.each([
    { computeBytesPerMs: 1e8, layers: 16, from: 0, to: 1, why: 'reads decide' },
    { computeBytesPerMs: 6e6, layers: 16, from: 0, to: 1, why: 'balanced half way' },
    { computeBytesPerMs: 12e6, layers: 16, from: 0, to: 1, why: 'balanced at a quarter' },
    { computeBytesPerMs: 3e6, layers: 64, from: 0, to: 0.04, why: 'balanced from the start, where the ring gets its depth' },
  ])('more bytes never stream more, in small steps: $why', ({ computeBytesPerMs, layers, from, to }) => {
    const units = large(computeBytesPerMs, layers, layers === 64 ? 22 : 5);
    const least = smallestRing(units) * slotBytes;
    const speeds = { readBytesPerMs: 3e6, uploadBytesPerMs: 1e9 };
    const shares = Array.from({ length: 121 }, (_, step) => from + (step / 120) * (to - from));
    const budgets = shares.map((share) => Math.ceil(least + share * (allBytes(units) - least)));
    let before = Number.POSITIVE_INFINITY;
    for (const freeBytes of budgets) {
      const now = streamedBytes(units, chooseResidency(units, { freeBytes, slotBytes, speeds }));
      expect(now).toBeLessThanOrEqual(before);
      before = now;
    }
    if (to === 1) expect(before).toBe(0);
  });

  test.each([
    { speeds: undefined, computeBytesPerMs: 1e8, why: 'nominal' },
    {
      speeds: { readBytesPerMs: 8e6, uploadBytesPerMs: 2e7, perUnitMs: 0.05, perTokenMs: 1 },
      computeBytesPerMs: 1e9,
      why: 'fast GPU',
    },
    {
      speeds: { readBytesPerMs: 3e6, uploadBytesPerMs: 2e8, perTokenMs: 3 },
      computeBytesPerMs: 6e6,
      why: 'compute is half of reads',
    },
    { speeds: { readBytesPerMs: 3e6, uploadBytesPerMs: 2e8 }, computeBytesPerMs: 3.2e6, why: 'compute is as slow as all reads' },
  ])('a large model at 1 to 13 GB stays within 5 % of its longest part: $why', ({ speeds, computeBytesPerMs }) => {
    const units = large(computeBytesPerMs);
    for (const freeBytes of [0.4e9, 1e9, 2e9, 4e9, 8e9, 12e9, 13e9]) {
      const chosen = chooseResidency(units, { freeBytes, slotBytes, speeds });
      const pass = simulatePass(
        units.map((unit, i) => ({ ...unit, streamed: chosen.streamed[i]! })),
        { slots: chosen.ringSlots },
        speeds ?? { readBytesPerMs: 3e6, uploadBytesPerMs: 8e6 },
      );
      expect(pass.msPerToken).toBeLessThan(1.05 * Math.max(pass.readMs, pass.uploadMs + pass.computeMs));
      // At most a ring of twice the minimum and one large unit are not used for pinning.
      const unpinned = streamedBytes(units, chosen) - (allBytes(units) - freeBytes);
      expect(unpinned).toBeLessThan((2 * smallestRing(units) + 5) * slotBytes);
    }
  });

  test('where reads and compute take equally long, a deeper ring comes before pinning', () => {
    const units = large(3e6);
    const speeds = { readBytesPerMs: 3e6, uploadBytesPerMs: 1e9 };
    const { streamed, ringSlots } = chooseResidency(units, { freeBytes: 0.42e9, slotBytes, speeds });
    const pass = simulatePass(
      units.map((unit, i) => ({ ...unit, streamed: streamed[i]! })),
      { slots: ringSlots },
      speeds,
    );
    expect(ringSlots).toBeGreaterThan(smallestRing(units));
    expect(pass.msPerToken).toBeLessThan(1.05 * pass.computeMs);
  });

  test('is deterministic and fast', () => {
    const units = large();
    const options = { freeBytes: 4e9, slotBytes };
    const first = chooseResidency(units, options);
    const times = Array.from({ length: 5 }, () => {
      const start = performance.now();
      expect(chooseResidency(units, options)).toEqual(first);
      return performance.now() - start;
    });
    // The quickest of five: other processes share this machine. Measured 10 to 40 ms.
    expect(Math.min(...times)).toBeLessThan(100);
  });

  test('leftovers too small for a layer pin slices of the head', () => {
    const units = [
      ...Array.from({ length: 8 }, () => unitOf(9 * small, 1000, small)),
      ...Array.from({ length: 12 }, () => unitOf(small, 1000, small)),
    ];
    const freeBytes = smallestRing(units) * small + 5 * small;
    const speeds = { readBytesPerMs: 500, uploadBytesPerMs: 5000 };
    const { streamed } = chooseResidency(units, { freeBytes, slotBytes: small, speeds });
    expect(streamed.slice(0, 8)).not.toContain(false);
    expect(streamed.slice(8)).toContain(false);
  });

  test('units without slots stay, and everything that fits is resident', () => {
    const embedding: TimelineUnit = { bytes: 0, slots: 0, streamed: true, computeMs: 0 };
    const units = [embedding, ...Array.from({ length: 6 }, () => unitOf(2 * small, 1000, small))];
    const streamed = chooseResidency(units, { freeBytes: 5 * small, slotBytes: small }).streamed;
    expect(streamed).toEqual([false, true, true, true, true, true, true]);
    expect(chooseResidency(units, { freeBytes: allBytes(units), slotBytes: small })).toEqual({
      streamed: units.map(() => false),
      ringSlots: 0,
    });
  });

  test('the smallest budget is accepted and one byte less is refused', () => {
    const units = Array.from({ length: 6 }, (_, i) => unitOf((1 + (i % 3)) * small, 1000, small));
    const least = smallestRing(units) * small;
    const { streamed, ringSlots } = chooseResidency(units, { freeBytes: least, slotBytes: small });
    expect([streamed.includes(false), ringSlots]).toEqual([false, 5]);
    expect(() => chooseResidency(units, { freeBytes: least - 1, slotBytes: small })).toThrow(/needs 5000/);
    expect(() => chooseResidency(units, { freeBytes: least, slotBytes: small, smallestRing: 6 })).toThrow(/needs 6000/);
  });
});

describe('smallestRing', () => {
  const units = [3, 8, 3, 8, 1, 1].map((slots) => unitOf(slots * small, 1000, small));
  test.each([
    { streamed: [1, 1, 1, 1, 1, 1], slots: 11, why: 'neighbours' },
    { streamed: [1, 1, 0, 1, 1, 1], slots: 16, why: 'a pinned unit makes its neighbours follow each other' },
    { streamed: [0, 1, 0, 0, 1, 0], slots: 9, why: 'two units' },
    { streamed: [1, 0, 0, 0, 0, 1], slots: 4, why: 'the last and the first' },
    { streamed: [0, 1, 0, 0, 0, 0], slots: 8, why: 'one unit needs its own slots' },
    { streamed: [0, 0, 0, 0, 0, 0], slots: 0, why: 'nothing streams' },
  ])('$why', ({ streamed, slots }) => {
    expect(
      smallestRing(
        units,
        streamed.map((wanted) => wanted === 1),
      ),
    ).toBe(slots);
  });
});

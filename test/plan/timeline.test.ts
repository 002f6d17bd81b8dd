/** The simulated pass: its bounds, its overlap, and that no queue operation of its trace overwrites a slot in use. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { passAsSeen, type Speeds, simulatePass, type TimelineUnit, type TraceEvent } from '../../src/plan/timeline';

const mib = 1024 * 1024;
const slotBytes = 8 * mib;

const unitArbitrary = fc
  .record({
    bytes: fc.integer({ min: 1, max: 6 * slotBytes }),
    streamed: fc.boolean(),
    computeMs: fc.double({ min: 0.01, max: 20, noNaN: true }),
    submits: fc.integer({ min: 1, max: 5 }),
  })
  .map((unit): TimelineUnit => ({ ...unit, slots: Math.ceil(unit.bytes / slotBytes) }));

const speedsArbitrary: fc.Arbitrary<Speeds> = fc.record({
  readBytesPerMs: fc.double({ min: 1e5, max: 1e7, noNaN: true }),
  uploadBytesPerMs: fc.double({ min: 1e5, max: 1e7, noNaN: true }),
  perUnitMs: fc.double({ min: 0, max: 1, noNaN: true }),
  perTokenMs: fc.double({ min: 0, max: 30, noNaN: true }),
});

const passArbitrary = fc
  .record({
    units: fc.array(unitArbitrary, { minLength: 1, maxLength: 12 }),
    speeds: speedsArbitrary,
    extraSlots: fc.integer({ min: 0, max: 40 }),
    submitsAhead: fc.integer({ min: 1, max: 3 }),
  })
  .map((pass) => ({ ...pass, slots: Math.max(...pass.units.map(({ slots }) => slots)) + pass.extraSlots }));

type Copy = Extract<TraceEvent, { op: 'copy' }>;
type Compute = Extract<TraceEvent, { op: 'compute' }>;
const nameOf = ({ token, unit }: TraceEvent) => `${token}/${unit}`;

describe('simulatePass', () => {
  test('takes at least the longest of read, upload and compute, at most their sum and the fixed costs', () => {
    fc.assert(
      fc.property(passArbitrary, ({ units, speeds, slots, submitsAhead }) => {
        const pass = simulatePass(units, { slots }, speeds, { submitsAhead });
        const submits = units.reduce((sum, unit) => sum + unit.submits!, 0);
        const fixed = speeds.perUnitMs! * submits + speeds.perTokenMs!;
        const sum = pass.readMs + pass.uploadMs + pass.computeMs + fixed;
        // Compute and the token's fixed cost cannot overlap; copies share the queue with compute.
        const least = Math.max(pass.readMs, pass.uploadMs + pass.computeMs, pass.computeMs + speeds.perTokenMs!);
        expect(pass.msPerToken).toBeGreaterThanOrEqual(least * (1 - 1e-9));
        expect(pass.msPerToken).toBeLessThanOrEqual(sum * (1 + 1e-9));
        // Copies for the tokens after it may go before the first token's last compute.
        const prefetchMs = (slots * slotBytes) / speeds.uploadBytesPerMs;
        expect(pass.firstTokenMs).toBeLessThanOrEqual((sum + prefetchMs) * (1 + 1e-9));
        expect(pass.stallMs).toBeCloseTo(pass.msPerToken - Math.max(pass.readMs, pass.uploadMs, pass.computeMs), 6);
      }),
      { numRuns: 300 },
    );
  });

  test('the time is that of the trace, where a ring of one token or less settles', () => {
    fc.assert(
      fc.property(passArbitrary, ({ units, speeds, slots }) => {
        const perToken = units.reduce((sum, unit) => sum + (unit.streamed ? unit.slots : 0), 0);
        const ring = Math.min(slots, perToken);
        const { trace, pass } = traced(units, ring, speeds, 2);
        const ends: number[] = [];
        for (const event of trace) if (event.op === 'compute') ends[event.token] = event.endMs + speeds.perTokenMs!;
        expect(ends[0]).toBeCloseTo(pass.firstTokenMs, 6);
        const late = ends.length - 1 - Math.floor(ends.length / 2);
        const average = (ends.at(-1)! - ends.at(-1 - late)!) / late;
        // What the ring read ahead is at most one token's bytes, spread over the tokens averaged.
        expect(Math.abs(average - pass.msPerToken)).toBeLessThanOrEqual(
          ((pass.readMs + pass.uploadMs + pass.computeMs) / late) * (1 + 1e-9),
        );
      }),
      { numRuns: 150 },
    );
  });

  test('no copy goes into a slot whose unit has compute left to queue, and compute finds all its bytes', () => {
    fc.assert(
      fc.property(passArbitrary, ({ units, speeds, slots, submitsAhead }) => {
        const { trace } = traced(units, slots, speeds, submitsAhead, 2000);
        const holder = new Map<number, string>();
        const computed = new Set<string>();
        const arrived = new Map<string, number>();
        for (const event of trace) {
          const name = nameOf(event);
          const unit = units[event.unit]!;
          if (event.op === 'copy') {
            const before = holder.get(event.slot);
            if (before !== undefined && before !== name) expect(computed).toContain(before);
            expect(event.slot).toBeLessThan(slots);
            holder.set(event.slot, name);
            arrived.set(name, (arrived.get(name) ?? 0) + event.bytes);
          } else if (unit.streamed) {
            expect(arrived.get(name)).toBeCloseTo(unit.bytes, 3);
            expect([...holder.values()].filter((held) => held === name)).toHaveLength(unit.slots);
            if (event.submit === unit.submits! - 1) computed.add(name);
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  test('the GPU queue is serial and in order, compute waits for the sampled id, staging stays bounded', () => {
    fc.assert(
      fc.property(passArbitrary, ({ units, speeds, slots, submitsAhead }) => {
        const { trace } = traced(units, slots, speeds, submitsAhead, 600);
        for (const [i, event] of trace.entries()) {
          expect(event.startMs).toBeGreaterThanOrEqual(event.queuedMs);
          if (i > 0) expect(event.startMs).toBeGreaterThanOrEqual(trace[i - 1]!.endMs);
          if (i > 0) expect(event.queuedMs).toBeGreaterThanOrEqual(trace[i - 1]!.queuedMs);
        }
        const computes = trace.filter((event): event is Compute => event.op === 'compute');
        for (const [i, event] of computes.entries()) {
          const before = computes[i - 1];
          if (before && before.token < event.token) {
            expect(event.queuedMs).toBeGreaterThanOrEqual(before.endMs + speeds.perTokenMs!);
          }
          const unfinished = computes.slice(Math.max(0, i - 4), i).filter(({ endMs }) => endMs > event.queuedMs);
          expect(unfinished.length).toBeLessThan(submitsAhead);
        }
        const copies = trace.filter((event): event is Copy => event.op === 'copy');
        for (const [i, copy] of copies.entries()) {
          expect(copy.queuedMs).toBeCloseTo(copy.readStartMs + copy.bytes / speeds.readBytesPerMs, 6);
          if (i > 0) expect(copy.readStartMs).toBeGreaterThanOrEqual(copies[i - 1]!.queuedMs);
          const staged = copies.slice(Math.max(0, i - 8), i).filter(({ endMs }) => endMs > copy.readStartMs);
          expect(staged.reduce((sum, { bytes }) => sum + bytes, copy.bytes)).toBeLessThanOrEqual(16 * mib);
        }
      }),
      { numRuns: 100 },
    );
  });

  test('each streamed byte is read once per token, resident ones never', () => {
    fc.assert(
      fc.property(passArbitrary, ({ units, speeds, slots }) => {
        const { trace, pass } = traced(units, slots, speeds, 2);
        const whole = Math.max(...trace.filter(({ op }) => op === 'compute').map(({ token }) => token));
        const perUnit = new Map<string, number>();
        for (const event of trace) {
          if (event.op === 'copy') perUnit.set(nameOf(event), (perUnit.get(nameOf(event)) ?? 0) + event.bytes);
        }
        for (let token = 0; token <= whole; token++) {
          for (const [unit, { bytes, streamed }] of units.entries()) {
            expect(perUnit.get(`${token}/${unit}`) ?? 0).toBeCloseTo(streamed ? bytes : 0, 3);
          }
        }
        const streamed = units.reduce((sum, unit) => sum + (unit.streamed ? unit.bytes : 0), 0);
        expect(pass.readMs * speeds.readBytesPerMs).toBeCloseTo(streamed, 0);
      }),
      { numRuns: 100 },
    );
  });

  test.each([
    { every: 2, readBytesPerMs: 3e6, computeBytesPerMs: 1e8, why: 'reads decide' },
    { every: 2, readBytesPerMs: 3e6, computeBytesPerMs: 6e6, why: 'balanced' },
    { every: 4, readBytesPerMs: 3e6, computeBytesPerMs: 12e6, why: 'balanced, one unit in four streams' },
    { every: 2, readBytesPerMs: 6e6, computeBytesPerMs: 6e6, why: 'compute decides' },
  ])('evenly interleaved pins and a deep ring hide all but the longest: $why', ({ every, readBytesPerMs, computeBytesPerMs }) => {
    const bytes = 100 * mib;
    const computeMs = bytes / computeBytesPerMs;
    const units = Array.from({ length: 40 }, (_, i) => ({
      bytes,
      slots: 7,
      streamed: i % every === 0,
      computeMs,
      submits: Math.ceil(computeMs / 2),
    }));
    const pass = simulatePass(units, { slots: 28 }, { readBytesPerMs, uploadBytesPerMs: 2e8 });
    expect(pass.msPerToken).toBeLessThan(1.04 * Math.max(pass.readMs, pass.uploadMs + pass.computeMs));
  });

  test('a unit whose compute is one long submit stops reading once staging is full', () => {
    const unit = { bytes: 100 * mib, slots: 4, streamed: true, computeMs: 35 };
    const speeds = { readBytesPerMs: 3e6, uploadBytesPerMs: 2e8 };
    const units = (submits: number) => Array.from({ length: 16 }, () => ({ ...unit, submits }));
    const whole = simulatePass(units(1), { slots: 16 }, speeds);
    const pieces = simulatePass(units(18), { slots: 16 }, speeds);
    expect(whole.msPerToken).toBeGreaterThan(1.6 * whole.readMs);
    expect(pieces.msPerToken).toBeLessThan(1.06 * pieces.readMs);
  });

  test('numbers by hand: two units of one window', () => {
    const unit = { bytes: 1000, slots: 1, streamed: true, computeMs: 3 };
    const speeds = { readBytesPerMs: 100, uploadBytesPerMs: 1000, perUnitMs: 0.5, perTokenMs: 2 };
    const pass = simulatePass([unit, unit], { slots: 2 }, speeds);
    // Read to 10 and 20; copy 1, compute 3: the token ends at 20 + 1 + 3 + 2. In steady state reads never stop.
    expect(pass).toMatchObject({
      msPerToken: 20,
      firstTokenMs: 26,
      readMs: 20,
      uploadMs: 2,
      computeMs: 6,
      stallMs: 0,
      bound: 'read',
    });
    const single = simulatePass([unit], { slots: 1 }, speeds);
    // One slot: the next read waits for the compute to be queued, 0.5 after the copy was.
    expect(single).toMatchObject({ msPerToken: 10.5, firstTokenMs: 16, bound: 'read' });
  });

  test('nothing streamed is compute and fixed costs', () => {
    const unit = { bytes: 1000, slots: 1, streamed: false, computeMs: 3 };
    const pass = simulatePass([unit, unit], { slots: 0 }, { readBytesPerMs: 1, uploadBytesPerMs: 1, perTokenMs: 2 });
    expect(pass).toMatchObject({ msPerToken: 8, firstTokenMs: 8, readMs: 0, uploadMs: 0, bound: 'compute', stallMs: 2 });
  });

  test('a unit larger than the ring is refused', () => {
    const unit = { bytes: 10, slots: 3, streamed: true, computeMs: 1 };
    expect(() => simulatePass([unit], { slots: 2 }, { readBytesPerMs: 1, uploadBytesPerMs: 1 })).toThrow(/3 slots .* ring of 2/);
  });
});

function traced(
  units: readonly TimelineUnit[],
  slots: number,
  speeds: Speeds,
  submitsAhead: number,
  most = Number.POSITIVE_INFINITY,
) {
  const trace: TraceEvent[] = [];
  const pass = simulatePass(units, { slots }, speeds, { trace, submitsAhead });
  return { trace: trace.slice(0, most), pass };
}

test.each([
  { why: 'longer than simulated', seen: 90, parts: [60, 20, 10], stallMs: 30 },
  { why: 'shorter than a part alone was thought to be', seen: 50, parts: [50, 20, 10], stallMs: 0 },
])('a pass as it was seen: $why', ({ seen, parts, stallMs }) => {
  const simulated = {
    msPerToken: 65,
    firstTokenMs: 70,
    readMs: 60,
    uploadMs: 20,
    computeMs: 10,
    stallMs: 5,
    bound: 'read' as const,
  };
  const pass = passAsSeen(simulated, seen);
  expect([pass.readMs, pass.uploadMs, pass.computeMs]).toEqual(parts);
  expect(pass).toMatchObject({ msPerToken: seen, stallMs, firstTokenMs: 70, bound: 'read' });
});

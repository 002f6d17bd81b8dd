import { describe, expect, test } from 'vitest';
import {
  diskText,
  lacksDisk,
  networkCost,
  outcomeText,
  segmentsOf,
  speedText,
  streamText,
  totalText,
  unitCells,
  unitsText,
} from '../../demo/plan_view';
import type { PlanReport } from '../../src/api';
import { large, small } from './plans';

describe('the bar', () => {
  test.each([
    { name: '27B in 4 GB', plan: large },
    { name: 'a toy', plan: small },
  ])('$name: pieces add up to the whole, and each to what the plan says', ({ plan }) => {
    const segments = segmentsOf(plan);
    expect(segments.reduce((sum, { width }) => sum + width, 0)).toBeCloseTo(1, 9);
    expect(segments.reduce((sum, { share }) => sum + (share ?? 0), 0)).toBeCloseTo(1, 9);
    for (const { use, bytes } of segments) if (use !== 'free') expect(bytes).toBe(plan.gpu[use]);
    const used = segments.filter(({ use }) => use !== 'free').reduce((sum, { bytes }) => sum + bytes, 0);
    expect(used).toBe(plan.gpu.total);
  });

  test('a large model names its ring and what is left of the budget', () => {
    const notes = Object.fromEntries(segmentsOf(large).map(({ use, note }) => [use, note]));
    expect(notes.residentWeights).toBe('16 % of the model');
    expect(notes.ring).toBe('12 slots of 30.0 MB');
    expect(notes.kvCache).toBe('8,192 tokens');
    expect(segmentsOf(large).at(-1)).toMatchObject({ use: 'free', note: '' });
    expect(totalText(large)).toBe('3.8 GB of a budget of 4.0 GB');
  });

  test('a toy has no ring, and a budget far too large does not squeeze it', () => {
    const segments = segmentsOf(small);
    expect(segments.map(({ use }) => use)).not.toContain('ring');
    expect(segments.at(-1)).toMatchObject({ use: 'free', bytes: 4e9 - 22_112_000, note: 'drawn shorter than it is' });
    expect(segments.at(-1)!.width).toBeCloseTo(0.2, 9);
    expect(segments[0]!.note).toBe('100 % of the model');
  });

  test('a mixture says how many of its experts have room, and what a token fetches of the others', () => {
    const gpu = { ...large.gpu, experts: 1e9, total: large.gpu.total + 1e9 };
    const experts = { slots: 600, of: 10_240, slotBytes: 1_700_000, perToken: 320 };
    const some: PlanReport = {
      ...large,
      gpuBudgetBytes: 6e9,
      gpu,
      experts,
      streamedBytesPerToken: 0,
      expectedExpertBytesPerToken: 90e6,
    };
    expect(segmentsOf(some).find(({ use }) => use === 'experts')).toMatchObject({ bytes: 1e9, note: '600 of 10,240 at a time' });
    expect(streamText(some)).toBe('about 90.0 MB of experts per token, as the text needs them, from this browser’s storage');
    const all = { ...some, experts: { ...experts, slots: 10_240 }, expectedExpertBytesPerToken: 0 };
    expect(segmentsOf(all).find(({ use }) => use === 'experts')!.note).toBe('all 10,240');
    expect(streamText(all)).toBe('Nothing streams: all weights stay in GPU memory.');
  });

  test('without a budget nothing is free', () => {
    const plan = { ...small, gpuBudgetBytes: undefined };
    expect(segmentsOf(plan).map(({ use }) => use)).not.toContain('free');
    expect(totalText(plan)).toBe('22.1 MB, no budget');
  });
});

describe('streaming', () => {
  test('units of one residency are drawn as one, in their order and their sizes', () => {
    const cells = unitCells(large);
    expect(cells.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 9);
    expect(cells.map(({ streamed }) => streamed)).toEqual(Array.from({ length: 22 }, (_, i) => i % 2 === 1));
    expect(unitsText(large)).toBe('The model’s 138 parts in the order of use: 22 stay, 116 stream.');
    expect(unitCells(small)).toEqual([{ share: expect.closeTo(1, 9), streamed: false }]);
    expect(unitsText(small)).toBe('All 13 parts of the model stay.');
  });

  test.each<{ home: PlanReport['disk']['home']; says: string }>([
    { home: 'opfs', says: '12.5 GB per token from this browser’s storage' },
    { home: 'local', says: '12.5 GB per token from the files on this device' },
    { home: 'none', says: '12.5 GB per token from the network' },
  ])('from $home', ({ home, says }) => {
    expect(streamText({ ...large, disk: { ...large.disk, home } })).toBe(says);
  });

  test('nothing streams of what stays', () => {
    expect(streamText(small)).toBe('Nothing streams: all weights stay in GPU memory.');
  });

  test('the network’s price is named, per token and per reply, and only where it is paid', () => {
    const none = { ...large.disk, home: 'none' as const };
    expect(networkCost({ ...large, disk: none })).toMatch(
      /Each token of a reply downloads 12\.5 GB, a reply of 200 tokens 2\.5 TB/,
    );
    expect(networkCost({ ...large, disk: none })).toContain('about 1.5 s per token here');
    expect(networkCost(large)).toBeUndefined();
    expect(networkCost({ ...small, disk: { ...small.disk, home: 'none' } })).toBeUndefined();
  });
});

test.each([
  { plan: large, value: '1.5 s per token', note: 'Limited by reading: read 1.5 s, upload 1.2 s, compute 96 ms.' },
  {
    plan: {
      ...small,
      prediction: { tokensPerSecond: 31.27, readMs: 0, uploadMs: 0, computeMs: 32, bound: 'compute' as const },
    },
    value: '31.3 tok/s',
    note: 'Limited by computing: compute 32 ms.',
  },
  { plan: small, value: 'not known yet', note: 'Nothing streams; the first reply tells.' },
  {
    plan: { ...large, prediction: undefined },
    value: 'not known yet',
    note: 'Measured when the stored model is next loaded.',
  },
  {
    plan: { ...large, prediction: undefined, disk: { ...large.disk, home: 'none' as const } },
    value: 'not known yet',
    note: 'What streams comes over the network; the first reply tells.',
  },
  {
    plan: { ...large, prediction: { ...large.prediction!, readAssumed: true as const } },
    value: '1.5 s per token',
    note:
      'Limited by reading: read 1.5 s, upload 1.2 s, compute 96 ms. ' +
      'If the disk gives 2 GB/s: it is measured once the model is stored.',
  },
])('speed: $value, $note', ({ plan, value, note }) => {
  expect(speedText(plan)).toEqual({ value, note });
});

test('what a plan comes to, in one line', () => {
  expect(outcomeText(large)).toBe('1.5 s per token, 12.5 GB stream for each token.');
  expect(outcomeText(small)).toBe('nothing streams.');
});

test.each([
  { plan: large, value: '15.1 GB', note: '3.2 GB are stored. The browser grants 41.7 GB more.', lacks: false },
  { plan: small, value: '7.3 MB', note: 'All of it is stored.', lacks: false },
  {
    plan: { ...large, disk: { ...large.disk, availableBytes: 5e9 } },
    value: '15.1 GB',
    note: '3.2 GB are stored. The browser grants 5.0 GB more.',
    lacks: true,
  },
  {
    plan: { ...large, disk: { ...large.disk, home: 'local' as const } },
    value: 'none',
    note: 'The files on this device are read where they are.',
    lacks: false,
  },
])('disk: $note', ({ plan, value, note, lacks }) => {
  expect(diskText(plan)).toEqual({ value, note });
  expect(lacksDisk(plan)).toBe(lacks);
});

test('disk: what the engine says of a full one', () => {
  const why = 'The disk is full. Weights that are not stored come from the network each time.';
  expect(diskText({ ...large, disk: { ...large.disk, why } }).note).toBe(why);
});

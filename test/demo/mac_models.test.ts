import { describe, expect, test } from 'vitest';
import { choiceFor, macMemories, mustExplainDeletion, storyModel } from '../../demo/mac_models';
import { fromHash, hashOf, keptOf, keptWords } from '../../demo/mac_record';

test('16 GB start with no more than 4 GB, and no Mac gives a third', () => {
  expect(choiceFor('16').gpuBudget).toBeLessThanOrEqual(4e9);
  for (const memory of macMemories) expect(choiceFor(memory).gpuBudget).toBeLessThan((Number(memory) * 1e9) / 3);
});

test('every first choice fits in its budget', () => {
  for (const { model, gpuBudget } of macMemories.map(choiceFor)) expect(model.bytes).toBeLessThan(gpuBudget * 0.8);
});

describe('the deletion after seven days is explained', () => {
  const { model } = choiceFor('16');
  test.each([
    [model, { safari: true, standalone: false, privateFiles: true }, true],
    [model, { safari: true, standalone: true, privateFiles: true }, false],
    [model, { safari: true, standalone: false, privateFiles: false }, false],
    [model, { safari: false, standalone: false, privateFiles: true }, false],
    [storyModel, { safari: true, standalone: false, privateFiles: true }, false],
  ])('%o %o: %s', (each, where, expected) => expect(mustExplainDeletion(each, where)).toBe(expected));
});

describe('the last visit', () => {
  const record = { memory: '16', model: 'a/b', complete: true } as const;
  const stored = (more: object) => [{ model: 'a/b', storedBytes: 5, totalBytes: 10, complete: false, ...more }];

  test('its record survives in the address', () => {
    expect(fromHash(hashOf(record))).toEqual(record);
    expect(fromHash(hashOf({ ...record, complete: false }))).toEqual({ ...record, complete: false });
    for (const hash of ['', '#', '#main', '#memory=7&model=a/b', '#memory=16']) expect(fromHash(hash)).toBeUndefined();
  });

  test.each([
    [undefined, [], { state: 'new' }],
    [record, stored({ complete: true }), { state: 'ready' }],
    [record, stored({}), { state: 'begun', storedBytes: 5, totalBytes: 10 }],
    [record, stored({ storedBytes: 0 }), { state: 'evicted' }],
    [record, stored({ model: 'a/bc', complete: true }), { state: 'evicted' }],
    [record, [], { state: 'evicted' }],
    [{ ...record, complete: false }, [], { state: 'new' }],
  ])('%o with %o: %o', (known, there, kept) => expect(keptOf(known, there)).toEqual(kept));

  test('an app from the Dock is told of no deletion where its storage began empty', () => {
    expect(keptWords({ state: 'evicted' }, true)).not.toMatch(/deleted|again/);
    expect(keptWords({ state: 'evicted' }, false)).toMatch(/deleted .* seven days .* again/);
    expect(keptWords({ state: 'new' }, false)).toBe('');
  });
});

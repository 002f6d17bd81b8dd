/** How much work goes into one submit, by what passes took. */
import { expect, test } from 'vitest';
import { Pacer } from '../../src/engine/pacing';

test('before anything was measured a layer of many tokens goes in parts, one of a few does not', () => {
  const pacer = new Pacer(false);
  expect(pacer.submitsPerSection(512)).toBe(4);
  expect(pacer.submitsPerSection(65)).toBe(4);
  expect(pacer.submitsPerSection(64)).toBe(1);
  expect(pacer.sectionsPerSubmit(1, 64)).toBe(4);
});

test('a layer that takes a slow GPU half a second goes in submits of 100 ms', () => {
  const pacer = new Pacer(false);
  pacer.measured(512, 64, 64 * 480);
  expect(pacer.submitsPerSection(512)).toBe(5);
  expect(pacer.submitsPerSection(300)).toBe(5); // as many as 512 at most
  expect(pacer.sectionsPerSubmit(512, 64)).toBe(1);
});

test('layers that a fast GPU is through in 10 ms go together', () => {
  const pacer = new Pacer(false);
  pacer.measured(512, 64, 64 * 10);
  expect(pacer.submitsPerSection(512)).toBe(1);
  expect(pacer.sectionsPerSubmit(512, 64)).toBe(10);
});

test('a CPU adapter has a second', () => {
  const pacer = new Pacer(true);
  pacer.measured(32, 10, 10 * 700);
  expect(pacer.submitsPerSection(32)).toBe(1);
});

import { describe, expect, test } from 'vitest';
import { canRun, conditionsOf, type Surroundings, safariOf } from '../../demo/mac_conditions';

const fine: Surroundings = {
  ...{ secureContext: true, webgpu: true, adapter: true, privateFiles: true, missing: [] },
  ...{ safari: true, version: 26, standalone: false },
};
const of = (changes: Partial<Surroundings>) => conditionsOf({ ...fine, ...changes });
const bad = (changes: Partial<Surroundings>) => of(changes).filter(({ status }) => status !== 'passed');

test('a Mac with Safari 26 and nothing in the way can run', () => {
  expect(bad({})).toEqual([]);
  expect(canRun(of({}))).toBe(true);
});

describe('each obstacle is named with its way out', () => {
  test.each([
    [{ secureContext: false, webgpu: false, privateFiles: false }, 'address', 'https'],
    [{ webgpu: false, missing: ['WebAssembly', 'FileReader'] }, 'lockdown', 'Settings for This Website'],
    [{ webgpu: false, version: 18.5 }, 'webgpu', 'Software Update'],
    [{ webgpu: false }, 'webgpu', 'macOS 26 only'],
    [{ webgpu: false, safari: false, version: undefined }, 'webgpu', 'Firefox 147'],
    [{ adapter: false }, 'webgpu', 'virtual machine'],
  ] as const)('%o: %s', (changes, id, words) => {
    const found = bad(changes as Partial<Surroundings>).find((condition) => condition.id === id)!;
    expect(found.words).toContain(words);
    expect(canRun(of(changes as Partial<Surroundings>))).toBe(false);
  });
});

test('a private window is a note, not an obstacle', () => {
  const conditions = of({ privateFiles: false });
  expect(conditions.find(({ id }) => id === 'files')).toMatchObject({
    status: 'noted',
    words: expect.stringContaining('New Window'),
  });
  expect(canRun(conditions)).toBe(true);
});

test('one missing feature beside a working GPU is no Lockdown Mode', () => {
  expect(bad({ missing: ['PushManager', 'AudioContext'] })).toEqual([]);
});

test.each([
  [
    'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Safari/605.1.15',
    { safari: true, version: 26.1 },
  ],
  ['Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36', { safari: false }],
  ['Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:147.0) Gecko/20100101 Firefox/147.0', { safari: false }],
])('%s', (userAgent, expected) => expect(safariOf(userAgent)).toEqual({ version: undefined, ...expected }));

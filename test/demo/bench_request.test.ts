/** What the benchmark's page takes from its address. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { requestFromQuery } from '../../src/bench/request';
import { presetNames } from '../../src/synth/presets';

const of = (query: string) => requestFromQuery(new URLSearchParams(query));

test('the page offers every preset', () => {
  const page = readFileSync(new URL('../../demo/bench.html', import.meta.url), 'utf8');
  const [, options] = /<select id="preset"[^>]*>(.*?)<\/select>/s.exec(page)!;
  expect(Array.from(options!.matchAll(/value="([^"]*)"/g), ([, value]) => value)).toEqual(presetNames);
});

test('without a word it measures the smallest model', () => {
  expect(of('')).toMatchObject({
    ...{ model: { preset: 'qwen3.5-0.8b', bits: 4 }, kernels: false, contexts: [0, 4096], promptTokens: 512, decodeTokens: 128 },
    ...{ repeat: 3, disable: [], config: {} },
  });
});

test('every word of the command line is understood', () => {
  const words =
    'preset=27b&bits=3&context=0,32768&prompt=64&decode=16&repeat=1&gpu-budget=4GB&precision=exact&kv=f32&chunk=128' +
    '&profile&kernels&tokens=1,8&only=gate&disable=subgroups,f16&seconds-per=0.5&post=/result';
  expect(of(words)).toEqual({
    ...{ model: { preset: 'qwen3.5-27b', bits: 3 }, kernels: true, tokens: [1, 8], only: 'gate', contexts: [0, 32768] },
    ...{ profile: true, promptTokens: 64, decodeTokens: 16, repeat: 1, disable: ['subgroups', 'f16'], seconds: 0.5 },
    config: { chunkTokens: 128, kv: 'f32', precision: 'exact', gpuBudget: '4GB' },
  });
});

describe('what cannot be is refused by name', () => {
  test.each([
    ['preset=7b', `preset must be ${presetNames.join(' or ')}; it is '7b'.`],
    ['context=0,far', "context must be a whole number from 0 to 16777216; it is 'far'."],
    ['decode=1', "decode must be a whole number from 2 to 1048576; it is '1'."],
    ['precision=best', "precision must be exact or fast; it is 'best'."],
    ['seconds-per=soon', "seconds-per must be a number from 0 to 60; it is 'soon'."],
  ])('%s', (query, message) => expect(() => of(query)).toThrow(expect.objectContaining({ code: 'invalid-request', message })));
});

import { expect, test } from 'vitest';
import {
  errorText,
  formatAdapter,
  formatBytes,
  formatDuration,
  formatProgressBytes,
  formatRate,
  formatShare,
  isolated,
} from '../../demo/format';

test.each([
  { bytes: 0, text: '0 B' },
  { bytes: 999, text: '999 B' },
  { bytes: 1000, text: '1.0 kB' },
  { bytes: 7_318_936, text: '7.3 MB' },
  { bytes: 250_400_000, text: '250 MB' },
  { bytes: 999_700, text: '1.0 MB' },
  { bytes: 15_100_000_000, text: '15.1 GB' },
])('$bytes bytes are $text', ({ bytes, text }) => {
  expect(formatBytes(bytes)).toBe(text);
});

test.each([
  { ms: 0.42, text: '0.4 ms' },
  { ms: 96.3, text: '96 ms' },
  { ms: 999.7, text: '1.0 s' },
  { ms: 34_000, text: '34 s' },
  { ms: 89_600, text: '1 min' },
  { ms: 300_000, text: '5 min' },
  { ms: 80 * 60_000, text: '80 min' },
  { ms: 100 * 60_000, text: '1 h 40 min' },
  { ms: 2 * 3_600_000, text: '2 h' },
  { ms: 40 * 3_600_000, text: '40 h' },
])('$ms ms are $text', ({ ms, text }) => expect(formatDuration(ms)).toBe(text));

test('a little is never nothing, and nearly all is never all', () => {
  expect([0, 0.001, 0.134, 0.9999, 1].map(formatShare)).toEqual(['0 %', '<1 %', '13 %', '99 %', '100 %']);
});

test('progress counts in the unit of the total, with a fixed number of digits', () => {
  expect(formatProgressBytes({ loaded: 0, total: 7_318_936 })).toBe('0.0 of 7.3 MB');
  expect(formatProgressBytes({ loaded: 4_000_000, total: 7_318_936 })).toBe('4.0 of 7.3 MB');
  expect(formatProgressBytes({ loaded: 0, total: 0 })).toBe('');
});

test.each([
  { tokens: 141, ms: 4_700, text: '30.0 tok/s', why: 'one decimal below a hundred' },
  { tokens: 2048, ms: 1_000, text: '2048 tok/s', why: 'none above' },
  { tokens: 0, ms: 10, text: '–', why: 'no token was decoded' },
  { tokens: 5, ms: 0, text: '–', why: 'no time went by' },
])('$tokens tokens in $ms ms: $why', ({ tokens, ms, text }) => {
  expect(formatRate(tokens, ms)).toBe(text);
});

test('an adapter is called what the browser tells, and a software adapter is owned up to', () => {
  const adapter = { vendor: 'apple', architecture: 'metal-3', description: '', isCpu: false };
  expect(formatAdapter(adapter)).toBe('apple metal-3');
  expect(formatAdapter({ ...adapter, description: 'Apple M4' })).toBe('Apple M4');
  expect(formatAdapter({ vendor: '', architecture: '', description: '', isCpu: false })).toBe('GPU without a name');
  expect(formatAdapter({ vendor: 'google', architecture: 'swiftshader', description: '', isCpu: true })).toBe(
    'swiftshader, software adapter: speed means nothing',
  );
});

test.each([
  { name: 'acme/tiny@main', text: 'acme/tiny@main', why: 'nothing in it turns anything' },
  { name: 'דגם 1', text: '\u2068דגם 1\u2069', why: 'it is written from right to left' },
  { name: 'acme/\u202eynit\u2066', text: '\u2068acme/ynit\u2069', why: 'it would turn what follows, or end the isolation' },
])('a name within a sentence: $why', ({ name, text }) => expect(isolated(name)).toBe(text));

test('an error turns no text, whatever name is in it', () => {
  expect(errorText(new Error('model\u202esrosnet.bin is missing.'))).toBe('modelsrosnet.bin is missing.');
  expect(errorText('not\u2067 an error')).toBe('not an error');
});

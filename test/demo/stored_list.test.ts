import { expect, test } from 'vitest';
import { choiceOf, inOrder, lastUseText, nameOf, roomText, sizeText, verifiedText } from '../../demo/stored_list';
import type { StoredModel } from '../../src/api';

const BASE = 'https://example.org/sluice/';
const whole: StoredModel = {
  id: 'a',
  model: 'acme/tiny',
  revision: '0123456789abcdef0123456789abcdef01234567',
  storedBytes: 15.1e9,
  totalBytes: 15.1e9,
  complete: true,
  verified: 'hub',
  createdAt: 0,
  lastUsedAt: 0,
  inUse: false,
};
const half: StoredModel = { ...whole, id: 'b', storedBytes: 3.2e9, complete: false, verified: 'unknown' };

test('complete and incomplete models are told apart', () => {
  expect(sizeText(whole)).toBe('15.1 GB');
  expect(sizeText(half)).toBe('3.2 GB of 15.1 GB, incomplete');
  expect(verifiedText(whole)?.text).toBe('verified');
  expect(verifiedText({ ...whole, verified: 'partial' })?.text).toBe('not verified against the hub');
  expect(verifiedText({ ...whole, verified: 'unknown' })?.text).toBe('not verified');
  expect(verifiedText(half)).toBeUndefined();
});

test.each([
  { ago: 10_000, text: 'used just now' },
  { ago: 61_000, text: 'used 1 minute ago' },
  { ago: 3 * 3_600_000, text: 'used 3 hours ago' },
  { ago: 86_400_000, text: 'used yesterday' },
  { ago: 40 * 86_400_000, text: 'used 40 days ago' },
  { ago: -5000, text: 'used just now' },
])('$ago ms ago: $text', ({ ago, text }) => expect(lastUseText({ ...whole, lastUsedAt: 1e12 - ago }, 1e12)).toBe(text));

test('a model asked for under a name that turns text is shown within an isolation, its revision behind it', () => {
  const model = 'https://example.org/\u202eledom/';
  expect(nameOf({ ...whole, model }, BASE)).toBe('\u2068https://example.org/ledom/\u2069 (01234567)');
});

test('complete models come first, and the last used before the others', () => {
  const older = { ...whole, id: 'c', lastUsedAt: 1 };
  const newer = { ...whole, id: 'd', lastUsedAt: 2 };
  const partial = { ...half, lastUsedAt: 3 };
  expect(inOrder([partial, older, newer]).map(({ id }) => id)).toEqual(['d', 'c', 'b']);
});

test.each([
  { model: 'acme/tiny', choice: { kind: 'hub', id: 'acme/tiny' }, name: 'acme/tiny (01234567)' },
  { model: 'acme/tiny@v2', choice: { kind: 'hub', id: 'acme/tiny@v2' }, name: 'acme/tiny@v2 (01234567)' },
  { model: 'https://example.org/sluice/demo/model', choice: { kind: 'bundled' }, name: 'Story model' },
  { model: 'https://example.org/sluice/demo/model/', choice: { kind: 'bundled' }, name: 'Story model' },
  { model: 'https://example.org/other/', choice: undefined, name: 'https://example.org/other/ (01234567)' },
])('$model is loaded again as what it is', ({ model, choice, name }) => {
  expect(choiceOf({ model }, BASE)).toEqual(choice);
  expect(nameOf({ ...whole, model }, BASE)).toBe(name);
});

test('the room that is taken and allowed', () => {
  expect(roomText({ models: [], usage: undefined, quota: undefined })).toBe('No model is stored.');
  expect(roomText({ models: [whole], usage: 15.2e9, quota: 60e9 })).toBe(
    '1 model, 15.1 GB. The browser allows this site at least 60.0 GB, of which 15.2 GB are in use.',
  );
  expect(roomText({ models: [whole, half], usage: undefined, quota: undefined })).toBe('2 models, 18.3 GB.');
});

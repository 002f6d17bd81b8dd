/** Short texts by key, in a folder of this machine as a browser has one. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { plainDirectory } from '../../src/node/plain_directory';
import { KeptTexts } from '../../src/storage/kept_texts';

let path: string;
beforeAll(() => {
  path = mkdtempSync(join(tmpdir(), 'sluice-texts-'));
});
afterAll(() => rmSync(path, { recursive: true }));

const open = async () => KeptTexts.open(await plainDirectory(path));

test('a text is there for whoever opens them next, under any key', async () => {
  const keys = ['a', 'q4/64 1024x3584 ../ * "', 'ü'.repeat(400)];
  const texts = await open();
  for (const key of keys) expect(await texts.get(key)).toBeUndefined();
  for (const key of keys) await texts.set(key, `of ${key}`);
  await texts.set('a', 'anew, and shorter');
  const again = await open();
  expect(await again.get('a')).toBe('anew, and shorter');
  for (const key of keys.slice(1)) expect(await again.get(key)).toBe(`of ${key}`);
  expect(readdirSync(path)).toHaveLength(3);
});

test('what is damaged is not there, nor is what lies under the name of another key', async () => {
  const texts = await open();
  const [one, other] = readdirSync(path).map((name) => join(path, name)) as [string, string];
  const whole = readFileSync(one);
  writeFileSync(one, readFileSync(other));
  writeFileSync(other, whole.subarray(0, -4));
  const keys = ['a', 'q4/64 1024x3584 ../ * "', 'ü'.repeat(400)];
  const found = await Promise.all(keys.map((key) => texts.get(key)));
  expect(found.filter((text) => text !== undefined)).toHaveLength(1);
});

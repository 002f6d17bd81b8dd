/** What the pages say that the bundled model is to download, before anybody asks for it, against the files that are fetched. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { formatBytes } from '../../demo/format';
import { storyModel } from '../../demo/mac_models';

const root = join(import.meta.dirname, '../..');
const sizeOf = (files: readonly string[]) => files.reduce((sum, file) => sum + statSync(join(root, 'demo/model', file)).size, 0);
const model = ['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'];
const whole = sizeOf([...model, 'model.safetensors']);

test.each([
  ['index.html', whole],
  ['demo/embed.html', whole],
  ['README.md', whole],
  ['demo/doctor.html', whole + sizeOf(['expected.safetensors'])], // the reference's own numbers, too
])('%s', (file, bytes) => {
  const text = readFileSync(join(root, file), 'utf8').replaceAll('&nbsp;', ' ');
  const said = [...text.matchAll(/\b(7(?:\.\d)? MB)\b/g)].map(([, size]) => size);
  expect(new Set(said)).toEqual(new Set([formatBytes(bytes)]));
});

test('the page for Safari', () => expect(formatBytes(storyModel.bytes)).toBe(formatBytes(whole)));

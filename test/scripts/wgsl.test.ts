/** Shaders lose what only their readers need, and nothing else. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { withoutComments } from '../../scripts/wgsl.mjs';

const folder = new URL('../../wgsl/', import.meta.url).pathname;
const shaders = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.wgsl'));

test('comments and indentation go, lines stay where they are', () => {
  const source = '// of x\nfn f(x: f32) -> f32 {\n  // half\n\n  return x / 2.0; // not x * 2.0\n}\n';
  expect(withoutComments(source)).toBe('\nfn f(x: f32) -> f32 {\n\n\nreturn x / 2.0;\n}\n');
});

test.each(shaders)('%s keeps every word of its code', (name) => {
  const source = readFileSync(join(folder, name), 'utf8');
  expect(source).not.toContain('/*'); // is not looked for
  const words = (text: string) => text.split('\n').map((line) => line.split('//')[0]!.split(/\s+/).filter(Boolean));
  expect(words(withoutComments(source))).toEqual(words(source));
  expect(withoutComments(source)).not.toContain('//');
});

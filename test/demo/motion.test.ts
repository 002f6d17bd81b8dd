/** Whoever asks for less motion gets none: nothing moves but where the style sheet has asked for that, and no script scrolls smoothly. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '../..');
const files = (folder: string, ending: string) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith(ending))
    .map((file) => join(folder, file));
const sheets = [...files('demo', '.css'), ...files('src/element', '.css')];
const read = (file: string) => readFileSync(join(root, file), 'utf8');

/** Declarations that move something, outside of a block that asks first. */
function movesUnasked(css: string): string[] {
  const calm = css
    .replace(/\/\*.*?\*\//gs, '')
    .replace(/@media \(prefers-reduced-motion: no-preference\) \{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}/g, '');
  return [...calm.matchAll(/(?:^|[;{\s])((?:animation|transition)[\w-]*|scroll-behavior)\s*:\s*([^;}]*)/g)].map(
    ([, name, value]) => `${name}: ${value}`,
  );
}

test('there are style sheets, and some move something', () => {
  expect(sheets.length).toBeGreaterThan(8);
  expect(sheets.filter((file) => /\banimation:/.test(read(file)))).toEqual(['demo/chat.css', 'src/element/styles.css']);
});

test.each(sheets)('%s', (file) => expect(movesUnasked(read(file))).toEqual([]));

test('what moves unasked is found', () => {
  const asked = '@media (prefers-reduced-motion: no-preference) { a { animation: b 1s } @keyframes b { from { opacity: 0 } } }';
  expect(movesUnasked(`${asked} a { color: red; transition: color 1s } b { scroll-behavior: smooth; }`)).toEqual([
    'transition: color 1s ',
    'scroll-behavior: smooth',
  ]);
});

test('no script scrolls smoothly or animates', () => {
  const scripts = [...files('demo', '.ts'), ...files('src/element', '.ts')];
  expect(scripts.filter((file) => /behavior: 'smooth'|\.animate\(/.test(read(file)))).toEqual([]);
});

/** Colours of the memory plan against the card they lie on: WCAG 1.4.11 asks 3:1 of a graphic. Both themes, from the style sheets. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const css = ['theme.css', 'memory.css']
  .map((name) => readFileSync(new URL(`../../demo/${name}`, import.meta.url), 'utf8'))
  .join();
const pairs = new Map(
  [...css.matchAll(/--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)/g)].map(([, name, ...pair]) => [name!, pair]),
);
const uses = [...pairs.keys()].filter((name) => name.startsWith('use-'));

test('all seven uses have a colour in both themes', () => expect(uses).toHaveLength(7));

test.each(uses.flatMap((name) => ['light', 'dark'].map((theme, i) => ({ name, theme, i }))))('$name, $theme', ({ name, i }) => {
  expect(contrast(pairs.get(name)![i]!, pairs.get('raised')![i]!)).toBeGreaterThanOrEqual(3);
});

function contrast(a: string, b: string): number {
  const [lighter, darker] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (lighter + 0.05) / (darker + 0.05);
}

/** Relative luminance of '#rrggbb', WCAG 2. */
function luminance(colour: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const value = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

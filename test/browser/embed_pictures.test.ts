/**
 * Pictures of the article with <sluice-chat>, and of the element in each of its states, at phone, tablet and wide-screen width, light and
 * dark, for people to look at: test/screenshots (not in git). What a machine can tell is checked, as in screenshots.test.ts.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { answered, press, problemsOf, send, waitFor } from './element_page';
import { launch, type TestPage } from './launch';
import { repository, startStaticServer, type TestServer } from './servers';

const folder = join(repository, 'test/screenshots');
const sizes = [
  { width: 390, height: 844 },
  { width: 900, height: 1100 },
  { width: 1600, height: 1000 },
];
const cases = sizes.flatMap((size) => (['light', 'dark'] as const).map((scheme) => ({ ...size, scheme })));

let server: TestServer;
let page: TestPage;
beforeAll(async () => {
  mkdirSync(folder, { recursive: true });
  server = await startStaticServer({ folder: join(repository, 'dist/site') });
  page = await launch('chromium');
  await page.open(`${server.url}demo/embed.html`);
  await waitFor(page, 'the element', () => true);
  await page.evaluate(() => {
    const chat = document.querySelector('sluice-chat')!;
    chat.request = { temperature: 0, max_tokens: 80 };
    const footer = document.createElement('small');
    footer.slot = 'footer';
    footer.textContent = 'A small model makes things up.';
    chat.append(footer);
  });
});
afterAll(async () => {
  await page?.close();
  await server?.close();
});

/** What a visitor can bring the element to, one after another. */
const states: [name: string, reach: () => Promise<unknown>][] = [
  ['idle', async () => {}],
  [
    'reply',
    async () => {
      await send(page, 'Tell me a story about a mill.');
      await waitFor(page, 'a reply', answered(2));
    },
  ],
  ['question', () => press(page, 'Delete')],
  [
    'problem',
    async () => {
      await press(page, 'Keep it');
      await page.evaluate(() => document.querySelector('sluice-chat')!.setAttribute('model', './nothing-here/'));
      await press(page, 'Load the model');
      await waitFor(page, 'the problem', ({ parts }) => parts.problem !== undefined);
    },
  ],
];

describe.each(states)('%s', (state, reach) => {
  beforeAll(reach);

  test.each(cases)('$width pixels, $scheme', async ({ width, height, scheme }) => {
    await page.setViewport({ width, height });
    await page.setColorScheme(scheme);
    if (state === 'idle') {
      await page.evaluate(() => scrollTo(0, 0));
      await page.screenshot(join(folder, `embed-${width}-${scheme}.png`));
    }
    await page.evaluate(() => document.querySelector('sluice-chat')!.scrollIntoView({ block: 'center' }));
    await page.screenshot(join(folder, `element-${state}-${width}-${scheme}.png`));
    expect(await page.evaluate(layout)).toEqual({ overflow: 0, outside: [], covered: [], cut: [] });
  });
});

test('nothing was complained of but the model that is not there', () =>
  expect(problemsOf(page).filter((error) => !error.includes('404'))).toEqual([]));

/** What scrolls the page sideways, leaves the element, is cut off, or cannot be pressed because something lies over it. Runs in the page. */
function layout() {
  const chat = document.querySelector('sluice-chat')!;
  const root = chat.shadowRoot!;
  const frame = root.querySelector('[part=frame]')!.getBoundingClientRect();
  const parts = [...root.querySelectorAll<HTMLElement>('[part]'), ...chat.children];
  const shown = parts.filter((part) => part.checkVisibility({ visibilityProperty: true }) && !part.closest('[part=messages]'));
  const named = (element: Element) => element.getAttribute('part') ?? element.textContent;
  const outside = shown.filter((part) => {
    const { left, right, top, bottom, width } = part.getBoundingClientRect();
    return width > 1 && (left < frame.left - 1 || right > frame.right + 1 || top < frame.top - 1 || bottom > frame.bottom + 1);
  });
  const covered = shown.filter((part) => {
    if (!part.matches('button, textarea')) return false;
    const { left, top, width, height } = part.getBoundingClientRect();
    const found = root.elementFromPoint(left + width / 2, top + height / 2);
    return found !== part;
  });
  // The end of what was said, and a question with its buttons, need no scrolling.
  const cut = ['transcript', 'messages-below'].filter((part) => {
    const { scrollHeight, clientHeight, scrollTop } = root.querySelector(`[part=${part}]`)!;
    return scrollHeight - clientHeight - scrollTop > 1;
  });
  const { scrollWidth, clientWidth } = document.documentElement;
  return { overflow: scrollWidth - clientWidth, outside: outside.map(named), covered: covered.map(named), cut };
}

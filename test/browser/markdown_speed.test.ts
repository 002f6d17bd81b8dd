/** Whatever a model writes, no task of the page's thread takes more than 50 ms of CPU, by a trace of Chromium. */
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findBrowsers } from '../../scripts/browsers.mjs';
import { CHROMIUM_FLAGS } from './launch';
import { CHARACTERS_PER_SECOND, longReply, SECTION } from './long_reply';
import type { MarkdownPage } from './markdown';
import { startDevServer, type TestServer } from './servers';
import { traceTasks } from './trace';

type WithMarkdown = { markdown: MarkdownPage };

const LONGEST_MS = 50;

let server: TestServer;
let browser: Browser;
let page: Page;
beforeAll(async () => {
  server = await startDevServer();
  browser = await chromium.launch({ executablePath: findBrowsers().chromium!.path, args: CHROMIUM_FLAGS });
  page = await browser.newPage();
  await page.goto(`${server.url}test/browser/markdown.html`);
  await page.waitForFunction(() => 'markdown' in window);
  await replay('$x$ and `code`\n\n```js\nlet a;\n```\n'); // what is loaded on demand is loaded
  await page.waitForFunction(() => document.querySelector('math') !== null);
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
});

test('a reply of 4,000 tokens with code and maths at 200 tokens/s', async () => {
  const tasks = await traceTasks(browser, page, () => replay(longReply, { rate: CHARACTERS_PER_SECOND }));
  console.log(JSON.stringify({ why: '4,000 tokens', ...tasks }));
  expect(tasks.longestMs).toBeLessThan(LONGEST_MS);
});

/** A megabyte takes some of these a while, so only two of them have as much by default. */
const MEGABYTE = 1e6;
const SOME = process.env.SLUICE_LONG ? MEGABYTE : 40_000;

test.each([
  { why: 'that very reply', text: SECTION, characters: MEGABYTE },
  { why: 'one line', text: 'word ', characters: MEGABYTE },
  { why: 'one word', text: 'a', characters: SOME },
  { why: 'paragraphs of a letter', text: 'a\n\n', characters: SOME },
  { why: 'one list', text: '- item *x*\n', characters: SOME },
  { why: 'one block of code', text: 'let a = "b"; // c\n', before: '```js\n', characters: SOME },
  { why: 'open brackets', text: '[', characters: SOME },
  { why: 'links that never close', text: '[a](b', characters: SOME },
  { why: 'stars', text: '*a **b ', characters: SOME },
  { why: 'backticks', text: '`a``b```c', characters: SOME },
  { why: 'formulas', text: '$\\frac{a_1}{b}$ ', characters: SOME },
  { why: 'rows of a table', text: '|`x`|**y**|\n', before: '|a|b|\n|-|-|\n', characters: SOME },
  { why: 'lists within lists', text: '- - - - - - - - a\n', characters: SOME },
  { why: 'quotes within quotes', text: '>', characters: SOME },
])('much text as $why', async ({ why, text, before = '', characters }) => {
  await clear();
  const tasks = await traceTasks(browser, page, () => replay(text, { before, times: Math.ceil(characters / text.length) }));
  expect(await page.evaluate(() => (window as unknown as WithMarkdown).markdown.shown())).toBeGreaterThan(5000);
  console.log(JSON.stringify({ why, characters, ...tasks }));
  expect(tasks.longestMs).toBeLessThan(LONGEST_MS);
});

test('10,000 nested quotes', async () => {
  const lines = Array.from({ length: 1000 }, (_, i) => `${'> '.repeat(Math.min(i, 60))}a`).join('\n');
  const tasks = await traceTasks(browser, page, () => replay(`${'>'.repeat(10_000)} deep\n\n${lines}`));
  console.log(JSON.stringify({ why: 'nested quotes', ...tasks }));
  expect(tasks.longestMs).toBeLessThan(LONGEST_MS);
});

/** What an earlier test has left behind goes before the next one is watched. */
async function clear(): Promise<void> {
  await page.evaluate(() => document.getElementById('reply')!.replaceChildren());
  await page.requestGC();
}

function replay(text: string, options: { rate?: number; times?: number; before?: string } = {}): Promise<void> {
  return page.evaluate(([source, how]) => (window as unknown as WithMarkdown).markdown.replay(source, how), [
    text,
    options,
  ] as const);
}

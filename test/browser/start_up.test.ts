/** From weights that are stored to the first token of the bundled model, by the library as it is published. */
import { type BrowserContext, chromium } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findBrowsers } from '../../scripts/browsers.mjs';
import { CHROMIUM_FLAGS } from './launch';
import { repository, startStaticServer, type TestServer } from './servers';
import { temporaryProfile } from './tabs';

type Times = { readyMs: number; firstTextMs: number; phases: Record<string, number> };

/** Milliseconds since the call of createEngine; `phases`: when each was first heard of. */
const script = `
  import { createEngine } from './dist/lib/sluice.js';
  const phases = {};
  const started = performance.now();
  const since = () => performance.now() - started;
  const engine = await createEngine('./demo/model/', { onProgress: ({ phase }) => { phases[phase] ??= since(); } });
  const readyMs = since();
  const messages = [{ role: 'user', content: 'Tell me a story about a fox.' }];
  for await (const { choices } of await engine.chat.completions.create({ messages, max_tokens: 4, temperature: 0, stream: true })) {
    if (choices[0]?.delta.content) window.times ??= { readyMs, firstTextMs: since(), phases };
  }
  await engine.unload();
  window.over = true;
`;
const page = `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><script type="module">${script}</script>`;

const profile = temporaryProfile();
let server: TestServer;
beforeAll(async () => {
  server = await startStaticServer({ folder: repository.replace(/\/$/, ''), pages: { 'start.html': page } });
});
afterAll(async () => {
  await server?.close();
  profile.remove();
});

const openBrowser = () =>
  chromium.launchPersistentContext(profile.folder, { executablePath: findBrowsers().chromium!.path, args: CHROMIUM_FLAGS });

async function visit(browser: BrowserContext): Promise<Times> {
  const tab = await browser.newPage();
  await tab.goto(`${server.url}start.html`);
  await tab.waitForFunction(() => 'over' in window, null, { timeout: 120_000 });
  const times = await tab.evaluate(() => (window as unknown as { times: Times }).times);
  await tab.close();
  return times;
}

/** On two CPU cores. Other work takes its share of them for a moment, so the best of the visits counts. */
const MOST_MS = 3000;
const VISITS = 3;

test('the bundled model: from stored weights to the first token of a new page in under 3 s', async () => {
  let browser = await openBrowser();
  const first = await visit(browser);
  server.asked.length = 0;
  const stored: Times[] = [];
  for (let i = 0; i < VISITS; i++) stored.push(await visit(browser));
  await browser.close();
  browser = await openBrowser();
  const newBrowser = await visit(browser); // its GPU process begins, too, and compiles everything anew
  await browser.close();
  console.log(JSON.stringify({ first, stored, newBrowser }));
  expect(server.asked.filter((path) => path.includes('/model/'))).toEqual([]);
  for (const { phases } of [...stored, newBrowser]) expect(phases).not.toHaveProperty('download');
  expect(Math.min(...stored.map(({ firstTextMs }) => firstTextMs))).toBeLessThan(MOST_MS);
}, 180_000);

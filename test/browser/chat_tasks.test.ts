/** The chat page's own thread while a model loads and while it answers, by a trace of Chromium: no task takes more than 50 ms of CPU. */
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { expect, test } from 'vitest';
import { findBrowsers } from '../../scripts/browsers.mjs';
import { CHROMIUM_FLAGS } from './launch';
import { repository, startStaticServer } from './servers';
import { traceTasks } from './trace';

const LONGEST_MS = 50;

test('loading, decoding, and a conversation that comes back', async () => {
  const server = await startStaticServer({ folder: join(repository, 'dist/site') });
  const browser = await chromium.launch({ executablePath: findBrowsers().chromium!.path, args: CHROMIUM_FLAGS });
  const page = await browser.newPage({ viewport: { width: 1600, height: 1000 } });
  const ready = () =>
    page.waitForFunction(() => document.querySelector<HTMLElement>('#composer-form')?.dataset.ready === 'true', null, {
      timeout: 120_000,
    });
  await page.goto(server.url);
  await page.evaluate(() => localStorage.setItem('sluice.settings', JSON.stringify({ seed: 1, maxTokens: 80 })));
  await page.goto('about:blank');
  const load = await traceTasks(browser, page, async () => {
    await page.goto(server.url);
    await ready();
  });
  const decode = await traceTasks(browser, page, async () => {
    await page.getByTestId('composer').fill('Tell me a story about a fox.');
    await page.getByTestId('send').click();
    await page.waitForFunction(() => document.body.dataset.busy === 'true');
    await page.waitForFunction(() => document.body.dataset.busy === 'false', null, { timeout: 120_000 });
  });
  const back = await traceTasks(browser, page, async () => {
    await page.goto(server.url);
    await ready();
  });
  console.log(JSON.stringify({ load, decode, back }));
  await browser.close();
  await server.close();
  expect(Math.max(load.longestMs, decode.longestMs, back.longestMs)).toBeLessThan(LONGEST_MS);
});

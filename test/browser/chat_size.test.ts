/** How much JavaScript a first visit waits for until one can write and send, and until the engine is ready. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { chromium } from 'playwright-core';
import { expect, test } from 'vitest';
import { findBrowsers } from '../../scripts/browsers.mjs';
import { waitUntilReady } from './chat_page';
import { CHROMIUM_FLAGS, launch } from './launch';
import { repository, startStaticServer } from './servers';

const MOST_BYTES = 150_000;
/** Until a first message is answered: with the workers of the engine and of its text. */
const MOST_BYTES_TO_ANSWER = 225_000;
const site = join(repository, 'dist/site');

test('a message is taken before anything of the engine is there', async () => {
  const server = await startStaticServer({ folder: site, basePath: '/' });
  const browser = await chromium.launch({ executablePath: findBrowsers().chromium!.path, args: CHROMIUM_FLAGS });
  const page = await browser.newPage();
  const fetched: string[] = [];
  page.on('response', (response) => fetched.push(new URL(response.url()).pathname));
  await page.route(/\/(engine|text)\.worker[^/]*\.js$/, () => {}); // for ever on its way
  await page.goto(server.url, { waitUntil: 'commit' });
  await page.waitForFunction(() => performance.getEntriesByName('sluice.composer').length > 0);
  await page.getByTestId('composer').fill('Tell me a story about a fox.');
  await page.getByTestId('composer').press('Enter');
  await page.waitForFunction(() => document.querySelector('[data-state=queued]') !== null);
  const scripts = fetched.filter((path) => path.endsWith('.js'));
  const bytes = scripts.reduce((sum, path) => sum + gzipSync(readFileSync(join(site, path)), { level: 9 }).length, 0);
  console.log({ bytes, scripts });
  expect(scripts.filter((path) => path.includes('worker'))).toEqual([]);
  expect(bytes).toBeGreaterThan(0);
  expect(bytes).toBeLessThanOrEqual(MOST_BYTES);
  await browser.close();
  await server.close();
});

test('until the composer is usable at most 150 KB of JavaScript are transferred', async () => {
  const server = await startStaticServer({ folder: site, basePath: '/' });
  const page = await launch('chromium');
  await page.open(server.url);
  await waitUntilReady(page);
  const { usableMs, readyMs, scripts } = await page.evaluate(() => ({
    usableMs: performance.getEntriesByName('sluice.composer')[0]!.startTime,
    readyMs: performance.getEntriesByName('sluice.ready')[0]!.startTime,
    scripts: performance
      .getEntriesByType('resource')
      .filter(({ name }) => name.endsWith('.js'))
      .map(({ name, startTime }) => ({ path: new URL(name).pathname, startMs: startTime })),
  }));
  const all = scripts.map(({ path, startMs }) => ({
    path,
    startMs,
    bytes: gzipSync(readFileSync(join(site, path)), { level: 9 }).length,
  }));
  // What makes Markdown of replies is fetched behind it; how much of it has begun when we look is chance.
  const sized = all.filter(({ startMs }) => startMs < readyMs);
  const before = sized.filter(({ startMs }) => startMs < usableMs);
  const sum = (parts: { bytes: number }[]) => parts.reduce((total, { bytes }) => total + bytes, 0);
  console.log({ usableMs, usableBytes: sum(before), readyBytes: sum(sized), sized });
  expect(before.length).toBeGreaterThan(0);
  expect(sum(before)).toBeLessThanOrEqual(MOST_BYTES);
  expect(before.filter(({ path }) => /markdown|temml|lib-/.test(path))).toEqual([]);
  expect(sum(sized)).toBeLessThanOrEqual(MOST_BYTES_TO_ANSWER);
  expect(sized.filter(({ path }) => /engine\.worker|text\.worker/.test(path))).toHaveLength(2);
  expect(sized.filter(({ path }) => /constraint_service|temml|lib-/.test(path))).toEqual([]);
  await page.close();
  await server.close();
});

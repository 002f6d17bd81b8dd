/** The benchmark's page from one static folder: by itself with ?post, by its form, and cancelled. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findBrowsers } from '../../scripts/browsers.mjs';
import type { BenchResult } from '../../src/bench/run';
import { accessibilityProblems } from './axe';
import { type BrowserName, browserTitles, CHROMIUM_FLAGS, launch, poll, type TestPage } from './launch';
import { repository, startStaticServer, type TestServer } from './servers';

let server: TestServer;
beforeAll(async () => {
  server = await startStaticServer({ folder: join(repository, 'dist/site'), basePath: '/a/b/', inbox: '/result' });
});
afterAll(() => server.close());

const names: BrowserName[] = ['chromium', 'firefox'];

describe.each(names)('the benchmark in %s', (name) => {
  let page: TestPage;
  beforeAll(async () => {
    page = await launch(name);
  });
  afterAll(() => page?.close());

  test(`${browserTitles[name]}: unattended, a model at two contexts, posted`, async () => {
    const result = await posted(page, 'preset=9b&context=0,16&precision=exact&repeat=2');
    expect(result).toMatchObject({
      sluice: 'bench',
      label: 'qwen3.5-9b 4-bit, tiny shapes on a CPU',
      adapter: { isCpu: true },
      repeat: 2,
      precision: 'exact',
    });
    const rows = result.model!.map((row) => ('skipped' in row ? row.skipped : row));
    expect(rows).toMatchObject([
      { context: 0, repeatable: true },
      { context: 16, repeatable: true },
    ]);
    for (const row of rows) if (typeof row !== 'string') expect(row.decodeTokensPerSecond.median).toBeGreaterThan(0);
    expect(result.ceilings.readGBps.value).toBeGreaterThan(0);
    expect(server.missing).toEqual([]);
    expect(page.errors).toEqual([]);
  });

  test('each kernel of a model, by timestamps, in the results and on the page', async () => {
    const { model } = await posted(page, 'profile&context=0,16&repeat=1');
    const profiles = model!.flatMap((row) => ('skipped' in row ? [] : row.profiles));
    expect(profiles.map(({ tokens }) => tokens)).toEqual([16, 1, 16, 1]);
    const rows = profiles.flatMap(({ rows }) => rows);
    expect(new Set(rows.map(({ clock }) => clock))).toEqual(new Set(['timestamp']));
    for (const { us } of rows) expect(us).toBeGreaterThan(0);
    const shown = await page.evaluate(() => ({
      titles: Array.from(document.querySelectorAll('#profiles .note'), (title) => title.textContent!),
      rows: document.querySelectorAll('#profiles tbody tr').length,
      chosen: document.querySelector<HTMLSelectElement>('#what')!.value,
    }));
    expect(shown).toMatchObject({ rows: rows.length, chosen: 'profile' });
    expect(shown.titles[3]).toMatch(/^Decode at context 16: .* ms in kernels by timestamps of the GPU\.$/);
    expect(await accessibilityProblems(page)).toEqual([]);
    for (const width of [390, 900, 1600]) {
      await page.setViewport({ width, height: 1000 });
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      expect({ width, overflow }).toEqual({ width, overflow: 0 });
    }
  });

  test('what it cannot do is posted as well', async () => {
    const result = await posted(page, 'preset=7b');
    expect(result).toMatchObject({ error: expect.stringContaining('preset must be') });
  });
});

describe('in Chromium', () => {
  let page: TestPage;
  beforeAll(async () => {
    page = await launch('chromium');
  });
  afterAll(() => page?.close());

  test('every candidate of a matrix product', async () => {
    const { kernels } = await posted(page, 'kernels&tokens=1&only=gate_proj');
    expect(kernels!.length).toBeGreaterThan(3);
    expect(kernels!.filter(({ outcome }) => outcome !== 'right')).toEqual([]);
    expect(kernels!.some(({ best }) => best)).toBe(true);
    for (const width of [390, 900, 1600]) {
      await page.setViewport({ width, height: 1000 });
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      expect({ width, overflow }).toEqual({ width, overflow: 0 });
    }
  });

  test('results go to no other origin', async () => {
    await page.open(`${server.url}demo/bench.html?preset=7b&post=https://elsewhere.example/take`);
    await reach(page, 'not-posted');
    expect(await page.evaluate(() => document.querySelector('#run-state')!.textContent)).toContain('own origin only');
    expect(page.requests.filter((url) => url.startsWith('https://elsewhere'))).toEqual([]);
  });

  test('results that nobody takes are said not to be posted', async () => {
    await page.open(`${server.url}demo/bench.html?preset=7b&post=/nowhere`);
    await reach(page, 'not-posted');
    expect(await page.evaluate(() => document.querySelector('#run-state')!.textContent)).toContain('/nowhere answered 404');
  });

  test('the form measures what the address asks for', async () => {
    await page.open(`${server.url}demo/bench.html?preset=35b-a3b`);
    expect(await page.evaluate(() => document.querySelector<HTMLSelectElement>('#preset')!.value)).toBe('qwen3.5-35b-a3b');
    await page.open(`${server.url}demo/bench.html?preset=qwen3-next-80b-a3b&repeat=1&context=0`);
    await page.evaluate(() => document.querySelector<HTMLButtonElement>('#start')!.click());
    await reach(page, 'done');
    const report = await page.evaluate(() => document.querySelector<HTMLTextAreaElement>('#report')!.value);
    expect(JSON.parse(report)).toMatchObject({ preset: 'qwen3-next-80b-a3b', model: { length: 1 } });
  });

  test('the form refuses a model that there is not', async () => {
    await page.open(`${server.url}demo/bench.html?preset=7b`);
    await page.evaluate(() => document.querySelector<HTMLButtonElement>('#start')!.click());
    await reach(page, 'done');
    expect(await page.evaluate(() => document.querySelector('#run-state')!.textContent)).toContain('preset must be');
  });

  test('the form runs it, draws it, and says that a CPU’s figures mean nothing', async () => {
    await page.open(`${server.url}demo/bench.html?repeat=1`);
    expect(await accessibilityProblems(page)).toEqual([]);
    await page.evaluate(() => {
      document.querySelector<HTMLInputElement>('#context')!.value = '0, 16, 32';
      document.querySelector<HTMLButtonElement>('#start')!.click();
    });
    await reach(page, 'done');
    const shown = await page.evaluate(() => ({
      caution: document.querySelector<HTMLElement>('#caution')!.hidden,
      tiles: document.querySelectorAll('#ceilings dd').length,
      bars: document.querySelectorAll('#bars svg').length,
      curves: Array.from(document.querySelectorAll('#curves svg'), (curve) => curve.querySelectorAll('circle').length),
      rows: document.querySelectorAll('#figures tbody tr').length,
      json: JSON.parse(document.querySelector<HTMLTextAreaElement>('#report')!.value) as BenchResult,
    }));
    expect(shown).toMatchObject({ caution: false, tiles: 8, bars: 6, curves: [3, 3], rows: 3, json: { model: { length: 3 } } });
  });

  test.each(['light', 'dark'] as const)('looks right and is accessible with results, %s', async (scheme) => {
    await page.setColorScheme(scheme);
    mkdirSync(join(repository, 'test/screenshots'), { recursive: true });
    for (const width of [390, 900, 1600]) {
      await page.setViewport({ width, height: 1000 });
      await page.screenshot(join(repository, `test/screenshots/bench-${width}-${scheme}.png`));
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      expect({ width, overflow }).toEqual({ width, overflow: 0 });
    }
    expect(await accessibilityProblems(page)).toEqual([]);
  });

  test('a cancelled run says so and can begin again', async () => {
    await page.open(`${server.url}demo/bench.html?run`);
    await reach(page, 'running');
    await page.evaluate(() => document.querySelector<HTMLButtonElement>('#cancel')!.click());
    await reach(page, 'done');
    const { said, again } = await page.evaluate(() => ({
      said: document.querySelector('#run-state')!.textContent,
      again: document.querySelector('#start')!.getAttribute('aria-disabled'),
    }));
    expect({ said, again }).toEqual({ said: 'Cancelled.', again: null });
  });
});

test('the copy button puts the results on the clipboard, the same that are posted and shown', async () => {
  const browser = await chromium.launch({ executablePath: findBrowsers().chromium!.path, args: CHROMIUM_FLAGS });
  try {
    const context = await browser.newContext({ permissions: ['clipboard-read', 'clipboard-write'] });
    const page = await context.newPage();
    await page.goto(`${server.url}demo/bench.html?context=0&repeat=1&post=/result`);
    await page.waitForSelector('[data-state="posted"]', { state: 'attached' });
    await page.evaluate(() => navigator.clipboard.writeText('something else'));
    await page.getByTestId('copy').click();
    await page.waitForFunction(() => document.querySelector('#announcer')!.textContent === 'The results are copied');
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    expect(copied).toBe(await page.getByTestId('report').inputValue());
    expect(JSON.parse(copied)).toEqual(JSON.parse(server.posted.pop()!));
    expect(JSON.parse(copied)).toMatchObject({ sluice: 'bench', ceilings: expect.anything(), model: [{ context: 0 }] });
  } finally {
    await browser.close();
  }
});

async function posted(page: TestPage, query: string): Promise<BenchResult & { error?: string }> {
  await page.open(`${server.url}demo/bench.html?${query}&post=/result`);
  await reach(page, 'posted');
  return JSON.parse(server.posted.pop()!);
}

async function reach(page: TestPage, state: string): Promise<void> {
  const there = (wanted: string) => page.evaluate((name) => document.documentElement.dataset.state === name || undefined, wanted);
  await poll(state, () => there(state), { everyMs: 20 }).catch(async (error: Error) => {
    const at = await page.evaluate(() => document.querySelector('#run-state')?.textContent);
    throw new Error(`${error.message}; it was at: ${at}. ${page.errors.join('; ')}`);
  });
}

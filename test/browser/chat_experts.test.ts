/** A mixture that does not fit: while it replies, the memory panel shows layer by layer how often an expert was there. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findBrowsers } from '../../scripts/browsers.mjs';
import { writeSynthetic } from '../../src/node/synth/write';
import { regularLayerTypes } from '../../src/synth/presets';
import { CHROMIUM_FLAGS, poll } from './launch';
import { repository, sealed, startStaticServer, type TestServer } from './servers';

const LAYERS = 4;
const shapes = {
  ...{ hiddenSize: 128, intermediateSize: 64, vocabSize: 512, numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 64 },
  ...{ layerTypes: regularLayerTypes(LAYERS), linearNumKeyHeads: 2, linearNumValueHeads: 4, linearKeyHeadDim: 32 },
  ...{ linearValueHeadDim: 32, tieWordEmbeddings: false },
  moe: { experts: 16, chosen: 2, intermediateSize: 64, sharedIntermediateSize: 64, renormalised: true },
};
/** Of some experts more than the least, and of fewer than all. */
const SOME_BYTES = 600_000;
const folder = mkdtempSync(join(tmpdir(), 'sluice-experts-'));

let server: TestServer;
let browser: Browser;
let page: Page;
const errors: string[] = [];
beforeAll(async () => {
  cpSync(join(repository, 'dist/site'), folder, { recursive: true });
  rmSync(join(folder, 'demo/model'), { recursive: true });
  await writeSynthetic({ shapes, bits: 4, out: join(folder, 'demo/model') });
  server = await startStaticServer({ folder, headers: sealed });
  browser = await chromium.launch({ executablePath: findBrowsers().chromium!.path, args: CHROMIUM_FLAGS });
  page = await browser.newPage();
  page.on('pageerror', ({ message }) => errors.push(message));
  await page.goto(server.url);
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
  rmSync(folder, { recursive: true, force: true });
});

const words = () => page.getByTestId('experts-text').textContent();

test('with room for all of them there is no picture', async () => {
  await load({});
  await page.getByTestId('open-memory').click();
  await page.getByTestId('plan-table').waitFor();
  expect(await page.getByTestId('experts').isVisible()).toBe(false);
});

test('without it the picture grows while a reply runs', async () => {
  await load({ gpuBudget: 1 });
  await page.getByTestId('notice-primary').click(); // the smallest budget that works
  await ready();
  const { gpuBudget } = await page.evaluate(() => JSON.parse(localStorage.getItem('sluice.settings')!));
  await load({ gpuBudget: gpuBudget + SOME_BYTES });
  await ready();
  await page.getByTestId('composer').fill('Tell me a story.');
  await page.getByTestId('send').click();
  await page.getByTestId('open-memory').click();
  const first = await poll('the first choices', async () => ((await words())?.startsWith('Of ') ? await words() : undefined));
  expect(await page.evaluate(() => document.body.dataset.busy)).toBe('true');
  await poll('more of them', async () => ((await words()) !== first ? true : undefined));
  expect(await words()).toMatch(/^Of [\d,]+ choices \d+ % found .* Fewest: layer \d, \d+ %\. Most: layer \d, \d+ %\.$/);
  expect(await page.getByTestId('experts').isVisible()).toBe(true);
  const bars = page.getByTestId('experts-bars').locator('span');
  expect(await bars.count()).toBe(LAYERS);
  // After its first few choices a layer may have found them all.
  const shares = await poll('a miss in every layer', async () => {
    const read = await bars.evaluateAll((all) => all.map((bar) => Number((bar as HTMLElement).style.getPropertyValue('--hits'))));
    return read.every((share) => share < 1) ? read : undefined;
  });
  expect(Math.max(...shares)).toBeGreaterThan(0);
  expect(errors).toEqual([]);
  expect(server.reports).toEqual([]);
});

/** The page anew, with these settings. */
async function load(settings: object): Promise<void> {
  await page.evaluate(
    (text) => localStorage.setItem('sluice.settings', text),
    JSON.stringify({ seed: 1, maxTokens: 400, contextTokens: 512, ...settings }),
  );
  await page.goto(server.url);
  if (!('gpuBudget' in settings)) await ready();
}

async function ready(): Promise<void> {
  await page.waitForFunction(() => document.querySelector<HTMLElement>('#composer-form')!.dataset.ready === 'true', null, {
    timeout: 120_000,
  });
}

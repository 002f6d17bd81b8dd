/**
 * Times of a streaming engine in Chromium without a GPU. In `npm test` small models and room for a machine that does other things
 * at the same time; with SLUICE_LONG the sizes and limits that the project is measured by.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { presetShapes } from '../../src/synth/presets';
import { HUB_MODEL, type HubServer, startHub } from '../servers/hub_server';
import { poll } from './launch';
import type {} from './overlap';
import { startDevServer, type TestServer } from './servers';
import { promptOf, shapesOf, syntheticFiles } from './streaming_models';
import { StreamingPage } from './streaming_page';
import { launchTabs, type TabsBrowser, temporaryProfile } from './tabs';

const long = process.env.SLUICE_LONG === '1';

const profile = temporaryProfile();
let server: TestServer;
let browser: TabsBrowser;
beforeAll(async () => {
  server = await startDevServer();
  browser = await launchTabs('chromium', profile.folder, { gpu: true });
});
afterAll(async () => {
  await browser.close();
  profile.remove();
  await server.close();
});

describe('answering while downloading', () => {
  const prompt = promptOf(long ? 300 : 100);
  let hub: HubServer;
  let bytes = 0;
  beforeAll(async () => {
    const files = syntheticFiles({ shapes: shapesOf({ layers: long ? 24 : 12, hiddenSize: 256 }), bits: 4 });
    bytes = [...files.values()].reduce((sum, content) => sum + (content as Uint8Array).byteLength, 0);
    hub = await startHub(files);
  });
  afterAll(() => hub.close());

  test('the first token of a long prompt comes with the last byte', async () => {
    const page = await StreamingPage.open(await browser.newTab(), server.url, HUB_MODEL, {
      hubUrl: hub.hubUrl,
      contextTokens: 512,
    });
    const seconds = long ? 30 : 15;
    hub.bytesPerSecond = bytes / seconds;
    const aloneMs = await page.download();
    // Everything there: what it computes, and the text to compare with.
    await page.load({});
    const complete = await page.ask(prompt, 16);
    await page.unload();
    await page.empty();
    const cold = await page.firstText({ answerWhileLoading: true }, prompt, 16);
    const figures = {
      bytes,
      aloneMs,
      completePrefillMs: complete.timings?.prefillMs,
      ...cold,
      ratio: cold.firstTextMs / aloneMs,
    };
    console.log(figures);
    expect(cold.text).toBe(complete.text);
    expect(cold.firstTextMs).toBeLessThan((long ? 1.05 : 1.25) * aloneMs);
    await page.unload();
    expect(await page.unhandled()).toEqual([]);
    await page.close();
  }, 900_000);
});

describe('reading while computing', () => {
  let hub: HubServer;
  beforeAll(async () => {
    const shapes = { ...presetShapes('qwen3.5-0.8b'), vocabSize: 16_384 };
    hub = await startHub(syntheticFiles({ shapes, layers: long ? 24 : 8, bits: 4 }));
  });
  afterAll(() => hub.close());

  test('a token takes as long as the slowest of reading, uploading and computing', async () => {
    const tab = await browser.newTab();
    await tab.open(`${server.url}test/browser/overlap.html`);
    await poll('the page', () => tab.evaluate(() => (window.overlap ? true : undefined)));
    const options = long ? { rounds: 8, tokens: 6 } : { rounds: 3, tokens: 5 };
    const run = [HUB_MODEL, hub.hubUrl, options] as const;
    const report = await tab.evaluate(([model, url, asked]) => window.overlap.run(model, url, asked), run);
    const { readMs, uploadMs, computeMs, tokenMs, streamedBytes, weightBytes } = report;
    const sum = readMs + uploadMs + computeMs;
    const slowest = Math.max(readMs, uploadMs, computeMs);
    const ratio = tokenMs / slowest;
    console.log({ ...report, all: report.all.map(Math.round), ratio, overlap: (sum - tokenMs) / (sum - slowest) });
    expect(streamedBytes / weightBytes).toBeGreaterThan(0.35);
    expect(streamedBytes / weightBytes).toBeLessThan(0.65);
    expect(Math.abs(readMs / computeMs - 1)).toBeLessThan(long ? 0.2 : 0.5);
    expect(ratio).toBeLessThan(long ? 1.15 : 1.5);
    await tab.close();
  }, 900_000);
});

/**
 * A model several times larger than its budget, from a hub into the private file system and through the GPU in Chromium, and what
 * the page holds meanwhile. With SLUICE_LONG 2 GB of real layer shapes.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import puppeteer, { type Browser } from 'puppeteer-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findBrowsers } from '../../scripts/browsers.mjs';
import type { SyntheticModel } from '../../src/synth/layout';
import { presetShapes, type SyntheticShapes } from '../../src/synth/presets';
import { type FileContent, type HubServer, startHub } from '../servers/hub_server';
import { CHROMIUM_FLAGS, EVALUATE_LIMIT_MS } from './launch';
import { type Held, MemoryProbe } from './memory_probe';
import { startDevServer, type TestServer } from './servers';
import { promptOf, shapesOf, syntheticFolder } from './streaming_models';
import { StreamingPage } from './streaming_page';
import { puppeteerTab, temporaryProfile } from './tabs';

const long = process.env.SLUICE_LONG === '1';
const mb = 1e6;

type Case = { name: string; model: SyntheticModel; budgetBytes: number; tokens: number };

/** 9B layers with both of its vocabulary matrices, 2.0 GB; or 0.8B layers with a small vocabulary. */
const dense: Case = {
  name: 'dense',
  model: long
    ? { preset: 'qwen3.5-9b', layers: 7, bits: 4 }
    : { shapes: { ...presetShapes('qwen3.5-0.8b'), vocabSize: 16_384, tieWordEmbeddings: false }, layers: 12, bits: 4 },
  budgetBytes: (long ? 512 : 96) * mb,
  tokens: long ? 8 : 4,
};
/** Layers of 35B-A3B with all of their experts, 2.5 GB; or few of them and a small vocabulary. */
const mixture: Case = {
  name: 'mixture',
  model: long
    ? { preset: 'qwen3.5-35b-a3b', layers: 4, bits: 4 }
    : { shapes: fewExperts(presetShapes('qwen3.5-35b-a3b')), layers: 4, bits: 4 },
  budgetBytes: (long ? 256 : 96) * mb,
  tokens: long ? 16 : 4,
};
const vocabSize = long ? 248_320 : 16_384;

function fewExperts(shapes: SyntheticShapes): SyntheticShapes {
  return { ...shapes, vocabSize: 16_384, hiddenSize: 1024, moe: { ...shapes.moe!, experts: 32, chosen: 4 } };
}

const profile = temporaryProfile();
const folder = mkdtempSync(join(tmpdir(), 'sluice-models-'));
let server: TestServer;
let hub: HubServer;
let browser: Browser;
beforeAll(async () => {
  server = await startDevServer();
  // The same tokenizer, and next to no weights.
  const small = await syntheticFolder(
    { shapes: shapesOf({ layers: 4, hiddenSize: 64, vocabSize }), bits: 4 },
    join(folder, 'small'),
  );
  const models = new Map<string, Map<string, FileContent>>([['acme/tokenizer', small]]);
  for (const { name, model } of [dense, mixture]) models.set(`acme/${name}`, await syntheticFolder(model, join(folder, name)));
  hub = await startHub(small, models);
  browser = await puppeteer.launch({
    executablePath: findBrowsers().chromium!.path,
    userDataDir: profile.folder,
    args: [...CHROMIUM_FLAGS, '--disable-features=SpareRendererForSitePerProcess'],
    protocolTimeout: EVALUATE_LIMIT_MS,
  });
}, 600_000);
afterAll(async () => {
  await browser.close();
  await hub.close();
  await server.close();
  profile.remove();
  rmSync(folder, { recursive: true, force: true });
});

describe.runIf(process.platform === 'linux')('what a page holds', () => {
  test.each([dense, mixture])(
    '$name: downloads, stores and runs a large model in bounded memory',
    async (large) => {
      const { name, budgetBytes, tokens } = large;
      const page = await browser.newPage();
      for (const other of await browser.pages()) if (other !== page) await other.close();
      const open = (model: string) =>
        StreamingPage.open(puppeteerTab(page), server.url, model, { hubUrl: hub.hubUrl, contextTokens: 256 });
      const probe = await MemoryProbe.open(browser, page);

      const bundled = await open(`${server.url}demo/model/`);
      await bundled.load({});
      const start = await probe.held();
      await bundled.unload();

      const tokenizer = await open('acme/tokenizer');
      await tokenizer.load({ storage: 'none' });
      const withTokenizer = await probe.settled();
      await tokenizer.unload();

      const model = await open(`acme/${name}`);
      const loadStarted = performance.now();
      const { result: plan, ...loading } = await probe.during(() => model.load({ gpuBudget: budgetBytes }));
      const loadMs = performance.now() - loadStarted;
      const { result: answer, ...running } = await probe.during(() => model.ask(promptOf(8), tokens));
      const { peakGpuBytes } = await model.info();
      const settled = await probe.settled();
      await model.unload();

      hub.log.length = 0;
      const again = await open(`acme/${name}`);
      await again.load({ gpuBudget: budgetBytes });
      const { text } = await again.ask(promptOf(8), 2);
      const requests = hub.log.length;
      await again.unload();

      const js = ({ heap, buffers }: Held) => heap + buffers;
      const growth = {
        js: Math.max(loading.jsPeak, running.jsPeak) - js(withTokenizer),
        private: Math.max(loading.peak.privateBytes, running.peak.privateBytes) - start.privateBytes,
      };
      console.log(
        JSON.stringify(
          {
            plan: { ...plan, units: plan.units.length },
            loadMs,
            answer,
            peakGpuBytes,
            start,
            withTokenizer,
            loading,
            running,
            settled,
            growth,
          },
          null,
          1,
        ),
      );
      const { streamedBytesPerToken, experts, weightBytes } = plan;
      if (experts) expect(experts.slots).toBeLessThan(experts.of / 2);
      else expect(streamedBytesPerToken).toBeGreaterThan(weightBytes / 4);
      expect(peakGpuBytes).toBeLessThanOrEqual(budgetBytes);
      expect(requests).toBe(0);
      expect(answer.text.startsWith(text)).toBe(true);
      expect(growth.js).toBeLessThanOrEqual(96 * mb);
      expect(growth.private).toBeLessThanOrEqual(160 * mb);
    },
    2_400_000,
  );
});

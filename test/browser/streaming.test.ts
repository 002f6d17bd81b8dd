/**
 * Any model in a budget, end to end: from a hub through the public API into the private file system and through the GPU, in real
 * browsers. The model is small; what is compared is text, requests and bytes.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type FileContent, HUB_MODEL, type HubServer, startHub } from '../servers/hub_server';
import { poll } from './launch';
import { startDevServer, type TestServer } from './servers';
import { promptOf, shapesOf, syntheticFiles } from './streaming_models';
import { ok, StreamingPage } from './streaming_page';
import { launchTabs, type TabsBrowser, temporaryProfile } from './tabs';

const prompt = promptOf(40);
const replyTokens = 6;

let server: TestServer;
let hub: HubServer;
let files: Map<string, FileContent>;
beforeAll(async () => {
  server = await startDevServer();
  files = syntheticFiles({ shapes: shapesOf({ layers: 12 }), bits: 4 }); // more than the windows that a network source keeps
});
afterAll(() => server.close());
beforeEach(async () => {
  hub = await startHub(files);
});
afterEach(() => hub.close());

describe.each(['chromium', 'firefox'] as const)('weights that stream in %s', (name) => {
  const profile = temporaryProfile();
  let browser: TabsBrowser;
  let pages: StreamingPage[] = [];
  beforeAll(async () => {
    browser = await launchTabs(name, profile.folder, { gpu: true });
  });
  afterAll(async () => {
    await browser.close();
    profile.remove();
  });
  afterEach(async () => {
    for (const page of pages) {
      expect(await page.unhandled()).toEqual([]);
      await page.close();
    }
    pages = [];
  });

  async function newPage(): Promise<StreamingPage> {
    const config = { hubUrl: hub.hubUrl, contextTokens: 128 };
    const page = await StreamingPage.open(await browser.newTab(), server.url, HUB_MODEL, config);
    pages.push(page);
    return page;
  }
  const text = async (page: StreamingPage) => (await page.ask(prompt, replyTokens)).text;

  let budget = 0;
  let reference = '';

  test('a plan names the smallest budget, which is accepted; one byte less is refused', async () => {
    const page = await newPage();
    const whole = ok(await page.plan({ gpuBudget: '4GB' }));
    expect(whole.streamedBytesPerToken).toBe(0);
    const least = whole.smallestBudgetBytes;
    const smallest = ok(await page.plan({ gpuBudget: least }));
    expect(smallest.gpu.total).toBeLessThanOrEqual(least);
    expect(smallest.streamedBytesPerToken).toBeGreaterThan(0.8 * smallest.weightBytes);
    const refusal = { code: 'budget', message: expect.stringContaining(`${least}`) };
    expect(await page.plan({ gpuBudget: least - 1 })).toMatchObject(refusal);
    expect(whole.disk).toMatchObject({ home: 'opfs', storedBytes: 0, availableBytes: expect.any(Number) });
    expect(whole.disk.neededBytes).toBeGreaterThan(0.9 * whole.weightBytes);
    expect(await page.sharesMemory()).toBe(false); // nor does anything below
    expect(await page.list()).toEqual([]);
    budget = least + Math.floor(whole.weightBytes / 3);
  });

  test('the text is that of an unlimited engine, within the budget; the second start makes no request', async () => {
    const [page, other] = [await newPage(), await newPage()];
    const whole = await page.load({ gpuBudget: '4GB' });
    expect(whole.streamedBytesPerToken).toBe(0);
    reference = await text(page);
    // What tabs tell each other of a download, with a conversation under way: which model it is.
    const [stored] = await page.list();
    const heard = await other.heard();
    expect(heard.length).toBeGreaterThan(0);
    expect(heard).toEqual(heard.map(() => ({ type: 'progress', id: stored!.id })));
    expect(reference).not.toBe('');
    await page.unload();
    await page.empty();
    const cold = await page.load({ gpuBudget: budget });
    expect(cold.streamedBytesPerToken).toBeGreaterThan(0);
    expect(cold.gpu.residentWeights).toBeGreaterThan(0);
    expect(await text(page)).toBe(reference);
    expect((await page.info()).peakGpuBytes).toBeLessThanOrEqual(budget);
    await page.unload();
    hub.log.length = 0;
    const warm = await page.load({ gpuBudget: budget });
    expect(warm.disk.storedBytes).toBe(warm.disk.neededBytes);
    expect(await text(page)).toBe(reference);
    expect((await page.info()).peakGpuBytes).toBeLessThanOrEqual(budget);
    expect(hub.log).toEqual([]);
    // What is stored can be measured: the plan says what a token takes on this device, before anything is loaded.
    const { prediction } = ok(await page.plan({ gpuBudget: budget }));
    expect(prediction!.tokensPerSecond).toBeGreaterThan(0);
    expect(prediction!.readMs).toBeGreaterThan(0);
    expect(prediction!.readAssumed).toBeUndefined();
    await page.unload();
  });

  test('without storage each token comes over the network', async () => {
    const page = await newPage();
    const { disk, streamedBytesPerToken } = await page.load({ gpuBudget: budget, storage: 'none' });
    expect(disk.home).toBe('none');
    hub.log.length = 0;
    expect(await text(page)).toBe(reference);
    expect(hub.bytesSent()).toBeGreaterThan(streamedBytesPerToken * (replyTokens - 1));
    expect((await page.info()).peakGpuBytes).toBeLessThanOrEqual(budget);
    await page.unload();
  });

  test('two tabs answer from one stored model, which cannot be deleted until both are done', async () => {
    const [first, second] = [await newPage(), await newPage()];
    await first.load({ gpuBudget: budget });
    hub.log.length = 0;
    await second.load({ gpuBudget: budget });
    expect(await Promise.all([text(first), text(second)])).toEqual([reference, reference]);
    expect(hub.log).toEqual([]);
    const [stored] = await second.list();
    expect(stored).toMatchObject({ model: HUB_MODEL, complete: true, inUse: true });
    expect(await second.remove(stored!.id)).toMatchObject({ code: 'storage' });
    await first.unload();
    expect(await second.remove(stored!.id)).toMatchObject({ code: 'storage' });
    expect(await text(second)).toBe(reference);
    await second.unload();
    await second.empty();
    expect(await second.list()).toEqual([]);
  });

  test('a page killed in mid-download leaves what the next one goes on with', async () => {
    const total = [...files.values()].reduce((sum, content) => sum + (content as Uint8Array).byteLength, 0);
    hub.bytesPerSecond = 2_000_000;
    const first = await newPage();
    await first.startLoading({ gpuBudget: budget });
    await poll('half of the download', async () => (hub.bytesSent() > total / 2 ? true : undefined), { everyMs: 20 });
    await first.close();
    pages = [];
    hub.bytesPerSecond = undefined;
    const second = await newPage();
    const [half] = await second.list();
    expect(half).toMatchObject({ complete: false });
    expect(half!.storedBytes).toBeGreaterThan(0);
    hub.expireSignatures(); // what the first page still had on its way gets no bytes, and counts for none
    hub.log.length = 0;
    await second.load({ gpuBudget: budget });
    expect(await text(second)).toBe(reference);
    expect(hub.bytesSent()).toBeLessThanOrEqual(total - half!.storedBytes + 200_000);
    await second.unload();
    await second.empty();
  });

  test('a cold model answers while it downloads', async () => {
    hub.bytesPerSecond = 1_500_000;
    const page = await newPage();
    const more = { gpuBudget: budget, answerWhileLoading: true };
    const { text: cold, readyMs, firstTextMs, later } = await page.firstText(more, prompt, replyTokens);
    expect(cold).toBe(reference);
    expect(readyMs).toBeLessThan(firstTextMs);
    const shares = later.map(({ progress }) => progress);
    expect(shares[0]).toBeLessThan(0.5); // createEngine's end is not the download's
    expect(new Set(shares).size).toBeGreaterThan(5);
    expect(later.map(({ phase }) => phase === 'ready')).toEqual(later.map((_, i) => i === later.length - 1));
    hub.bytesPerSecond = undefined;
    await page.unload();
    await page.empty();
  });
});

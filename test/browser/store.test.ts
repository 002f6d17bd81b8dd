/**
 * The model store where it lives: OPFS, Web Locks and workers of real browsers, with a profile on disk, fed by a server. A tab that is
 * closed in mid-download is a kill: nobody is asked, and whatever the worker was doing ends there.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { DownloadProgress } from '../../src/storage/store/types';
import { HUB_MODEL, type HubServer, startHub } from '../servers/hub_server';
import { type TestModel, type TestModelOptions, testModel } from '../storage/store/test_model';
import { poll } from './launch';
import { startDevServer, type TestServer } from './servers';
import type {} from './store';
import { launchTabs, type Tab, type TabsBrowser, temporaryProfile } from './tabs';

const CHUNK_BYTES = 64 << 10;
const PROBE_BYTES = 64 << 10;
const CONNECTIONS = 4;
const options: TestModelOptions = { layers: 24, chunkBytes: CHUNK_BYTES };
const TOTAL_BYTES = 24 * 220_000;

let pages: TestServer;
let hub: HubServer;
let model: TestModel;
beforeAll(async () => {
  pages = await startDevServer();
  model = testModel(options);
});
afterAll(() => pages.close());

beforeEach(async () => {
  hub = await startHub(new Map(model.originals));
  hub.redirect = false;
});
afterEach(() => hub.close());

describe.each(['chromium', 'firefox'] as const)('the model store in %s', (name) => {
  const profile = temporaryProfile();
  let browser: TabsBrowser;
  beforeAll(async () => {
    browser = await launchTabs(name, profile.folder);
  });
  afterAll(async () => {
    await browser.close();
    profile.remove();
  });

  async function storeTab(): Promise<Tab> {
    const tab = await browser.newTab();
    await tab.open(`${pages.url}test/browser/store.html`);
    await poll('the store page', () => tab.evaluate(() => (window.storeTab ? true : undefined)));
    return tab;
  }

  const begin = (tab: Tab, server: string | undefined = hub.hubUrl) =>
    tab.evaluate(({ options, server, connections }) => window.storeTab!.begin(options, server, { connections }), {
      ...{ options, server: server === 'none' ? undefined : server, connections: CONNECTIONS },
    });
  const finish = (tab: Tab) => tab.evaluate(() => window.storeTab!.finish());
  const find = (tab: Tab) => tab.evaluate((options) => window.storeTab!.find(options), options);
  const wrongFiles = (tab: Tab) => tab.evaluate(() => window.storeTab!.wrongFiles());
  const until = (tab: Tab, what: string, done: (progress: DownloadProgress) => boolean) =>
    poll(
      what,
      async () => {
        const progress = await tab.evaluate(() => window.storeTab!.progress());
        return done(progress) ? progress : undefined;
      },
      { everyMs: 20 },
    );

  test('short texts by key are there for another tab', async () => {
    const tab = await storeTab();
    await tab.evaluate(() => window.storeTab!.keepText('a kernel', 'fast'));
    const other = await storeTab();
    const texts = await other.evaluate(async () => [
      await window.storeTab!.keptText('a kernel'),
      await window.storeTab!.keptText('another'),
    ]);
    expect(texts).toEqual(['fast', undefined]);
    for (const each of [tab, other]) await each.close();
  });

  /** Ranges asked for more than once; a probe asks from byte 0, and no chunk lies there. */
  function fetchedAnew(): number {
    const ranges = [...model.originals.keys()].flatMap((file) =>
      hub.rangesOf(`${HUB_MODEL}/${file}`).flatMap(({ start, end }) => (start > 0 ? [`${file} ${start} ${end}`] : [])),
    );
    expect(ranges.length).toBeGreaterThan(80);
    return ranges.length - new Set(ranges).size;
  }

  async function remove(): Promise<void> {
    const tab = await storeTab();
    await poll('deletion', async () => {
      const answer = await tab.evaluate(() => window.storeTab!.delete());
      return answer === 'deleted' ? true : undefined;
    });
    await tab.close();
  }

  test('downloads, seals, and starts again without a request or a hash', async () => {
    const tab = await storeTab();
    expect(await begin(tab)).toBe(false);
    expect(await finish(tab)).toMatchObject({ complete: true, verified: 'hub' });
    expect(await wrongFiles(tab)).toEqual([]);
    await tab.close();
    hub.log.length = 0;
    const second = await storeTab();
    expect(await begin(second, 'none')).toBe(true);
    expect(await finish(second)).toEqual({ complete: true, verified: 'hub', fetchedBytes: 0 });
    expect(await wrongFiles(second)).toEqual([]);
    expect(hub.log).toEqual([]);
    await second.close();
    await remove();
  });

  test('killed at random moments, it ends with the right bytes and fetches at most a chunk per connection anew', async () => {
    const rounds = process.env.SLUICE_LONG ? 10 : 1;
    const kills = 5;
    for (let round = 1; round <= rounds; round++) {
      hub.log.length = 0;
      hub.bytesPerSecond = 3_000_000;
      let midway = 0;
      for (let kill = 0; kill < kills; kill++) {
        const tab = await storeTab();
        const beginning = begin(tab).catch(() => {});
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 700));
        await tab.close();
        await beginning;
        if (hub.bytesSent() > 2 * PROBE_BYTES && hub.bytesSent() < TOTAL_BYTES) midway++;
      }
      hub.bytesPerSecond = undefined;
      const tab = await storeTab();
      await begin(tab);
      expect(await finish(tab)).toMatchObject({ complete: true, verified: 'hub' });
      expect(await wrongFiles(tab)).toEqual([]);
      const anew = fetchedAnew();
      console.log(`${name}: ${kills} kills, ${midway} midway, ${anew} chunks of at most ${kills * CONNECTIONS} fetched anew`);
      expect(anew).toBeLessThanOrEqual(kills * CONNECTIONS);
      await tab.close();
      await remove();
    }
  }, 1_200_000);

  test('two tabs: one downloads, the other reads what comes; the other takes over when the first is killed', async () => {
    hub.bytesPerSecond = 3_000_000;
    const [first, second] = [await storeTab(), await storeTab()];
    await begin(first);
    await until(first, 'progress', ({ storedBytes }) => storedBytes > 300_000);
    await begin(second);
    const following = await until(second, 'following', ({ state, storedBytes }) => state === 'following' && storedBytes > 0);
    expect(following.fetchedBytes).toBe(0);
    const right = await second.evaluate(() => window.storeTab!.readRight('layer-23', 0, 220_000));
    expect(right).toBe(true);
    expect((await first.evaluate(() => window.storeTab!.progress())).state).toBe('downloading');
    expect(await second.evaluate(() => window.storeTab!.delete())).toContain('open in another tab');
    await first.close();
    expect(await finish(second)).toMatchObject({ complete: true, verified: 'hub' });
    expect(await wrongFiles(second)).toEqual([]);
    expect((await second.evaluate(() => window.storeTab!.progress())).fetchedBytes).toBeLessThan(TOTAL_BYTES - 300_000);
    await second.close();
    await remove();
  });

  test('two tabs read one complete model at the same time, and neither can delete it under the other', async () => {
    const [first, second] = [await storeTab(), await storeTab()];
    await begin(first);
    await begin(second);
    expect(await finish(first)).toMatchObject({ complete: true });
    expect(await finish(second)).toMatchObject({ complete: true, fetchedBytes: 0 });
    // The first keeps handles of all that it read; where those are exclusive (Firefox), the second has to read without.
    expect(await wrongFiles(first)).toEqual([]);
    expect(await second.evaluate(() => window.storeTab!.tryHandle('layer-3'))).toBe('NoModificationAllowedError');
    expect(await wrongFiles(second)).toEqual([]);
    expect(await Promise.all([wrongFiles(first), wrongFiles(second)])).toEqual([[], []]);
    expect(await first.evaluate(() => window.storeTab!.delete())).toContain('open in another tab or engine');
    expect((await first.evaluate(() => window.storeTab!.list())).map(({ inUse }) => inUse)).toEqual([true]);
    await second.close();
    await poll('the lock of the closed tab', async () => {
      const [info] = await first.evaluate(() => window.storeTab!.list());
      return info!.inUse ? undefined : true;
    });
    await first.evaluate(() => window.storeTab!.closeEntry());
    expect(await first.evaluate(() => window.storeTab!.delete())).toBe('deleted');
    expect(await first.evaluate(() => window.storeTab!.list())).toEqual([]);
    await first.close();
  });

  test('damage is found at the next start and repaired; a new layout is made without a request', async () => {
    const tab = await storeTab();
    await begin(tab);
    await finish(tab);
    await tab.evaluate(() => window.storeTab!.closeEntry());
    await tab.evaluate(() => window.storeTab!.damage('layer-7', 150_000));
    expect(await find(tab)).toBe(false);
    await tab.evaluate(() => window.storeTab!.closeEntry());
    hub.log.length = 0;
    await begin(tab);
    expect(await finish(tab)).toMatchObject({ complete: true, verified: 'hub', fetchedBytes: CHUNK_BYTES });
    expect(await wrongFiles(tab)).toEqual([]);
    hub.log.length = 0;
    const moved = await tab.evaluate(
      (options) => window.storeTab!.migrate({ ...options, layoutVersion: 2, chunkBytes: 100_000 }),
      options,
    );
    expect(moved).toMatchObject({ complete: true, verified: 'hub' });
    expect(await wrongFiles(tab)).toEqual([]);
    expect(hub.log).toEqual([]);
    await tab.close();
    await remove();
  });

  test('gives way to other tasks of its worker', async () => {
    const tab = await storeTab();
    const big = { ...options, weightBytes: 2_000_000, chunkBytes: 4 << 20 };
    const originals = testModel(big).originals;
    for (const [file, bytes] of originals) hub.files.set(file, bytes);
    const waits = await tab.evaluate(({ server, big }) => window.storeTab!.waits(server, big), { server: hub.hubUrl, big });
    console.log(`${name}: during a 48 MB download a task waited ${JSON.stringify(waits)} ms`);
    // The longest is the operating system's as well: this machine may be busy.
    expect(waits.p95).toBeLessThan(40);
    await tab.close();
    await remove();
  });
});

describe('the model store in chromium, at its quota', () => {
  test('says so, keeps what came, and goes on when there is room', async () => {
    const profile = temporaryProfile();
    const browser = await launchTabs('chromium', profile.folder);
    try {
      const tab = await browser.newTab();
      const origin = new URL(pages.url).origin;
      await tab.open(`${pages.url}test/browser/store.html`);
      await poll('the store page', () => tab.evaluate(() => (window.storeTab ? true : undefined)));
      await tab.setQuota!(origin, 3_000_000);
      const run = () =>
        tab.evaluate(({ options, server }) => window.storeTab!.begin(options, server), { options, server: hub.hubUrl });
      await run();
      const full = await tab.evaluate(() => window.storeTab!.finish());
      expect(full.complete).toBe(false);
      expect(full.error).toMatch(/is full: \d MB more are needed for acme\/tiny/);
      const [info] = await tab.evaluate(() => window.storeTab!.list());
      expect(info!.storedBytes).toBeGreaterThan(1_000_000);
      await tab.evaluate(() => window.storeTab!.closeEntry());
      await tab.setQuota!(origin);
      await run();
      const outcome = await tab.evaluate(() => window.storeTab!.finish());
      expect(outcome).toMatchObject({ complete: true, verified: 'hub' });
      expect(outcome.fetchedBytes).toBeLessThan(TOTAL_BYTES - 1_000_000);
      expect(await tab.evaluate(() => window.storeTab!.wrongFiles())).toEqual([]);
    } finally {
      await browser.close();
      profile.remove();
    }
  });
});

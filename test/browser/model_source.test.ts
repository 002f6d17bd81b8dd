/** The way from a hub to bytes in real browsers: kept in OPFS, gone on with after a tab is gone, and without room. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openDirectory } from '../../src/node/file_source';
import { openCheckpoint } from '../../src/stream/open_checkpoint';
import { HUB_MODEL, type HubServer, startHub } from '../servers/hub_server';
import { expectedFiles } from '../stream/stored_bytes';
import { poll } from './launch';
import type {} from './model_source';
import { startDevServer, type TestServer } from './servers';
import { launchTabs, type Tab, type TabsBrowser, temporaryProfile } from './tabs';

const folder = new URL('../fixtures/vectors/dense-bf16/', import.meta.url).pathname;

let server: TestServer;
let hub: HubServer;
let expected: Record<string, string>;
beforeAll(async () => {
  server = await startDevServer();
  const checkpoint = await openCheckpoint(await openDirectory(folder));
  const files = await expectedFiles(checkpoint);
  expected = Object.fromEntries([...files].map(([name, bytes]) => [name, createHash('sha256').update(bytes).digest('hex')]));
  for (const source of checkpoint.sources.values()) source.close();
});
afterAll(() => server.close());

beforeEach(async () => {
  const names = readdirSync(folder).filter((name) => !name.startsWith('expected'));
  hub = await startHub(new Map(names.map((name) => [name, new Uint8Array(readFileSync(join(folder, name)))])));
});
afterEach(() => hub.close());

describe.each(['chromium', 'firefox'] as const)('a model source in %s', (name) => {
  const profile = temporaryProfile();
  let browser: TabsBrowser;
  beforeAll(async () => {
    browser = await launchTabs(name, profile.folder);
  });
  afterAll(async () => {
    await browser.close();
    profile.remove();
  });

  async function newTab(): Promise<Tab> {
    const tab = await browser.newTab();
    await tab.open(`${server.url}test/browser/model_source.html`);
    await poll('the page', () => tab.evaluate(() => (window.modelSource ? true : undefined)));
    return tab;
  }
  const open = (tab: Tab) => tab.evaluate(([ref, hubUrl]) => window.modelSource.open(ref!, hubUrl!), [HUB_MODEL, hub.hubUrl]);
  const digests = (tab: Tab) => tab.evaluate(() => window.modelSource.digests());

  test('answers while it downloads, and the second start makes no request', async () => {
    const first = await newTab();
    expect(await open(first)).toMatchObject({ home: 'opfs', downloads: true });
    expect(await digests(first)).toEqual(expected);
    expect(await first.evaluate(() => window.modelSource.finish())).toBeUndefined();
    await first.close();
    hub.log.length = 0;
    const second = await newTab();
    const found = await open(second);
    expect(found).toMatchObject({ home: 'opfs', downloads: false, storedBytes: found.neededBytes });
    expect(await digests(second)).toEqual(expected);
    expect(hub.log).toEqual([]);
    await second.close();
  });

  test('goes on where a tab that is gone left off', async () => {
    hub.bytesPerSecond = 700_000;
    const first = await newTab();
    await open(first);
    await poll('some bytes', async () => {
      const { storedBytes } = await first.evaluate(() => window.modelSource.look());
      return storedBytes > 400_000 ? true : undefined;
    });
    await first.close();
    hub.bytesPerSecond = undefined;
    hub.expireSignatures(); // what the first tab still had on its way gets no bytes, and counts for none
    hub.log.length = 0;
    const second = await newTab();
    expect(await open(second)).toMatchObject({ downloads: true });
    expect(await digests(second)).toEqual(expected);
    expect(await second.evaluate(() => window.modelSource.finish())).toBeUndefined();
    expect(hub.bytesSent()).toBeLessThan(1_750_000 - 300_000);
    expect(hub.log.filter(({ path }) => path.includes('/api/'))).toEqual([]);
    await second.close();
  });

  test.runIf(name === 'chromium')('reads from the network what the quota has no room for', async () => {
    const tab = await newTab();
    const origin = new URL(server.url).origin;
    await tab.setQuota!(origin, 5_000_000); // what the tests before stored is in it
    const opened = await open(tab);
    expect(await digests(tab)).toEqual(expected);
    const failure = await tab.evaluate(() => window.modelSource.finish());
    const { why, home } = await tab.evaluate(() => window.modelSource.look());
    console.log({ opened, failure, why, home });
    expect(why).toMatch(/network each time/);
    await tab.evaluate(() => window.modelSource.close());
    await tab.close();
  });
});

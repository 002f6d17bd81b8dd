/**
 * A mixture whose store does not fit what the browser grants: that is asked first, so next to nothing of it is stored, and the experts that a
 * token chooses come straight out of the original shards, each by its own ranges and no neighbour's.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type FileContent, HUB_MODEL, type HubServer, startHub } from '../servers/hub_server';
import { poll } from './launch';
import { startDevServer, type TestServer } from './servers';
import { promptOf, shapesOf, syntheticFiles } from './streaming_models';
import { ok, StreamingPage } from './streaming_page';
import { launchTabs, type Tab, type TabsBrowser, temporaryProfile } from './tabs';

const prompt = promptOf(12);
const replyTokens = 8;
const experts = 64;
const shapes = {
  ...shapesOf({ layers: 4, hiddenSize: 256 }),
  moe: { experts, chosen: 4, intermediateSize: 128, sharedIntermediateSize: 128, renormalised: true },
};
/** Less than the store has. */
const quotaBytes = 5_000_000;

type Stack = { begin: number; end: number; expertBytes: number };

/** Where experts lie one behind the other in a shard. */
function stacksOf(shard: Uint8Array): Stack[] {
  const headerBytes = Number(new DataView(shard.buffer, shard.byteOffset).getBigUint64(0, true));
  const header: Record<string, { data_offsets: [number, number] }> = JSON.parse(
    new TextDecoder().decode(shard.subarray(8, 8 + headerBytes)),
  );
  return Object.entries(header)
    .filter(([tensor]) => /\.(switch_mlp|experts)\./.test(tensor))
    .map(([, { data_offsets: offsets }]) => {
      const [begin, end] = offsets.map((offset) => 8 + headerBytes + offset) as [number, number];
      return { begin, end, expertBytes: (end - begin) / experts };
    });
}

let server: TestServer;
beforeAll(async () => {
  server = await startDevServer();
});
afterAll(() => server.close());

describe.each([
  { naming: 'mlx', bits: 4, what: 'a tensor for each matrix' },
  { naming: 'original', bits: 16, what: 'gate and up in one' },
] as const)('experts of the $naming naming ($what)', ({ naming, bits }) => {
  const profile = temporaryProfile();
  let files: Map<string, FileContent>;
  let hub: HubServer;
  let browser: TabsBrowser;
  let tab: Tab;
  let page: StreamingPage;
  beforeAll(async () => {
    files = syntheticFiles({ shapes, bits, naming });
    hub = await startHub(files);
    browser = await launchTabs('chromium', profile.folder, { gpu: true });
    tab = await browser.newTab();
    page = await StreamingPage.open(tab, server.url, HUB_MODEL, { hubUrl: hub.hubUrl, contextTokens: 128 });
  });
  afterAll(async () => {
    await browser?.close();
    await hub?.close();
    profile.remove();
  });
  const answer = async () => {
    const { text, logprobs } = await page.ask(prompt, replyTokens, 1);
    return { text, logprobs };
  };

  let gpuBudget = 0;
  let stored: Awaited<ReturnType<typeof answer>>;

  test('with room for all of it a reply makes no request', async () => {
    const whole = ok(await page.plan({ gpuBudget: '4GB' }));
    gpuBudget = whole.smallestBudgetBytes + Math.floor(whole.weightBytes / 4);
    const { experts: pool, disk } = await page.load({ gpuBudget });
    expect(pool!.slots).toBeLessThan(pool!.of);
    expect(disk.storedBytes).toBe(disk.neededBytes);
    hub.log.length = 0;
    stored = await answer();
    expect(stored.logprobs).toHaveLength(replyTokens);
    expect(hub.log).toEqual([]);
    await page.unload();
    await page.empty();
  });

  const loads = [
    { how: 'a full disk', home: 'opfs', more: {} },
    { how: 'no storage at all', home: 'none', more: { storage: 'none' } },
  ] as const;
  test.each(loads)('$how: the same reply to the bit, and chosen experts alone are fetched', async ({ home, more }) => {
    await tab.setQuota!(new URL(server.url).origin, quotaBytes);
    const { disk } = await page.load({ gpuBudget, ...more });
    expect(disk.home).toBe(home);
    if (home === 'opfs') {
      expect(disk.why).toMatch(/full.*from the network each time/);
      expect(disk.storedBytes).toBeLessThan(disk.neededBytes);
    }
    const kept = await poll('the end of the download', async () => {
      const before = hub.bytesSent();
      await new Promise((resolve) => setTimeout(resolve, 500));
      return hub.bytesSent() === before ? page.list() : undefined;
    });
    if (home === 'opfs') expect(kept).toMatchObject([{ complete: false }]);
    hub.log.length = 0;
    expect(await answer()).toEqual(stored);
    const fetched = new Set<string>();
    for (const { file, range, host } of hub.log) {
      if (host !== 'cdn' || file === undefined) continue;
      expect(range?.end).toBeDefined(); // never a whole file
      const { start, end } = range as { start: number; end: number };
      const name = file.split('/').at(-1)!;
      const stack = stacksOf(files.get(name) as Uint8Array).find((one) => start < one.end && end > one.begin);
      if (!stack) continue;
      const expert = Math.floor((start - stack.begin) / stack.expertBytes);
      expect(start).toBeGreaterThanOrEqual(stack.begin);
      expect(end).toBeLessThanOrEqual(stack.begin + (expert + 1) * stack.expertBytes);
      fetched.add(`${name} ${stack.begin} ${expert}`);
    }
    expect(fetched.size).toBeGreaterThan(0);
    const all = [...files]
      .filter(([name]) => name.endsWith('.safetensors'))
      .flatMap(([, shard]) => stacksOf(shard as Uint8Array));
    expect(fetched.size).toBeLessThan(all.length * experts);
    console.log(naming, home, {
      requests: hub.log.length,
      fetched: fetched.size,
      of: all.length * experts,
      sent: hub.bytesSent(),
    });
    expect(await page.unhandled()).toEqual([]);
    await page.unload();
    await page.empty();
    await tab.setQuota!(new URL(server.url).origin);
  });
});

/**
 * What a reply under streaming leaves behind in Chromium, weights in the private file system: nothing. With SLUICE_LONG after 500 tokens. What
 * lives is asked of V8 itself (`Runtime.queryObjects`, after a collection) in every worker; which files are open, of Linux.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import puppeteer, { type Browser, type CDPSession, type Page } from 'puppeteer-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findBrowsers } from '../../scripts/browsers.mjs';
import { startHub } from '../servers/hub_server';
import { CHROMIUM_FLAGS, EVALUATE_LIMIT_MS } from './launch';
import { MemoryProbe } from './memory_probe';
import { startDevServer } from './servers';
import { promptOf, shapesOf, syntheticFiles } from './streaming_models';
import { ok, StreamingPage } from './streaming_page';
import { puppeteerTab, temporaryProfile } from './tabs';

const tokens = process.env.SLUICE_LONG === '1' ? 500 : 120;

const closing: (() => unknown)[] = [];
const profile = temporaryProfile();
let browser: Browser;
let page: Page;
let model: StreamingPage;
beforeAll(async () => {
  const server = await startDevServer();
  const files = syntheticFiles({ shapes: shapesOf({ layers: 4, hiddenSize: 128, vocabSize: 512 }), bits: 4 });
  const hub = await startHub(files, new Map([['acme/model', files]]));
  browser = await puppeteer.launch({
    executablePath: findBrowsers().chromium!.path,
    userDataDir: profile.folder,
    args: CHROMIUM_FLAGS,
    protocolTimeout: EVALUATE_LIMIT_MS,
  });
  closing.push(
    () => server.close(),
    () => hub.close(),
    () => browser.close(),
    () => profile.remove(),
  );
  page = await browser.newPage();
  model = await StreamingPage.open(puppeteerTab(page), server.url, 'acme/model', { hubUrl: hub.hubUrl, contextTokens: 640 });
}, 120_000);
afterAll(async () => {
  for (const close of closing.reverse()) await close();
});

type Living = { buffers: number; bytes: number; pendingMaps: number; bindGroups: number; handles: number };

/** In all workers together. */
async function living(): Promise<Living> {
  const all = await Promise.all(page.workers().map(({ client }) => livingIn(client)));
  const sum = (of: keyof Living) => all.reduce((total, each) => total + each[of], 0);
  return {
    ...{ buffers: sum('buffers'), bytes: sum('bytes'), pendingMaps: sum('pendingMaps') },
    ...{ bindGroups: sum('bindGroups'), handles: sum('handles') },
  };
}

async function livingIn(worker: CDPSession): Promise<Living> {
  const buffers = '{ buffers: this.length, bytes: this.reduce((sum, { size }) => sum + size, 0), ';
  const pending = "pendingMaps: this.filter(({ mapState }) => mapState === 'pending').length }";
  const length = 'this.length';
  return {
    ...((await ofInstances(worker, 'GPUBuffer', `(${buffers}${pending})`)) as Pick<Living, 'buffers' | 'bytes' | 'pendingMaps'>),
    bindGroups: (await ofInstances(worker, 'GPUBindGroup', length)) as number,
    handles: (await ofInstances(worker, 'FileSystemSyncAccessHandle', length)) as number,
  };
}

/** What `expression` says of an array of all instances. */
async function ofInstances(worker: CDPSession, name: string, expression: string): Promise<unknown> {
  const objectGroup = 'living';
  const { result } = await worker.send('Runtime.evaluate', { expression: `${name}.prototype`, objectGroup });
  const { objects } = await worker.send('Runtime.queryObjects', { prototypeObjectId: result.objectId!, objectGroup });
  const functionDeclaration = `function () { return ${expression}; }`;
  const answer = await worker.send('Runtime.callFunctionOn', {
    functionDeclaration,
    objectId: objects.objectId!,
    returnByValue: true,
  });
  await worker.send('Runtime.releaseObjectGroup', { objectGroup });
  return answer.result.value;
}

/** Of the private file system's, in every process of the browser. */
function openFiles(): number {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .flatMap((pid) => {
      try {
        return readdirSync(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`));
      } catch {
        return []; // gone, or somebody else's
      }
    })
    .filter((target) => target.startsWith(profile.folder) && /File System.*\/\d{8}$/.test(target)).length;
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

describe.runIf(process.platform === 'linux')('in chromium', () => {
  test(`${tokens} tokens under streaming: GPU buffers, heap, handles, open files and pending maps stay as they are`, async () => {
    const probe = await MemoryProbe.open(browser, page);
    const { smallestBudgetBytes } = ok(await model.plan({}));
    const plan = await model.load({ gpuBudget: smallestBudgetBytes });
    expect(plan.streamedBytesPerToken).toBeGreaterThan(0.8 * plan.weightBytes);
    const settled = async () => {
      const { heap, buffers } = await probe.settled();
      return { exact: { ...(await living()), openFiles: openFiles() }, heap, buffers };
    };
    await model.ask(promptOf(20), 40);
    const warm = await settled();
    const { timings } = await model.ask(promptOf(20), tokens);
    const after = await settled();
    console.log(JSON.stringify({ warm, after }));
    expect(timings!.decodeTokens).toBeGreaterThan(0.9 * tokens);
    expect(after.exact).toEqual(warm.exact);
    const { peakGpuBytes } = await model.info();
    expect(after.exact).toMatchObject({ bytes: peakGpuBytes, pendingMaps: 0 });
    expect(peakGpuBytes).toBeLessThanOrEqual(smallestBudgetBytes);
    expect(Math.min(after.exact.handles, after.exact.openFiles)).toBeGreaterThan(2);
    // Code that V8 has compiled by then: later replies of as many tokens add a tenth of what the first does.
    expect(after.heap - warm.heap).toBeLessThan(5e5);
    expect(after.buffers - warm.buffers).toBeLessThan(1e5);
    await model.unload();
    await expect.poll(openFiles).toBe(0);
  }, 600_000);
});

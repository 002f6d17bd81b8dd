/** What the browser offers to a worker, by asking for it, never by its name. */
import { type Context, type Outcome, storageEstimate } from '../context';
import { ownFolder, removeLeftovers } from '../folder';
import type { BrowserFacts } from '../report';

type Hints = { deviceMemory?: number };

export async function checkBrowser(_: Context): Promise<Outcome<BrowserFacts>> {
  const { userAgent, hardwareConcurrency } = navigator;
  const { quota, usage } = await storageEstimate();
  const persisted = await navigator.storage?.persisted?.().catch(() => undefined);
  const has = await offered();
  const facts: BrowserFacts = {
    userAgent,
    secureContext: isSecureContext,
    crossOriginIsolated: self.crossOriginIsolated ?? false,
    has,
    wgslFeatures: [...(navigator.gpu?.wgslLanguageFeatures ?? [])].sort(),
    logicalCores: hardwareConcurrency,
    deviceMemoryGB: (navigator as Hints).deviceMemory,
    storage: { quotaBytes: quota, usageBytes: usage, persisted },
  };
  const problems = requirements.filter(([name]) => !has[name]).map(([, problem]) => problem);
  const status = problems.length > 0 ? 'failed' : has.privateFiles ? 'passed' : 'noted';
  const summary = problems[0] ?? (has.privateFiles ? 'Everything that Sluice needs is there.' : NO_FILES);
  return { status, summary, problems, facts };
}

const NO_FILES =
  'The browser keeps no files for this site here (a private window, or storage is switched off): models are fetched anew at every visit.';

/** Without these nothing runs. */
const requirements: [string, string][] = [
  ['webgpu', 'There is no WebGPU in workers here. Chrome or Edge 121+, Safari 26+ or Firefox 147+, on https or localhost.'],
  ['webLocks', 'There are no Web Locks here; every browser with WebGPU has them, unless a protection mode took them away.'],
];

/** Nothing but webgpu and webLocks is needed; the others tell which path Sluice takes. */
async function offered(): Promise<Record<string, boolean>> {
  const files = await privateFiles();
  return {
    webgpu: 'gpu' in navigator && navigator.gpu !== undefined,
    webLocks: 'locks' in navigator,
    webAssembly: typeof WebAssembly === 'object',
    sharedArrayBuffer: typeof SharedArrayBuffer === 'function',
    broadcastChannel: typeof BroadcastChannel === 'function',
    byteStreams: byteStreams(),
    privateFiles: files,
    createWritable: typeof FileSystemFileHandle === 'function' && 'createWritable' in FileSystemFileHandle.prototype,
  };
}

function byteStreams(): boolean {
  try {
    new ReadableStream({ type: 'bytes' }).getReader({ mode: 'byob' }).releaseLock();
    return true;
  } catch {
    return false; // asking is the only way to know
  }
}

/** Some private windows give a directory and refuse its files, so a file is made. */
async function privateFiles(): Promise<boolean> {
  const name = 'files';
  try {
    await removeLeftovers();
    const folder = await ownFolder();
    (await folder.open(name, { create: true })).close();
    await folder.remove(name);
    return true;
  } catch {
    return false; // as above
  }
}

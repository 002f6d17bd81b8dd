/**
 * What a page in Chromium holds, seen from outside: V8 heaps and array buffers through the DevTools protocol, private memory of the
 * renderer from Linux.
 */
import { readFileSync } from 'node:fs';
import type { Browser, CDPSession, Page } from 'puppeteer-core';

/** Bytes. `heap`: used V8 heap, of page and workers together; `buffers`: what their ArrayBuffers hold. */
export type Held = { heap: number; buffers: number; privateBytes: number; sharedBytes: number; gpuProcessBytes: number };

const everyMs = 100;

export class MemoryProbe {
  readonly #page: Page;
  readonly #session: CDPSession;
  /** The browser's. */
  readonly #system: CDPSession;

  /** Before the page starts a worker. */
  static async open(browser: Browser, page: Page): Promise<MemoryProbe> {
    // Puppeteer watches the network of workers too, and for that the renderer keeps up to 200 MB of what they fetched.
    page.on('workercreated', ({ client }) => void client.send('Network.disable').catch(() => {}));
    return new MemoryProbe(page, await page.createCDPSession(), await browser.target().createCDPSession());
  }

  private constructor(page: Page, session: CDPSession, system: CDPSession) {
    this.#page = page;
    this.#session = session;
    this.#system = system;
  }

  /** After a garbage collection everywhere, twice: what the first one finalises frees more in the second. */
  async settled(): Promise<Held> {
    for (let i = 0; i < 2; i++) {
      for (const session of this.#sessions()) await session.send('HeapProfiler.collectGarbage');
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    return this.held();
  }

  async held(): Promise<Held> {
    const usages = await Promise.all(this.#sessions().map(heapUsage));
    const { renderer, gpu } = await this.#processes();
    return {
      heap: usages.reduce((sum, { usedSize }) => sum + usedSize, 0),
      buffers: usages.reduce((sum, { backingStorageSize }) => sum + backingStorageSize, 0),
      privateBytes: renderer.private,
      sharedBytes: renderer.shared,
      gpuProcessBytes: gpu.private + gpu.shared,
    };
  }

  /** Samples while `work` runs: the most of each that was seen, and of heap and buffers together. */
  async during<T>(work: () => Promise<T>): Promise<{ result: T; peak: Held; jsPeak: number; samples: number }> {
    const seen: Held[] = [];
    let over = false;
    const sampling = (async () => {
      while (!over) {
        const next = Date.now() + everyMs;
        seen.push(await this.held());
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, next - Date.now())));
      }
    })();
    try {
      const result = await work();
      over = true;
      await sampling;
      const most = (bytes: (held: Held) => number) => Math.max(...seen.map(bytes));
      const uses = Object.keys(seen[0]!) as (keyof Held)[];
      const peak = Object.fromEntries(uses.map((use) => [use, most((held) => held[use])])) as Held;
      return { result, peak, jsPeak: most(({ heap, buffers }) => heap + buffers), samples: seen.length };
    } finally {
      over = true;
      await sampling.catch(() => {}); // the browser may be gone, and that is what `work` says
    }
  }

  #sessions(): CDPSession[] {
    return [this.#session, ...this.#page.workers().map(({ client }) => client)];
  }

  async #processes(): Promise<{ renderer: Memory; gpu: Memory }> {
    const { processInfo } = await this.#system.send('SystemInfo.getProcessInfo');
    const sum = (type: string) =>
      processInfo
        .filter((process) => process.type === type)
        .map(({ id }) => memoryOf(id))
        .reduce((a, b) => ({ private: a.private + b.private, shared: a.shared + b.shared }), { private: 0, shared: 0 });
    return { renderer: sum('renderer'), gpu: sum('GPU') };
  }
}

type Usage = { usedSize: number; backingStorageSize: number };

/** A worker that ends meanwhile holds nothing. */
async function heapUsage(session: CDPSession): Promise<Usage> {
  try {
    const { usedSize, backingStorageSize = 0 } = (await session.send('Runtime.getHeapUsage')) as Partial<Usage> & {
      usedSize: number;
    };
    return { usedSize, backingStorageSize };
  } catch {
    return { usedSize: 0, backingStorageSize: 0 };
  }
}

type Memory = { private: number; shared: number };

function memoryOf(pid: number): Memory {
  const lines = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const bytes = (name: string) => Number(new RegExp(`^${name}: +(\\d+) kB`, 'm').exec(lines)?.[1] ?? 0) * 1024;
  return {
    private: bytes('Private_Clean') + bytes('Private_Dirty'),
    shared: bytes('Shared_Clean') + bytes('Shared_Dirty'),
  };
}

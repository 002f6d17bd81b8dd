/** The page for Safari on a Mac, in Firefox as the nearest engine there is here (neither subgroups nor f16), and in Chromium. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { accessibilityProblems } from './axe';
import { type BrowserName, browserTitles, launch, poll, type TestPage } from './launch';
import { repository, startStaticServer, type TestServer } from './servers';
import { slowDown } from './slow_server';

const safari =
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15';

let server: TestServer;
beforeAll(async () => {
  server = await startStaticServer({ folder: join(repository, 'dist/site'), basePath: '/a/b/' });
});
afterAll(() => server.close());

const names: BrowserName[] = ['firefox', 'chromium'];

describe.each(names)('the page for Safari in %s', (name) => {
  let page: TestPage;
  beforeAll(async () => {
    page = await launch(name);
  });
  afterAll(() => page?.close());

  test(`${browserTitles[name]}: a conversation with the story model`, async () => {
    await arrive(page);
    await page.evaluate(async () => {
      // As a tab of an earlier version left it.
      await (await navigator.storage.getDirectory()).getFileHandle('sluice-probe', { create: true });
    });
    await page.prepare(`if (globalThis.FileSystemDirectoryHandle) {
      const { getFileHandle } = FileSystemDirectoryHandle.prototype;
      window.folders = [];
      FileSystemDirectoryHandle.prototype.getFileHandle = function (...rest) {
        window.folders.push(this.name);
        return getFileHandle.apply(this, rest);
      };
    }`);
    await arrive(page);
    expect(await statuses(page)).toEqual({ address: 'passed', lockdown: 'passed', webgpu: 'passed', files: 'passed' });
    expect(await inPrivateFiles(page), 'nothing beside the one folder, not even of an earlier visit').toEqual(['sluice']);
    expect(await page.evaluate(() => (window as unknown as { folders: string[] }).folders)).toEqual(['doctor']);
    const notice = await page.evaluate(async () => {
      const link = document.querySelector<HTMLAnchorElement>('[data-testid=story-licence] a')!;
      return { shown: link.checkVisibility(), text: await (await fetch(link.href)).text() };
    });
    expect(notice).toEqual({ shown: true, text: expect.stringContaining('CDLA-Sharing-1.0') });
    expect(page.requests.filter((url) => url.includes('safetensors'))).toEqual([]); // shown before anything is downloaded
    await page.evaluate(() => {
      document.querySelector<HTMLInputElement>('input[value=bundled]')!.click();
      document.querySelector<HTMLButtonElement>('#start')!.click();
    });
    await reach(page, 'running');
    await page.evaluate(() => {
      document.querySelector<HTMLTextAreaElement>('#message')!.value = 'robot';
      document.querySelector<HTMLButtonElement>('#send')!.click();
    });
    await poll('the reply', () => page.evaluate(() => document.querySelector('#rate')!.textContent || undefined));
    const said = await page.evaluate(() => document.querySelector('#log li:last-child p')!.textContent);
    expect(said).toMatch(/^\w+ \w+ .*[.!?]/s);
    expect(page.errors).toEqual([]);
  });

  test('a question that got no answer is not asked again with the next one', async () => {
    const words = await said(page, 'robot '.repeat(4000));
    expect(words).toContain('context');
    expect(await said(page, 'robot')).toMatch(/^\w+ \w+ .*[.!?]/s);
  });

  test('the next visit says that the model is here, and after an eviction that it is gone', async () => {
    await arrive(page, await page.evaluate(() => location.hash));
    expect(await kept(page)).toBe('ready');
    await page.evaluate(async () => {
      localStorage.clear(); // Safari deletes everything at once; the address stays
      const root = await navigator.storage.getDirectory();
      await root.removeEntry('sluice', { recursive: true });
    });
    await arrive(page, await page.evaluate(() => location.hash));
    expect(await kept(page)).toBe('evicted');
  });

  test('a download that a closed page broke off is told, and goes on from there', async () => {
    const slow = await slowDown(server, 600_000); // of each connection
    try {
      await arrive(page, '', 'ready', slow.url);
      await page.evaluate(() => {
        document.querySelector<HTMLInputElement>('input[value=bundled]')!.click();
        document.querySelector<HTMLButtonElement>('#start')!.click();
      });
      await poll('a part of it', async () => slow.sentBytes > 4e6 || undefined);
      const hash = await page.evaluate(() => location.hash);
      await arrive(page, hash, 'ready', slow.url);
      const { text, button } = await page.evaluate(() => ({
        text: document.querySelector('#kept-text')!.textContent,
        button: document.querySelector('#start')!.textContent,
      }));
      expect(text).toMatch(/^\d\.\d of 7\.\d MB are here; the download goes on from there\./);
      expect(button).toBe('Go on with the download');
      const sent = slow.sentBytes;
      slow.bytesPerSecond = 1e9;
      await page.evaluate(() => document.querySelector<HTMLButtonElement>('#start')!.click());
      await reach(page, 'running');
      expect(slow.sentBytes - sent).toBeLessThan(6e6);
    } finally {
      await slow.close();
    }
  });

  test('that another model is kept here explains no download', async () => {
    await pretend(page);
    await arrive(page);
    const press = (choice: string) =>
      page.evaluate((value) => {
        document.querySelector<HTMLInputElement>(`input[value=${value}]`)!.click();
        document.querySelector<HTMLButtonElement>('#start')!.click();
      }, choice);
    await press('bundled');
    await reach(page, 'running');
    await arrive(page, await page.evaluate(() => location.hash));
    expect(await kept(page)).toBe('ready');
    await press('picked');
    expect(await page.evaluate(() => document.querySelector<HTMLElement>('#explain')!.hidden)).toBe(false);
  });

  test('a large download is explained first in Safari, and nothing is asked for until then', async () => {
    await pretend(page);
    await arrive(page);
    const before = page.requests.length;
    await page.evaluate(() => {
      document.querySelector<HTMLInputElement>('input[name=memory][value="16"]')!.click();
      document.querySelector<HTMLInputElement>('input[value=picked]')!.click();
      document.querySelector<HTMLButtonElement>('#start')!.click();
    });
    const shown = await page.evaluate(() => ({
      text: document.querySelector<HTMLElement>('#explain:not([hidden])')?.textContent?.replaceAll(/\s+/g, ' '),
      focus: document.activeElement?.id,
      budget: document.querySelector('#budget-note')!.textContent,
      licence: document.querySelector('#picked-licence')!.textContent,
      card: document.querySelector<HTMLAnchorElement>('#picked-licence a')!.href,
    }));
    expect(shown.text).toMatch(/2\.4 GB.*seven days.*Add to Dock.*storage of its own/);
    expect(shown.focus).toBe('explain');
    expect(shown.budget).toContain('at most 4.0 GB');
    expect(shown.licence).toBe('Qwen3.5 4B: licence Apache-2.0. Checked with: vectors only.');
    expect(shown.card).toBe('https://huggingface.co/mlx-community/Qwen3.5-4B-MLX-4bit');
    expect(page.requests.slice(before)).toEqual([]);
    await page.evaluate(() => document.querySelector<HTMLButtonElement>('#later')!.click());
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('start');
  });

  test('without WebGPU and what Lockdown Mode takes, it names Lockdown Mode and offers no start', async () => {
    await page.prepare("Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined });");
    await page.prepare('for (const name of ["RTCPeerConnection", "FileReader"]) delete globalThis[name];');
    await arrive(page, '', 'unable');
    expect(await statuses(page)).toMatchObject({ lockdown: 'failed', webgpu: 'failed' });
    expect(await page.evaluate(() => document.querySelector<HTMLElement>('#choose')!.hidden)).toBe(true);
  });
});

describe('to look at, in Chromium', () => {
  let page: TestPage;
  beforeAll(async () => {
    page = await launch('chromium');
    await pretend(page);
    await arrive(page);
    await page.evaluate(() => document.querySelector<HTMLButtonElement>('#start')!.click());
  });
  afterAll(() => page?.close());

  test.each(['light', 'dark'] as const)('looks right and is accessible, %s', async (scheme) => {
    await page.setColorScheme(scheme);
    mkdirSync(join(repository, 'test/screenshots'), { recursive: true });
    for (const width of [390, 900, 1600]) {
      await page.setViewport({ width, height: 1000 });
      await page.screenshot(join(repository, `test/screenshots/safari-${width}-${scheme}.png`));
      await page.evaluate(() => scrollTo(0, 0));
      await page.screenshot(join(repository, `test/screenshots/safari-top-${width}-${scheme}.png`));
      await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      expect({ width, overflow }).toEqual({ width, overflow: 0 });
    }
    expect(await accessibilityProblems(page)).toEqual([]);
  });
});

/** Answers what the page asks the browser as Safari would, before the page asks. */
async function pretend(page: TestPage): Promise<void> {
  await page.prepare(`Object.defineProperty(Navigator.prototype, 'userAgent', { get: () => ${JSON.stringify(safari)} });`);
}

async function arrive(page: TestPage, hash = '', state = 'ready', from = server.url): Promise<void> {
  await page.open('about:blank'); // a change of the hash alone would load nothing
  await page.open(`${from}demo/safari.html${hash}`);
  await reach(page, state);
}

async function reach(page: TestPage, state: string): Promise<void> {
  const there = () => page.evaluate((name) => document.documentElement.dataset.state === name || undefined, state);
  await poll(state, there, { timeoutMs: 60_000, everyMs: 50 }).catch(async (error: Error) => {
    const at = await page.evaluate(() => document.querySelector('#run-state')?.textContent);
    throw new Error(`${error.message}; it was at: ${at}. ${page.errors.join('; ')}`);
  });
}

/** Asks, and waits for the end. @returns the last words of the conversation. */
async function said(page: TestPage, question: string): Promise<string> {
  await page.evaluate((text) => {
    document.querySelector<HTMLTextAreaElement>('#message')!.value = text;
    document.querySelector<HTMLButtonElement>('#send')!.click();
  }, question);
  await poll('the reply', () => page.evaluate(() => document.documentElement.dataset.busy === 'false' || undefined));
  return page.evaluate(() => document.querySelector('#log li:last-child p')!.textContent!);
}

const inPrivateFiles = (page: TestPage): Promise<string[]> =>
  page.evaluate(async () => {
    const names: string[] = [];
    const root = (await navigator.storage.getDirectory()) as unknown as AsyncIterable<[string, FileSystemHandle]>;
    for await (const [name] of root) names.push(name);
    return names;
  });

const kept = (page: TestPage) => page.evaluate(() => document.querySelector<HTMLElement>('#kept')!.dataset.kept);

function statuses(page: TestPage): Promise<Record<string, string>> {
  return page.evaluate(() =>
    Object.fromEntries(
      Array.from(document.querySelectorAll<HTMLElement>('[data-condition]'), (row) => [
        row.dataset.condition!,
        row.dataset.status!,
      ]),
    ),
  );
}

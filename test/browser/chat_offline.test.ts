/** The built page as an app: starts without a network, keeps nothing but its own files, and never mixes two builds. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findBrowsers } from '../../scripts/browsers.mjs';
import { CHROMIUM_FLAGS, poll } from './launch';
import { repository, startDevServer, startStaticServer, type TestServer } from './servers';

const folder = mkdtempSync(join(tmpdir(), 'sluice-site-'));
let server: TestServer;
let browser: Browser;
let context: BrowserContext;
let page: Page;
beforeAll(async () => {
  cpSync(join(repository, 'dist/site'), folder, { recursive: true });
  server = await startStaticServer({ folder, basePath: '/some/path/' });
  browser = await chromium.launch({ executablePath: findBrowsers().chromium!.path, args: CHROMIUM_FLAGS });
  context = await browser.newContext();
  page = await context.newPage();
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
  rmSync(folder, { recursive: true, force: true });
});

test('the first visit keeps the files of the page, and neither weights nor anything else', async () => {
  await open();
  await page.evaluate(() => localStorage.setItem('sluice.settings', JSON.stringify({ seed: 1, maxTokens: 40 })));
  await poll('the worker', () =>
    page.evaluate(async () => (await navigator.serviceWorker.getRegistration())?.active?.state === 'activated' || undefined),
  );
  const kept = await cachedPaths();
  expect(kept).toContain('/some/path/');
  expect(kept.some((path) => path.includes('engine.worker'))).toBe(true);
  expect(kept.filter((path) => /(?:doctor|bench|safari|embed)[\w.]*-[\w-]+\.(?:js|css)$/.test(path))).toEqual([]);
  expect(kept.filter((path) => !/^\/some\/path\/($|assets\/|icon-|manifest)/.test(path))).toEqual([]);
});

test('the browser can install it as an app', async () => {
  const devtools = await context.newCDPSession(page);
  const { errors, data } = await devtools.send('Page.getAppManifest');
  const { installabilityErrors } = await devtools.send('Page.getInstallabilityErrors');
  expect({ errors, display: JSON.parse(data!).display }).toEqual({ errors: [], display: 'standalone' });
  // This context is a private window's, in which nothing can be installed.
  expect(installabilityErrors.map(({ errorId }) => errorId).filter((id) => id !== 'in-incognito')).toEqual([]);
});

test('without a network the page starts, loads its model and answers', async () => {
  await open(); // from the copy: the page is the worker's now
  await context.setOffline(true);
  await open();
  await ask('Tell me a story about a fox.');
  await context.setOffline(false);
  expect((await page.getByTestId('reply-text').last().textContent())!.length).toBeGreaterThan(20);
});

test('ranges, weights and other paths go past the copy', async () => {
  const seen = await page.evaluate(async () => {
    const script = document.querySelector<HTMLScriptElement>('script[type=module]')!.src;
    const ranged = await fetch(script, { headers: { Range: 'bytes=0-9' } });
    const config = await fetch('./demo/model/config.json?fresh');
    return { ranged: ranged.status, config: config.ok };
  });
  expect(seen).toEqual({ ranged: 206, config: true });
  expect((await cachedPaths()).some((path) => path.includes('model/'))).toBe(false);
});

test('what is asked of another origin, as of an endpoint, is asked of it each time and never kept', async () => {
  const other = await startStaticServer({ folder, headers: { 'Access-Control-Allow-Origin': '*', 'Cache-Control': 'no-store' } });
  const path = '/icon-192.png'; // a name that the copy has, too
  const seen = await page.evaluate(async (url) => {
    const controlled = navigator.serviceWorker.controller !== null;
    return [controlled, ...(await Promise.all([0, 1].map(async () => (await fetch(url)).status)))];
  }, new URL(path, other.url).href);
  await other.close();
  expect(seen).toEqual([true, 200, 200]);
  expect(other.asked.filter((asked) => asked === path)).toEqual([path, path]);
  const origins = await page.evaluate(async () => {
    const caught = await Promise.all((await caches.keys()).map(async (name) => (await caches.open(name)).keys()));
    return [...new Set(caught.flat().map(({ url }) => new URL(url).origin))];
  });
  expect(origins).toEqual([new URL(server.url).origin]);
});

test('a new build waits until no reply is running, the old page keeps its own files, and one press updates', async () => {
  const gone = readdirSync(join(folder, 'assets')).filter((name) => /markdown_stream|engine\.worker/.test(name));
  expect(gone).toHaveLength(2);
  publish('second');
  for (const name of gone) rmSync(join(folder, 'assets', name));
  await open(); // still the first build, whose files are gone from the host
  expect(await page.title()).not.toContain('second');
  await send('Tell me a story about a boat.');
  await page.evaluate(async () => (await navigator.serviceWorker.getRegistration())!.update().catch(() => {}));
  expect(await page.locator('#notice').isVisible()).toBe(false);
  await replied();
  // A build whose files are not all there is not installed.
  expect(await page.evaluate(async () => (await navigator.serviceWorker.getRegistration())!.waiting)).toBe(null);
  cpSync(join(repository, 'dist/site/assets'), join(folder, 'assets'), { recursive: true });
  await send('And a storm.');
  await page.evaluate(async () => (await navigator.serviceWorker.getRegistration())!.update());
  await poll('the new build', () =>
    page.evaluate(async () => (await navigator.serviceWorker.getRegistration())!.waiting !== null || undefined),
  );
  if (await page.evaluate(() => document.body.dataset.busy === 'true'))
    expect(await page.locator('#notice').isVisible()).toBe(false);
  await replied();
  await noticed();
  await page.getByTestId('notice-primary').click();
  await page.waitForFunction(() => document.title.includes('second'));
  await ready();
  await page.getByTestId('turn-user').nth(2).waitFor(); // a page that is slow to go keeps its conversation until it is gone
  expect(await page.getByTestId('turn-user').count()).toBe(3);
  expect(await page.evaluate(async () => (await caches.keys()).length)).toBe(1);
});

test('while another tab shows the old build, it stays; what else the origin shows has no say', async () => {
  const other = await context.newPage();
  await other.goto(server.url);
  const elsewhere = await context.newPage();
  await elsewhere.goto(new URL('/elsewhere', server.url).href);
  publish('third');
  await offered();
  await page.getByTestId('notice-primary').click();
  await page.waitForFunction(() => document.querySelector('#notice-error')!.textContent!.includes('Other tabs'));
  expect(await other.title()).toContain('second');
  await other.close();
  await page.getByTestId('notice-primary').click();
  await page.waitForFunction(() => document.title.includes('third'));
  await ready();
  await elsewhere.close();
});

test('an update that was put off does not come back with the next reply', async () => {
  publish('fourth');
  await offered();
  await page.getByTestId('notice-secondary').click();
  expect(await page.locator('#notice').isVisible()).toBe(false);
  await ask('And the sea.');
  expect(await page.locator('#notice').isVisible()).toBe(false);
  await open();
  await noticed(); // it waits since before this page began
});

test('in development there is none', async () => {
  const dev = await startDevServer();
  const visit = await context.newPage();
  await visit.goto(dev.url);
  await visit.waitForFunction(() => document.querySelector<HTMLElement>('#composer-form')!.dataset.ready === 'true', null, {
    timeout: 120_000,
  });
  await visit.waitForTimeout(1000);
  expect(await visit.evaluate(async () => (await navigator.serviceWorker.getRegistrations()).length)).toBe(0);
  await dev.close();
});

/** The page has found the build that was published last, and says so. */
async function offered(): Promise<void> {
  await page.evaluate(async () => (await navigator.serviceWorker.getRegistration())!.update());
  await noticed();
}

async function noticed(): Promise<void> {
  await page.waitForFunction(
    () => document.querySelector('#notice-title')!.textContent === 'A new version of this page is ready',
  );
}

/** Another build on the same host: other words on the page, and a worker that says so. */
function publish(name: string): void {
  const edit = (file: string, from: RegExp, to: string) => {
    const text = readFileSync(join(folder, file), 'utf8');
    expect(text).toMatch(from);
    writeFileSync(join(folder, file), text.replace(from, to));
  };
  edit('index.html', /<title>[^<]*/, `<title>Sluice, ${name}`);
  edit('service-worker.js', /"version":"[^"]*"/, `"version":"${name}"`);
}

async function open(): Promise<void> {
  await page.goto(server.url);
  await ready();
}

async function ready(): Promise<void> {
  await page.waitForFunction(() => document.querySelector<HTMLElement>('#composer-form')!.dataset.ready === 'true', null, {
    timeout: 120_000,
  });
}

async function send(text: string): Promise<void> {
  await page.getByTestId('composer').fill(text);
  await page.getByTestId('send').click();
}

async function replied(): Promise<void> {
  await page.waitForFunction(() => document.body.dataset.busy === 'false', null, { timeout: 120_000 });
}

async function ask(text: string): Promise<void> {
  await send(text);
  await replied();
}

function cachedPaths(): Promise<string[]> {
  return page.evaluate(async () => {
    const paths: string[] = [];
    for (const name of await caches.keys()) {
      for (const request of await (await caches.open(name)).keys()) paths.push(new URL(request.url).pathname);
    }
    return paths;
  });
}

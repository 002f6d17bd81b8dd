/** <sluice-chat> on plain pages, with the bundled model: under a strict policy, from a second origin, shared, moved, removed, kept. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { blocksOf } from '../docs/blocks';
import { HUB_MODEL, type HubServer, startHub } from '../servers/hub_server';
import { answered, pageWith, press, problemsOf, RECORDER, see, send, waitFor } from './element_page';
import { browserTitles, launch, poll, type TestPage } from './launch';
import { blobCsp, ownWorkerCsp, STRICT_CSP } from './policies';
import { repository, shared, startStaticServer, type TestServer } from './servers';

const OWN = '/dist/lib/sluice-chat.js';
const CHAT = '<sluice-chat model="/demo/model/" context="256"></sluice-chat>';
const TWO = ['a', 'b']
  .map((id) => `<div><sluice-chat id="${id}" model="/demo/model/" context="256"></sluice-chat></div>`)
  .join('');

const servers: { close(): Promise<void> }[] = [];
let cdn: TestServer;

async function site(pages: Record<string, string>, headers: Record<string, string> = {}): Promise<TestServer> {
  const server = await startStaticServer({ folder: resolve(repository), headers, pages: { 'recorder.js': RECORDER, ...pages } });
  servers.push(server);
  return server;
}

/** Weights that are only kept and never run. */
const SMALL = join(repository, 'test/fixtures/vectors/dense-bf16');

async function smallHub(): Promise<HubServer> {
  const hub = await startHub(new Map(readdirSync(SMALL).map((file) => [file, new Uint8Array(readFileSync(join(SMALL, file)))])));
  servers.push(hub);
  return hub;
}

/** What lies in the page's private file system. */
function filesOf(page: TestPage): Promise<string[]> {
  return page.evaluate(async () => {
    const paths: string[] = [];
    const walk = async (directory: FileSystemDirectoryHandle, path: string): Promise<void> => {
      for await (const [entry, handle] of directory as unknown as AsyncIterable<[string, FileSystemHandle]>) {
        if (handle.kind === 'directory') await walk(handle as FileSystemDirectoryHandle, `${path}${entry}/`);
        else paths.push(`${path}${entry}`);
      }
    };
    await walk(await navigator.storage.getDirectory(), '');
    return paths;
  });
}

beforeAll(async () => {
  cdn = await startStaticServer({ folder: join(repository, 'dist/lib'), headers: shared });
  servers.push(cdn);
});
afterAll(async () => {
  await Promise.all(servers.map((server) => server.close()));
});

describe.each(['chromium', 'firefox'] as const)('<sluice-chat> in %s', (name) => {
  let page: TestPage;
  beforeAll(async () => {
    page = await launch(name);
  });
  afterAll(() => page?.close());

  test(`${browserTitles[name]}: under the strict policy it starts nothing by itself, then holds a conversation without a request`, async () => {
    const server = await site({ 'index.html': pageWith(OWN, CHAT) }, { 'Content-Security-Policy': STRICT_CSP });
    await page.open(server.url);
    const before = await waitFor(page, 'the element', () => true);
    expect(before.state).toBe('idle');
    expect(server.asked.filter((path) => /worker|model/.test(path))).toEqual([]);
    await send(page, 'Tell a story.');
    const first = await waitFor(page, 'a first reply', answered(2));
    const asked = server.asked.length;
    await send(page, 'And then?');
    const second = await waitFor(page, 'a second reply', answered(4));
    expect(server.asked.slice(asked)).toEqual([]);
    for (const { role, text } of second.turns) expect(`${role}: ${text}`).toMatch(/: .*\w/);
    expect(first.parts.status).toBe('Answered on this device');
    expect(second.recorded).toEqual([
      'chat ready: device',
      expect.stringMatching(/^chat done: (length|stop)/),
      expect.stringMatching(/^chat done/),
    ]);
    expect(await page.evaluate(() => [window.token! > 2, window.progress! > 1, crossOriginIsolated])).toEqual([
      true,
      true,
      false,
    ]);
    expect(problemsOf(page)).toEqual([]);
  });

  /** A page with the library as `sluice`, which may connect to these origins besides its own. */
  async function openLibrary(origins: readonly string[]): Promise<void> {
    const policy = STRICT_CSP.replace("connect-src 'self'", `$& ${origins.join(' ')}`);
    const library = "import * as sluice from '/dist/lib/sluice.js'; window.sluice = sluice;";
    const server = await site({ 'index.html': pageWith('api.js', ''), 'api.js': library }, { 'Content-Security-Policy': policy });
    await page.open(server.url);
    await poll('the library', () => page.evaluate(() => ('sluice' in window ? true : undefined)));
  }

  test.runIf(name === 'chromium')('weights come from another host that sends the headers of the guide for nginx', async () => {
    const block = blocksOf().find(({ language }) => language === 'nginx')!.text;
    const headers = Object.fromEntries(
      [...block.matchAll(/add_header (\S+) "([^"]*)" always;/g)].map(([, key, value]) => [key!, value!]),
    );
    expect(Object.keys(headers)).toEqual(['Access-Control-Allow-Origin', 'Access-Control-Expose-Headers']);
    const host = await startStaticServer({ folder: SMALL, headers });
    servers.push(host);
    await openLibrary([new URL(host.url).origin]);
    const stored = await page.evaluate(async (url) => {
      const { sluice } = window as unknown as { sluice: typeof import('../../src/api') };
      await sluice.downloadModel(url).done;
      const models = (await sluice.listModels()).filter(({ model }) => model.startsWith(url.replace(/\/$/, '')));
      for (const { id } of models) await sluice.deleteModel(id);
      return models.map(({ complete }) => complete);
    }, host.url);
    expect(stored).toEqual([true]);
    expect(problemsOf(page).filter((error) => !error.includes('404'))).toEqual([]); // files that this model has not
  });

  test('under the strict policy structured output is a typed error, and a download says that it is not compared with the hub', async () => {
    const hub = await smallHub();
    await openLibrary([hub.hubUrl, hub.cdnUrl]);
    const found = await page.evaluate(
      async ([model, hubUrl]) => {
        const { sluice } = window as unknown as { sluice: typeof import('../../src/api') };
        const outcome = (work: Promise<unknown>) =>
          work.then(
            () => 'none',
            (error: Error & { code?: string }) => `${error.name} ${error.code}: ${error.message}`,
          );
        const engine = await sluice.createEngine(new URL('/demo/model/', location.href), { contextTokens: 256 });
        const request = { messages: [{ role: 'user' as const, content: 'Hello' }], max_tokens: 8 };
        const { completions } = engine.chat;
        const structured = await outcome(completions.create({ ...request, response_format: { type: 'json_object' } }));
        const { choices } = await completions.create(request); // as before
        await engine.unload();
        const full = await outcome(sluice.downloadModel(model!, { hubUrl: hubUrl!, verify: 'full' }).done);
        const words: string[] = [];
        const onProgress = ({ text }: { text: string }) => words.push(text);
        const download = await outcome(sluice.downloadModel(model!, { hubUrl: hubUrl!, onProgress }).done);
        const stored = (await sluice.listModels()).filter((each) => each.model.includes(model!));
        for (const { id } of stored) await sluice.deleteModel(id);
        const kept = stored.map(({ complete, verified }) => ({ complete, verified }));
        return { structured, plain: choices[0]!.message.content, full, download, words, kept };
      },
      [HUB_MODEL, hub.hubUrl],
    );
    expect(found.structured).toMatch(/^EngineError unsupported: Structured output needs WebAssembly.*'wasm-unsafe-eval'/);
    expect(found.plain).toMatch(/\w/);
    expect(found.full).toMatch(/^EngineError unsupported: verify: 'full' cannot work here\..*'wasm-unsafe-eval'/);
    expect(found.download).toBe('none');
    expect(found.words.filter((text) => /'wasm-unsafe-eval'\), so files are not compared/.test(text))).not.toEqual([]);
    expect(found.kept).toEqual([{ complete: true, verified: 'unknown' }]);
    expect(problemsOf(page)).toEqual([]);
  });

  test.each([
    ['through a blob', blobCsp, ''],
    ['with the worker on the page’s own origin', ownWorkerCsp, ' worker-url="/dist/lib/sluice-worker.js"'],
  ])('all files on a second origin that sends CORS, %s', async (_, policyFor, attribute) => {
    const policy = policyFor(new URL(cdn.url).origin);
    const body = CHAT.replace('></', `${attribute}></`);
    const server = await site(
      { 'index.html': pageWith(`${cdn.url}sluice-chat.js`, body) },
      { 'Content-Security-Policy': policy },
    );
    await page.open(server.url);
    await waitFor(page, 'the element', () => true);
    await send(page, 'Hello.');
    const { turns, recorded } = await waitFor(page, 'a reply', answered(2));
    expect(turns[1]!.text).toMatch(/\w/);
    expect(recorded).toHaveLength(2);
    expect(problemsOf(page)).toEqual([]);
  });

  test('elements share an engine and no conversation; one that moves goes on, one that goes aborts, the last one unloads', async () => {
    const server = await site({ 'index.html': pageWith(OWN, TWO) });
    const workers = () => server.asked.filter((path) => path.endsWith('sluice-worker.js')).length;
    await page.open(server.url);
    await waitFor(page, 'the elements', () => true, '#b');
    await send(page, 'Hello.', '#a');
    await waitFor(page, 'a reply', answered(2), '#a');
    const started = workers();
    await send(page, 'Tell a story about a fox.', '#b');
    await waitFor(page, 'the reply beginning', (seen) => seen.busy && (seen.turns[1]?.text ?? '') !== '', '#b');
    await page.evaluate(() => document.querySelector('main')!.append(document.querySelector('#b')!)); // in one task
    const moved = await waitFor(page, 'the reply after a move', answered(2), '#b');
    expect(moved.recorded.at(-1)).toMatch(/^b done: (length|stop)$/);
    expect((await see(page, '#a'))!.turns).toHaveLength(2);
    expect(workers()).toBe(started);

    await page.evaluate(() => {
      const chat = document.querySelector<HTMLElement & { request: object }>('#b')!;
      chat.request = { temperature: 0, max_tokens: 200 };
      (chat as unknown as { send(text: string): void }).send('Tell a very long story.');
    });
    await waitFor(page, 'the reply beginning', (seen) => seen.busy && (seen.turns[3]?.text ?? '') !== '', '#b');
    await page.evaluate(() => {
      Object.assign(window, { gone: document.querySelector('#b') });
      document.querySelector('#b')!.remove();
    });
    const left = await waitFor(page, 'the abort', ({ recorded }) => recorded.at(-1) === 'b done: stopped', '#a');
    expect(left.state).toBe('ready');
    await page.evaluate(() => document.querySelector('#a')!.remove());
    await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 50)));
    await page.evaluate(() => document.querySelector('main')!.append((window as unknown as { gone: Node }).gone));
    expect((await see(page, '#b'))!.state).toBe('idle');
    await press(page, 'Load the model', '#b');
    await waitFor(page, 'another load', ({ state }) => state === 'ready', '#b');
    expect(workers(), 'the first engine was unloaded').toBeGreaterThan(started);
    expect(problemsOf(page)).toEqual([]);
  });

  test('a conversation is kept with `persist` only, under sluice/, until it is deleted', async () => {
    const body = '<sluice-chat model="/demo/model/" context="256" persist="notes"></sluice-chat>';
    const server = await site({ 'index.html': pageWith(OWN, body), 'plain.html': pageWith(OWN, CHAT) });
    await page.open(`${server.url}plain.html`);
    await waitFor(page, 'the element', () => true);
    await send(page, 'Hello.');
    await waitFor(page, 'a reply', answered(2));
    expect((await filesOf(page)).filter((path) => path.includes('chats'))).toEqual([]);
    await page.open(server.url);
    await waitFor(page, 'the element', () => true);
    await send(page, 'Tell a story.');
    const before = await waitFor(page, 'a reply', answered(2));
    expect(await filesOf(page)).toContain('sluice/v1/chats/notes.json');
    expect((await filesOf(page)).every((path) => path.startsWith('sluice/'))).toBe(true);
    const elsewhere = await page.evaluate(async () => [
      localStorage.length,
      sessionStorage.length,
      (await indexedDB.databases()).length,
      (await caches.keys()).length,
      (await navigator.serviceWorker.getRegistrations()).length,
    ]);
    expect(elsewhere, 'nothing else of the origin is touched').toEqual([0, 0, 0, 0, 0]);
    await page.open(server.url);
    const after = await waitFor(page, 'the kept conversation', (seen) => seen.turns.length === 2);
    expect(after.turns).toEqual(before.turns);
    expect(after.state).toBe('idle');
    await press(page, 'Delete');
    await press(page, 'Delete it');
    await waitFor(page, 'the deletion', (seen) => seen.turns.length === 0);
    expect((await filesOf(page)).filter((path) => path.includes('chats'))).toEqual([]);
    expect(problemsOf(page)).toEqual([]);
  });

  test('two on a page keep apart by their ids, also where the page changes its address', async () => {
    const body = TWO.replaceAll('context=', 'persist context=');
    const server = await site({ 'index.html': pageWith(OWN, body) });
    await page.open(server.url);
    await waitFor(page, 'the elements', () => true, '#b');
    await page.evaluate(() => history.pushState(null, '', '/elsewhere'));
    await send(page, 'Hello.', '#a');
    await waitFor(page, 'a reply', answered(2), '#a');
    expect((await filesOf(page)).filter((path) => path.includes('chats'))).toEqual(['sluice/v1/chats/%2F%23a.json']);
    await page.open(server.url);
    const kept = await waitFor(page, 'the kept conversation', (seen) => seen.turns.length === 2, '#a');
    expect(kept.turns[0]!.text).toBe('Hello.');
    expect((await see(page, '#b'))!.turns).toEqual([]);
    await page.evaluate(() => document.querySelector('sluice-chat')!.clear());
  });

  test('the article of the demo, as it is built', async () => {
    const server = await startStaticServer({ folder: join(repository, 'dist/site'), basePath: '/some/path/' });
    servers.push(server);
    await page.open(`${server.url}demo/embed.html`);
    const before = await waitFor(page, 'the element', () => true);
    expect(before.parts.empty).toBeDefined();
    const notice = await page.evaluate(async () => {
      const link = document.querySelector<HTMLAnchorElement>('a[href*="model/README.md"]')!;
      return { shown: link.checkVisibility(), text: await (await fetch(link.href)).text() };
    });
    expect(notice).toEqual({ shown: true, text: expect.stringContaining('CDLA-Sharing-1.0') });
    expect(before.state, 'a licence is shown before anything is downloaded').toBe('idle');
    await page.evaluate(() => {
      document.querySelector('sluice-chat')!.request = { temperature: 0, max_tokens: 8 };
      window.recorded = [];
    });
    await send(page, 'Tell a story about a mill.');
    const { turns } = await waitFor(page, 'a reply', answered(2));
    expect(turns[1]!.text).toMatch(/\w/);
    expect(server.missing.filter((path) => !path.includes('favicon'))).toEqual([]);
    expect(problemsOf(page)).toEqual([]);
  });

  test('in a frame of another site it says what that means before anything is downloaded', async () => {
    const inner = await site({ 'index.html': pageWith(OWN, CHAT) });
    const script = `addEventListener('load', () => setTimeout(() => parent.postMessage(document.querySelector('sluice-chat').shadowRoot.querySelector('[part=notice]').textContent, '*'), 300));`;
    const inFrame = { 'index.html': pageWith(OWN, `${CHAT}<script src="tell.js"></script>`), 'tell.js': script };
    const framed = await site(inFrame, { 'Content-Security-Policy': STRICT_CSP });
    const around = `<!doctype html><title>Outer</title><script>addEventListener('message', ({ data }) => { window.told = data; });</script><iframe src="${framed.url}"></iframe>`;
    const policy = `frame-src ${new URL(framed.url).origin}`;
    const outer = await site({ 'index.html': around }, { 'Content-Security-Policy': policy });
    await page.open(outer.url);
    const told = await page.evaluate(async () => {
      for (let i = 0; i < 100 && !('told' in window); i++) await new Promise((resolve) => setTimeout(resolve, 50));
      return (window as unknown as { told?: string }).told;
    });
    expect(told).toMatch(/page of another site.*a tenth of the usual room/);
    expect(framed.asked.filter((path) => /worker|model/.test(path))).toEqual([]);
    await page.open(inner.url);
    const alone = await waitFor(page, 'the element', () => true);
    expect(alone.parts.notice).toBeUndefined();
  });
});

/** The page that visitors get: from a static host under some path, and from the dev server. */
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { ended, mainThread, openChat, press, replyOf, send, statusOf, watchReply } from './chat_page';
import { type BrowserName, browserTitles, launch, type TestPage } from './launch';
import { repository, sealed, startDevServer, startStaticServer, type TestServer } from './servers';

const builtSite = () => startStaticServer({ folder: join(repository, 'dist/site'), basePath: '/some/path/', headers: sealed });
const devServer = () => startDevServer({ headers: sealed });

const FIRST_PROMPT = 'Tell me a story about a cat and a key.';

/** On two cores SwiftShader starves everything else; a page that computed by itself would be silent for far longer. */
const LONGEST_SILENCE_MS = 500;

const places: { name: BrowserName; where: string; start: () => Promise<TestServer> }[] = [
  { name: 'chromium', where: 'built site under a path', start: builtSite },
  { name: 'firefox', where: 'dev server', start: devServer },
];

describe.each(places)('chat page, $where, $name', ({ name, start }) => {
  let server: TestServer | undefined;
  let page: TestPage | undefined;
  afterAll(async () => {
    await page?.close();
    await server?.close();
  });
  afterEach(async () => {
    if (!page || !server) return;
    expect.soft(page.errors).toEqual([]);
    expect.soft(server.reports).toEqual([]);
    const origin = new URL(server.url).origin;
    const outside = page.requests.filter((url) => !/^(data|blob):/.test(url) && new URL(url).origin !== origin);
    expect.soft(outside).toEqual([]);
  });

  test(`${browserTitles[name]}: loads the bundled model and streams a story`, async () => {
    server = await start();
    page = await launch(name);
    await openChat(page, server.url, { maxTokens: 60 });
    await send(page, FIRST_PROMPT);
    const seen = await watchReply(page, ended);
    const last = seen.at(-1)!;
    console.log(`${name}: ${JSON.stringify(last.text)}`, await statusOf(page), await mainThread(page));
    expect(seen.filter((reply) => reply.busy && reply.text !== '').length, 'texts seen while it streamed').toBeGreaterThan(2);
    expect(last.text.split(/\s+/).length).toBeGreaterThan(20);
    expect(last.text).toMatch(/^[\p{L}\p{P}\p{N}\s]+$/u);
    expect(['stop', 'length']).toContain(last.state);
  });

  test('says what it ran on and how fast', async () => {
    const status = await statusOf(page!);
    expect(status.adapter).toMatch(/software adapter/); // Firefox does not say which
    expect(status.prefill).toMatch(/\d.*tok/);
    expect(status.decode).toMatch(/\d.*tok/);
    expect(status.memory).toMatch(/\d.*B/);
    expect(status.bandwidth).toMatch(/^\d.*B\/s$/);
    const graph = await page!.evaluate(() => ({
      line: document.querySelector('#graph-line')!.getAttribute('d')!,
      best: document.querySelector('#graph-best')!.textContent,
    }));
    expect(graph).toEqual({ line: expect.stringMatching(/^M[\d.]+,[\d.]+L/), best: expect.stringMatching(/^best \d/) });
  });

  test('the page stayed responsive meanwhile', async () => {
    const { longestMs, ticks } = await mainThread(page!);
    expect(ticks).toBeGreaterThan(50);
    expect(longestMs).toBeLessThan(LONGEST_SILENCE_MS);
  });

  test('makes the same text again for the same seed', async () => {
    const { text } = await replyOf(page!);
    await press(page!, 'regenerate');
    const seen = await watchReply(page!, ended);
    expect(seen.at(-1)).toMatchObject({ text, turns: 1, problem: '' });
  });

  test('stops at once, and tells the first story again afterwards', async () => {
    const { text } = await replyOf(page!);
    await press(page!, 'new-chat');
    await send(page!, 'Tell me a story about a boat.');
    await watchReply(page!, (reply) => reply.text.length > 20);
    await press(page!, 'stop');
    await watchReply(page!, ended);
    const stopped = await replyOf(page!);
    expect(stopped).toMatchObject({ state: 'stopped', problem: '' });
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect((await replyOf(page!)).text).toBe(stopped.text);
    await press(page!, 'new-chat');
    await send(page!, FIRST_PROMPT);
    const seen = await watchReply(page!, ended);
    expect(seen.at(-1)).toMatchObject({ text, problem: '' }); // nothing of what was cancelled is left in the model's state
  });
});

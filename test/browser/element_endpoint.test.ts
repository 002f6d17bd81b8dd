/** <sluice-chat> and an endpoint: consent, keys, whole conversations and no halves, and what is sent to whom. No model is loaded. */
import { resolve } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type OpenAiServer, startOpenAiServer } from '../servers/openai_server';
import { answered, pageWith, press, problemsOf, RECORDER, type Seen, send, waitFor } from './element_page';
import { launch, type TestPage } from './launch';
import { repository, startStaticServer, type TestServer } from './servers';

const KEY = 'sk-very-secret';
let site: TestServer;
let here: OpenAiServer;
let there: OpenAiServer;

beforeAll(async () => {
  here = await startOpenAiServer({ wordMs: 5 });
  there = await startOpenAiServer();
  const chat = (attributes: string) => pageWith('/dist/lib/sluice-chat.js', `<sluice-chat ${attributes}></sluice-chat>`);
  site = await startStaticServer({
    folder: resolve(repository),
    pages: {
      'recorder.js': RECORDER,
      'endpoint.html': chat(`endpoint="${here.url}"`),
      'fallback.html': chat(`model="/demo/model/" gpu-budget="1MB" endpoint="${here.url}"`),
      'local.html': chat(`model="/demo/model/" context="256" endpoint="${here.url}"`),
      'kept_local.html': chat('model="/demo/model/" context="256" persist="of both"'),
      'kept_endpoint.html': chat(`endpoint="${here.url}" persist="of both"`),
      'api.js': "import { createEngine } from '/dist/lib/sluice.js'; window.createEngine = createEngine;",
      'api.html':
        '<!doctype html><title>A page</title><link rel="icon" href="data:,"><script type="module" src="api.js"></script>',
      'attribute.html': chat(`endpoint="${here.url}" api-key="${KEY}"`),
      'clear.html': chat('endpoint="http://llm.example/v1"'),
    },
  });
});
afterAll(async () => {
  await Promise.all([site, here, there].map((server) => server?.close()));
});

const question = (seen: Seen) => seen.parts.question;
const chats = (server: OpenAiServer) => server.asked.filter(({ path }) => path.endsWith('/chat/completions'));

describe.each(['chromium', 'firefox'] as const)('an endpoint in %s', (name) => {
  let page: TestPage;
  beforeAll(async () => {
    page = await launch(name);
  });
  afterAll(() => page?.close());
  beforeEach(() => {
    here.asked.length = 0;
    there.asked.length = 0;
  });

  async function open(path: string): Promise<void> {
    await page.open(`${site.url}${path}`);
    await waitFor(page, 'the element', () => true);
  }

  test('is asked nothing before the user agrees; then the page says who answers', async () => {
    const { host } = new URL(here.url);
    await open('endpoint.html');
    await page.evaluate(() => {
      // biome-ignore lint/suspicious/noDocumentCookie: Firefox has no other way in all its versions
      document.cookie = 'who=someone'; // ports share what a host has, so the endpoint would get it
    });
    await send(page, 'Hello there');
    const asking = await waitFor(page, 'the question', (seen) => question(seen) !== undefined);
    expect(question(asking)).toContain(`Send what you write here to ${host}?`);
    expect(here.asked).toEqual([]);
    await press(page, 'Send nothing');
    const refused = await waitFor(page, 'the refusal', (seen) => seen.state === 'idle' && seen.draft !== '');
    expect(refused).toMatchObject({ draft: 'Hello there', turns: [] });
    expect(refused.parts.problem).toMatch(/Nothing was sent/);
    expect(here.asked).toEqual([]);
    await send(page, 'Hello there');
    await waitFor(page, 'the question', (seen) => question(seen) !== undefined);
    await press(page, `Send to ${host}`);
    const first = await waitFor(page, 'a reply', answered(2));
    expect(first.turns[1]).toEqual({ role: 'assistant', text: 'You said: "Hello there"', host });
    expect(first.parts.status).toBe(`Answered by ${host}`);
    expect(first.parts.note).toBe(`answered by ${host}`);
    await send(page, 'And again');
    await waitFor(page, 'a second reply', answered(4)); // agreed once
    expect(chats(here).map(({ body }) => (body!.messages as unknown[]).length)).toEqual([1, 3]);
    for (const { headers } of here.asked) expect(headers).not.toMatchObject({ cookie: expect.anything() });
    expect(here.asked.every(({ headers }) => headers.referer === undefined)).toBe(true);
  });

  test('a question in the place of another one is a no to that, and stays', async () => {
    await open('endpoint.html');
    await send(page, 'Hello there');
    await waitFor(page, 'the question', (seen) => question(seen)?.includes('Send what you write') === true);
    await press(page, 'Delete');
    const refused = await waitFor(page, 'the refusal', (seen) => seen.state === 'idle');
    expect(refused).toMatchObject({ draft: 'Hello there', turns: [] });
    expect(question(refused)).toContain('Delete this conversation?');
    await press(page, 'Keep it');
    await send(page, 'Hello there');
    await waitFor(page, 'the question', (seen) => question(seen)?.includes('Send what you write') === true);
    await press(page, 'Delete');
    await press(page, 'Delete it');
    const cleared = await waitFor(page, 'the deletion', (seen) => question(seen) === undefined && seen.state === 'idle');
    expect(cleared.turns).toEqual([]);
    expect(here.asked).toEqual([]);
  });

  test('keys go to their own endpoint only, and to no attribute; a new endpoint is a new conversation', async () => {
    await open('endpoint.html');
    const settle = (key: string | undefined, url: string | undefined) =>
      page.evaluate(
        ([secret, address]) => {
          const chat = document.querySelector('sluice-chat')!;
          if (address) chat.endpoint = address;
          if (secret) chat.apiKey = secret;
          chat.onFallback = () => true;
          return document.documentElement.outerHTML.includes(secret ?? '-') || `${chat.apiKey}`.includes(secret ?? '-');
        },
        [key, url],
      );
    expect(await settle(KEY, undefined)).toBe(false);
    await send(page, 'A secret of mine');
    await waitFor(page, 'a reply', answered(2));
    expect(here.asked.every(({ headers }) => headers.authorization === `Bearer ${KEY}`)).toBe(true);
    await settle(undefined, there.url);
    await send(page, 'Hello');
    const moved = await waitFor(
      page,
      'a reply from the other one',
      (seen) => seen.turns.at(-1)?.host === new URL(there.url).host && !seen.busy,
    );
    expect(moved.turns.map(({ text }) => text)).toEqual(['Hello', 'You said: "Hello"']);
    expect(JSON.stringify(there.asked)).not.toMatch(/secret/);
    expect(there.asked.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  test('the memory plan decides between this device and the endpoint', async () => {
    await open('fallback.html');
    await send(page, 'Hello');
    const asking = await waitFor(page, 'the question', (seen) => question(seen) !== undefined);
    expect(question(asking)).toMatch(/needs at least \d+ bytes.*Send what you write here to/s);
    expect(here.asked).toEqual([]);
    await press(page, `Send to ${new URL(here.url).host}`);
    await waitFor(page, 'a reply', answered(2));
    await open('local.html');
    here.asked.length = 0;
    await send(page, 'Hello');
    const local = await waitFor(page, 'a reply of this device', answered(2));
    expect(local.parts.status).toBe('Answered on this device');
    expect(here.asked).toEqual([]);
  });

  test('decides for createEngine too, and an undefined endpoint is none', async () => {
    await page.open(`${site.url}api.html`);
    const ask = (gpuBudget: string | undefined, url: string | undefined) =>
      page.evaluate(
        async ([budget, address]) => {
          const { createEngine } = window as unknown as typeof import('../../src/api');
          const reasons: string[] = [];
          const engine = await createEngine(new URL('/demo/model/', location.href), {
            ...(budget ? { gpuBudget: budget } : {}),
            contextTokens: 256,
            prefer: 'local',
            fallback: address ? { url: address } : undefined,
            onFallback: ({ reason }) => reasons.push(reason) > 0,
          });
          const messages = [{ role: 'user' as const, content: 'Hello' }];
          const { choices } = await engine.chat.completions.create({ messages, max_tokens: 8 });
          await engine.unload();
          return { place: engine.answeredBy.place, reasons, text: choices[0]!.message.content };
        },
        [gpuBudget, url],
      );
    expect(await ask('1MB', here.url)).toEqual({ place: 'endpoint', reasons: ['memory'], text: 'You said: "Hello"' });
    here.asked.length = 0;
    for (const url of [here.url, undefined])
      expect(await ask(undefined, url)).toEqual({ place: 'device', reasons: [], text: expect.stringMatching(/\w/) });
    expect(here.asked).toEqual([]);
  });

  test('a message that this device was answering when the page was left goes to no endpoint', async () => {
    await open('kept_local.html');
    await page.evaluate(() => {
      document.querySelector('sluice-chat')!.request = { temperature: 0, max_tokens: 200 };
    });
    await send(page, 'For this device alone');
    await waitFor(page, 'the reply beginning', (seen) => seen.busy && (seen.turns[1]?.text ?? '') !== '');
    await open('kept_endpoint.html');
    await waitFor(page, 'the kept message', (seen) => seen.turns.length === 1);
    await page.evaluate(() => {
      const chat = document.querySelector('sluice-chat')!;
      chat.onFallback = () => true;
      return chat.load();
    });
    const moved = await waitFor(page, 'the endpoint', ({ state }) => state === 'ready');
    expect(moved.turns).toEqual([]);
    await send(page, 'For the endpoint');
    await waitFor(page, 'a reply', answered(2));
    expect(JSON.stringify(here.asked)).not.toContain('this device alone');
    await page.evaluate(() => document.querySelector('sluice-chat')!.clear());
  });

  test.each([
    ['attribute.html', /property apiKey/],
    ['clear.html', /https, or http on this machine/],
  ])('%s is refused', async (path, message) => {
    await open(path);
    await press(page, 'Start');
    const seen = await waitFor(page, 'the problem', ({ parts }) => parts.problem !== undefined);
    expect(seen.parts.problem).toMatch(message);
    expect(seen.recorded.at(-1)).toMatch(message);
    expect(JSON.stringify(seen)).not.toContain(KEY);
    expect(here.asked).toEqual([]);
  });

  test('what a server says is text, whatever it looks like', async () => {
    const hostile =
      '<img src="/stolen.png"> <script>window.stolen = 1</script> <a href="javascript:stolen()">x</a> \u202Egnp.exe';
    await open('endpoint.html');
    await page.evaluate(() => {
      document.querySelector('sluice-chat')!.onFallback = () => true;
    });
    here.options.reply = () => hostile;
    here.options.models = [hostile];
    await send(page, hostile);
    const seen = await waitFor(page, 'a reply', answered(2));
    expect(chats(here)[0]!.body!.model).toBe(hostile);
    expect(seen.turns.map(({ text }) => text)).toEqual([hostile, hostile]);
    here.options.fault = 'hostile-words';
    await send(page, 'And an error');
    const failed = await waitFor(page, 'the problem', ({ parts }) => parts.problem !== undefined);
    expect(failed.parts.problem).toContain('<img');
    Object.assign(here.options, { fault: undefined, reply: undefined, models: undefined });
    const made = await page.evaluate(
      () => document.querySelector('sluice-chat')!.shadowRoot!.querySelectorAll('img, script, a, iframe').length,
    );
    expect(made).toBe(0);
    expect(await page.evaluate(() => 'stolen' in window)).toBe(false);
    expect(site.asked).not.toContain('/stolen.png');
  });

  test('a reply that breaks off stays, with what went wrong; the next one may succeed', async () => {
    await open('endpoint.html');
    await page.evaluate(() => {
      document.querySelector('sluice-chat')!.onFallback = () => true;
    });
    here.options.fault = 'error-event';
    await send(page, 'Tell me something long');
    const broken = await waitFor(page, 'the problem', ({ parts }) => parts.problem !== undefined);
    expect(broken.turns[1]!.text).toBe('You said: ');
    expect(broken.parts.note).toMatch(/broken off/);
    here.options.fault = undefined;
    await send(page, 'Once more');
    const whole = await waitFor(page, 'a reply', answered(4));
    expect(whole.parts.problem).toBeUndefined();
    expect(problemsOf(page).filter((error) => !error.includes('Failed to load'))).toEqual([]);
  });
});

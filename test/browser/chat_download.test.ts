/** The page on a slow line: what it says while weights arrive, pausing, and going on after it was closed. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { press, waitUntilReady } from './chat_page';
import { launch, poll, type TestPage } from './launch';
import { repository, startStaticServer, type TestServer } from './servers';
import { type SlowServer, slowDown } from './slow_server';

const WEIGHT_BYTES = 7.3e6;

let upstream: TestServer;
let server: SlowServer;
let page: TestPage;
beforeAll(async () => {
  upstream = await startStaticServer({ folder: join(repository, 'dist/site') });
  server = await slowDown(upstream, 100_000);
  page = await launch('chromium');
  await page.open(server.url);
});
afterAll(async () => {
  await page?.close();
  await server?.close();
  await upstream?.close();
});

test('says how fast and how long, and offers to pause', async () => {
  const words = await noticeThat(
    'speed and remaining time',
    ({ text, primary }) => /B\/s, about/.test(text) && primary === 'Pause',
  );
  expect(words.bytes).toMatch(/^\d\.\d of 7\.\d MB$/);
  expect(words.text).toMatch(/\d+(\.\d)? kB\/s, about \d+(\.\d)? (s|min) left$/);
  expect(words.secondary).toBe('Cancel');
});

test('paused, nothing more is asked for; resumed, it goes on', async () => {
  await press(page, 'notice-primary');
  await noticeThat('a pause', ({ text, primary }) => text === 'The download is paused' && primary === 'Resume');
  // What was on its way when the button was pressed may still be leaving the server.
  let sent = -1;
  await poll('an end of what was on its way', async () => {
    const before = sent;
    sent = server.sentBytes;
    await new Promise((resolve) => setTimeout(resolve, 700));
    return before === server.sentBytes || undefined;
  });
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect(server.sentBytes).toBe(sent);
  await press(page, 'notice-primary');
  await poll('more bytes', async () => server.sentBytes > sent || undefined);
  await noticeThat('speed again', ({ text, primary }) => /B\/s/.test(text) && primary === 'Pause');
});

test('a page that was closed in mid-download goes on where it was', async () => {
  server.bytesPerSecond = 1e6;
  await poll('half of it', async () => ((await notice()).progress > 0.5 ? true : undefined));
  server.sentBytes = 0;
  await page.open('about:blank');
  server.bytesPerSecond = 1e9;
  await page.open(server.url);
  await waitUntilReady(page);
  expect(server.sentBytes).toBeLessThan(0.85 * WEIGHT_BYTES);
});

test('no console errors', () => expect(page.errors).toEqual([]));

function notice() {
  return page.evaluate(() => {
    const text = (id: string) => document.querySelector(id)?.textContent ?? '';
    return {
      bytes: text('#load-bytes'),
      text: text('#load-text'),
      primary: text('#notice-primary'),
      secondary: text('#notice-secondary'),
      progress: document.querySelector<HTMLProgressElement>('#load-bar')?.value ?? 0,
    };
  });
}

async function noticeThat(what: string, fits: (words: Awaited<ReturnType<typeof notice>>) => boolean) {
  let last: unknown;
  return poll(
    what,
    async () => {
      const words = await notice();
      last = words;
      return fits(words) ? words : undefined;
    },
    { timeoutMs: 60_000, everyMs: 50 },
  ).catch((error: Error) => {
    throw new Error(`${error.message}. Last seen: ${JSON.stringify(last)}`);
  });
}

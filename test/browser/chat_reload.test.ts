/**
 * The chat page killed in mid-reply, by a reload and by the end of its process: the next one shows every word that was seen, and the reply
 * goes on. SLUICE_LONG kills it 20 times.
 */
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { Random } from '../../src/engine/random';
import { ended, openChat, press, replyOf, send, waitUntilReady, watchReply } from './chat_page';
import { launch, type TestPage } from './launch';
import { repository, sealed, startStaticServer, type TestServer } from './servers';

const kills = process.env.SLUICE_LONG ? 20 : 4;
let server: TestServer | undefined;
let page: TestPage | undefined;
afterAll(async () => {
  await page?.close();
  await server?.close();
});

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const prompts = ['Tell me a story about a cat and a key.', 'Tell me a story about a boat.', 'Tell me about the moon.'];

test(`killed ${kills} times in mid-reply, the page comes back where it was`, async () => {
  server = await startStaticServer({ folder: join(repository, 'dist/site'), headers: sealed });
  page = await launch('chromium');
  await openChat(page, server.url, { maxTokens: 120 });
  const random = new Random(7);
  let sent = 0;
  let turns = 0;
  const ask = async () => {
    if (sent % 3 === 0 && sent > 0) await press(page!, 'new-chat');
    turns = sent % 3 === 0 ? 1 : turns + 1;
    await send(page!, prompts[sent++ % prompts.length]!);
  };
  await ask();
  for (let i = 0; i < kills; i++) {
    const before = (await replyOf(page)).text.length;
    const more = 5 + Math.floor(random.next() * 40);
    await watchReply(page, (reply) => ended(reply) || (reply.busy && reply.text.length > before + more));
    await pause(random.next() * 150);
    const seen = await replyOf(page);
    if (ended(seen)) {
      await ask();
      i--;
      continue;
    }
    if (i % 2 === 0) await page.crash();
    await page.open(server.url);
    // The text is there before the model is.
    const [back] = await watchReply(page, (reply) => reply.text.length >= seen.text.length);
    const now = await replyOf(page);
    console.log(`kill ${i}: ${seen.text.length} characters seen, ${now.text.length} came back`, back?.state);
    expect(now.text.startsWith(seen.text), `${JSON.stringify(now.text)} begins with ${JSON.stringify(seen.text)}`).toBe(true);
    expect(now.turns).toBe(turns);
    await waitUntilReady(page);
    await watchReply(page, (reply) => reply.busy || ended(reply));
  }
  const seen = await replyOf(page);
  const last = (await watchReply(page, ended)).at(-1)!;
  expect(last.text.startsWith(seen.text)).toBe(true);
  expect(last.text.length).toBeGreaterThan(seen.text.length);
  expect(['stop', 'length']).toContain(last.state);
  // A conversation that had ended comes back as it was, and is not gone on with.
  await page.open(server.url);
  await waitUntilReady(page);
  await pause(500);
  expect(await replyOf(page)).toMatchObject({ text: last.text, state: last.state, busy: false, turns });
  await press(page, 'new-chat');
  await pause(200);
  await page.open(server.url);
  await waitUntilReady(page);
  expect((await replyOf(page)).turns).toBe(0);
  expect(page.errors).toEqual([]);
  expect(server.reports).toEqual([]);
}, 900_000);

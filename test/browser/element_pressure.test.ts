/** <sluice-chat> whose GPU is lost in mid-reply: the reply goes on, the page is told, and can go on with less memory. */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { Pressure } from '../../src/api';
import { answered, pageWith, problemsOf, RECORDER, send, waitFor } from './element_page';
import { launch, type TestPage } from './launch';
import { LOSABLE } from './losable';
import { repository, startStaticServer, type TestServer } from './servers';

let server: TestServer | undefined;
let page: TestPage | undefined;
afterAll(async () => {
  await page?.close();
  await server?.close();
});

/** Told of pressure, in order; once `lessMemory` is set, what a listener does about it. */
const LISTENER = `
  window.pressures = [];
  const chat = document.querySelector('sluice-chat');
  chat.addEventListener('pressure', ({ detail }) => {
    pressures.push(detail);
    if (!window.lessMemory) return;
    window.continued = chat.continueWith(lessMemory);
    window.lessMemory = undefined;
  });
  const lose = () => new BroadcastChannel('lose the device').postMessage('now');
  let pieces = 0;
  chat.addEventListener('done', () => { pieces = 0; });
  chat.addEventListener('token', () => { if (++pieces === 4 && window.loseNext) { window.loseNext = false; lose(); } });
`;
type Told = { pressures: Pressure[]; loseNext: boolean; lessMemory: string | number | undefined; continued?: Promise<boolean> };

test('pressure is an event, and a listener goes on with less memory', async () => {
  const worker = 'dist/lib/sluice-worker.js';
  const pages = {
    'index.html': pageWith('/dist/lib/sluice-chat.js', '<sluice-chat model="/demo/model/" context="256"></sluice-chat>'),
    'recorder.js': RECORDER + LISTENER,
    [worker]: LOSABLE + readFileSync(join(repository, worker), 'utf8'),
  };
  server = await startStaticServer({ folder: resolve(repository), pages });
  page = await launch('chromium');
  await page.open(server.url);
  const told = () => page!.evaluate(() => (window as unknown as Told).pressures.splice(0));
  await waitFor(page, 'the element', () => true);
  await send(page, 'Tell a story about a fox.');
  const whole = (await waitFor(page, 'a reply', answered(2))).turns[1]!.text;
  await page.evaluate(() => document.querySelector('sluice-chat')!.clear());

  await page.evaluate(() => Object.assign(window, { loseNext: true, recorded: [] }));
  await send(page, 'Tell a story about a fox.');
  const lost = await waitFor(page, 'the GPU lost', ({ parts }) => /loading again/.test(parts.status ?? ''));
  expect(lost.parts.status).toBe('The GPU was lost: loading again');
  expect(whole.startsWith(lost.turns[1]!.text)).toBe(true);
  const back = await waitFor(page, 'the reply', answered(2));
  expect(back.turns[1]!.text).toBe(whole);
  expect(back.parts.status).toBe('Answered on this device');
  expect(back.recorded).toEqual([expect.stringMatching(/^chat done: (length|stop)$/)]);
  expect(await told()).toMatchObject([
    { reason: 'device-lost', recovery: 'started' },
    { reason: 'device-lost', recovery: 'done' },
  ]);

  await page.evaluate(() => document.querySelector('sluice-chat')!.clear());
  await page.evaluate(() => Object.assign(window, { loseNext: true, recorded: [], lessMemory: 24_000_000 }));
  await send(page, 'Tell a story about a fox.');
  const less = await waitFor(page, 'the reply by another engine', answered(2));
  expect(less.turns.map(({ text }) => text)).toEqual(['Tell a story about a fox.', whole]);
  expect(less.recorded).toEqual(['chat ready: device', expect.stringMatching(/^chat done: (length|stop)$/)]);
  expect(await told()).toMatchObject([{ recovery: 'started', gpuBudgetBytes: expect.any(Number) }]);
  const { budget, continued } = await page.evaluate(async () => ({
    budget: document.querySelector('sluice-chat')!.getAttribute('gpu-budget'),
    continued: await (window as unknown as Told).continued,
  }));
  expect({ budget, continued }).toEqual({ budget: '24000000', continued: true });
  expect(problemsOf(page)).toEqual([]);
}, 120_000);

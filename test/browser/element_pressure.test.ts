/** <sluice-chat> whose GPU is lost in mid-reply: the reply goes on, the page is told, and can go on with less memory. */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { Pressure } from '../../src/api';
import { answered, pageWith, problemsOf, RECORDER, type Seen, see, send, waitFor } from './element_page';
import { launch, type TestPage } from './launch';
import { LOSABLE } from './losable';
import { repository, startStaticServer, type TestServer } from './servers';

let server: TestServer | undefined;
let page: TestPage | undefined;
afterAll(async () => {
  await page?.close();
  await server?.close();
});

/** Told of pressure, in order, and the listener of docs/embed.md. */
const LISTENER = `
  window.pressures = [];
  const chat = document.querySelector('sluice-chat');
  chat.addEventListener('pressure', ({ detail }) => {
    pressures.push(detail);
    const { suggestedBudgetBytes, recovery } = detail;
    const given = recovery === undefined || recovery === 'stopped';
    if (given && suggestedBudgetBytes !== undefined) window.continued = chat.continueWith(suggestedBudgetBytes);
  });
  let pieces = 0;
  chat.addEventListener('done', () => { pieces = 0; });
  chat.addEventListener('token', () => {
    if (++pieces === 4 && loseNext) new BroadcastChannel('lose the device').postMessage('now');
    if (pieces === 4) loseNext = false;
  });
`;
type Told = { pressures: Pressure[]; loseNext: boolean; continued?: Promise<boolean> };

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
  await waitFor(page, 'the element', () => true);

  const first = await tellAndLose(page);
  expect(first.lost.parts.status).toBe('The GPU was lost: loading again');
  expect(first.back.parts.status).toBe('Answered on this device');
  expect(first.back.recorded).toEqual(['chat ready: device', done]);
  expect(first.told).toMatchObject([
    { reason: 'device-lost', recovery: 'started' },
    { reason: 'device-lost', recovery: 'done' },
  ]);

  const second = await tellAndLose(page);
  expect(second.lost.parts.status).toBe('The GPU was lost: loading again with less memory');
  expect(second.back.parts.status).toBe('Answered on this device, with less memory');
  expect(second.told).toMatchObject([{ recovery: 'started' }, { recovery: 'done', gpuBudgetBytes: expect.any(Number) }]);

  const third = await tellAndLose(page);
  const { suggestedBudgetBytes } = third.told[0]!;
  expect(third.told).toMatchObject([{ recovery: 'stopped', suggestedBudgetBytes: expect.any(Number) }]);
  expect(third.back.recorded).toEqual(['chat ready: device', done]); // and no error
  const { budget, continued } = await page.evaluate(async () => ({
    budget: document.querySelector('sluice-chat')!.getAttribute('gpu-budget'),
    continued: await (window as unknown as Told).continued,
  }));
  expect({ budget, continued }).toEqual({ budget: String(suggestedBudgetBytes), continued: true });

  await page.evaluate(() => document.querySelector('sluice-chat')!.clear());
  await send(page, QUESTION);
  const whole = (await waitFor(page, 'a reply that loses nothing', answered(2))).turns;
  for (const { back } of [first, second, third]) expect(back.turns).toEqual(whole);
  for (const { lost } of [first, second]) expect(whole[1]!.text.startsWith(lost.turns[1]!.text)).toBe(true); // the third is made anew
  expect(problemsOf(page)).toEqual([]);
}, 120_000);

const QUESTION = 'Tell a story about a fox.';
const done = expect.stringMatching(/^chat done: (length|stop)$/);

/** A conversation of one reply, whose GPU is lost in the middle. `lost`: what was seen first then; `told`: of pressure. */
async function tellAndLose(page: TestPage): Promise<{ lost: Seen; back: Seen; told: Pressure[] }> {
  await page.evaluate(async () => {
    await document.querySelector('sluice-chat')!.clear();
    Object.assign(window, { loseNext: true, recorded: [] });
  });
  await send(page, QUESTION);
  await page.evaluate(async () => {
    const { pressures } = window as unknown as Told;
    while (pressures.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  });
  const lost = (await see(page))!;
  const back = await waitFor(page, 'the reply', answered(2));
  const told = await page.evaluate(() => (window as unknown as Told).pressures.splice(0));
  return { lost, back, told };
}

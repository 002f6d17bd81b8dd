/**
 * The chat page whose GPU is taken away in mid-reply, three times within five minutes: text stays, replies go on word for word, the page says
 * what happens, and after the third loss it offers a smaller model, or to load this one again and go on. The weights come out of the
 * browser's own store each time. SLUICE_LONG: in Firefox too.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { ended, openChat, press, type ReplyState, send, statusOf, watchReply } from './chat_page';
import { type BrowserName, launch, type TestPage } from './launch';
import { LOSABLE } from './losable';
import { repository, sealed, startStaticServer, type TestServer } from './servers';

const browsers: BrowserName[] = process.env.SLUICE_LONG ? ['chromium', 'firefox'] : ['chromium'];
const closing: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const close of closing.reverse()) await close();
});

/** The built site, whose engine worker begins with LOSABLE. */
async function startSite(): Promise<TestServer> {
  const folder = join(repository, 'dist/site');
  const worker = readdirSync(join(folder, 'assets')).find((name) => /^engine\.worker-.*\.js$/.test(name))!;
  const pages = { [`assets/${worker}`]: LOSABLE + readFileSync(join(folder, 'assets', worker), 'utf8') };
  return startStaticServer({ folder, headers: sealed, pages });
}

type Said = { title: string; text: string; buttons: string[] };

/** Writes down every notice from here on. */
function watchNotices(page: TestPage): Promise<void> {
  return page.evaluate(() => {
    const said: Said[] = [];
    Object.assign(window, { said });
    const notice = document.querySelector<HTMLElement>('#notice')!;
    const note = () => {
      if (notice.hidden) return;
      const buttons = [...notice.querySelectorAll<HTMLElement>('button:not([hidden])')].map((button) => button.textContent ?? '');
      const [title, text] = ['#notice-title', '#notice-error'].map((part) => notice.querySelector(part)!.textContent ?? '');
      const now = { title: title!, text: text!, buttons };
      if (JSON.stringify(now) !== JSON.stringify(said.at(-1))) said.push(now);
    };
    new MutationObserver(note).observe(notice, { attributes: true, childList: true, characterData: true, subtree: true });
  });
}

const isWeights = (path: string) => path.endsWith('.safetensors');
const kept = /\bThe conversation is kept\.$/;

test.each(browsers)(
  '%s: a lost GPU is replaced, then with half the memory, then a smaller model is offered',
  async (name) => {
    const server = await startSite();
    closing.push(() => server.close());
    const page = await launch(name);
    closing.push(() => page.close());
    await openChat(page, server.url, { maxTokens: 36 });
    expect(server.asked.filter(isWeights)).not.toEqual([]);
    const askedBefore = server.asked.length;
    const memoryBefore = megabytes((await statusOf(page)).memory);
    await watchNotices(page);

    await send(page, 'Tell me a story about a cat and a key.');
    const first = await loseInReply(page);
    expect(first.reply.problem).toBe('');
    expect(first.said).toEqual([
      {
        title: 'The connection to the GPU was lost',
        text: expect.stringMatching(/^The model is being loaded again, and the reply goes on from here\./),
        buttons: ['Open the memory panel'],
      },
    ]);
    expect(first.said[0]!.text).toMatch(kept);

    await press(page, 'regenerate');
    const second = await loseInReply(page);
    const budget = /so the model now runs in ([\d.]+ MB) of GPU memory, half of before\.$/.exec(second.reply.problem)?.[1];
    expect(second.said).toEqual([
      {
        title: 'The connection to the GPU was lost',
        text: expect.stringContaining(`second time within five minutes, so the budget is cut to ${budget} of GPU memory`),
        buttons: ['Open the memory panel'],
      },
      {
        title: 'The GPU is back',
        text: second.reply.problem,
        buttons: ['Open the memory panel', 'Go on'],
      },
    ]);
    expect(second.said[0]!.text).toMatch(kept);
    const memoryAfter = megabytes((await statusOf(page)).memory);
    expect(memoryAfter).toBeLessThan(memoryBefore);
    expect(memoryAfter).toBeLessThanOrEqual(megabytes(budget));

    await press(page, 'regenerate');
    const third = await loseInReply(page);
    expect(third.reply.state).toBe('failed');
    expect(third.said).toEqual([
      {
        title: 'The GPU was lost again and again',
        text: expect.stringMatching(
          /^It was lost three times within five minutes.*\nA smaller model or a shorter context takes less\./,
        ),
        buttons: ['Choose a smaller model', 'Reload the model and continue'],
      },
    ]);
    expect(third.said[0]!.text).toMatch(kept);
    await press(page, 'notice-primary');
    expect(await page.evaluate(() => document.querySelector<HTMLDialogElement>('#picker')!.open)).toBe(true);
    await page.press('Escape');
    await press(page, 'notice-secondary');
    await watchReply(page, (reply) => reply.busy);
    const whole = (await watchReply(page, ended)).at(-1)!; // nothing is lost in this one
    expect(whole.problem).toBe('');
    expect([first, second].map(({ reply }) => reply.text)).toEqual([whole.text, whole.text]);
    expect(whole.text.startsWith(third.reply.text)).toBe(true);
    expect(server.asked.slice(askedBefore).filter(isWeights)).toEqual([]);
    expect(page.errors).toEqual([]);
    expect(server.reports).toEqual([]);
  },
  300_000,
);

/** Loses the GPU when some of the reply is to be seen, which it is from then on. `said`: the notices since. */
async function loseInReply(page: TestPage): Promise<{ reply: ReplyState; said: Said[] }> {
  await watchReply(page, (reply) => reply.busy && reply.text.length > 40);
  const seen = await page.evaluate(() => {
    new BroadcastChannel('lose the device').postMessage('now');
    return [...document.querySelectorAll('[data-testid=reply-text]')].at(-1)!.textContent ?? '';
  });
  const since = await watchReply(page, ended);
  for (const { text } of since) expect(text.startsWith(seen), `${text} begins with ${seen}`).toBe(true);
  const said = await page.evaluate(() => (window as unknown as { said: Said[] }).said.splice(0));
  return { reply: since.at(-1)!, said };
}

const megabytes = (text: string | undefined): number => Number(/^([\d.]+) MB/.exec(text ?? '')?.[1] ?? Number.NaN);

/** The chat page as a visitor uses it: by what is on it, never by its modules. */
import { poll, type TestPage } from './launch';

const LOAD_LIMIT_MS = 120_000;
const REPLY_LIMIT_MS = 120_000;

/** Opens the page with settings that make replies short and repeatable, and waits until a message can be sent. */
export async function openChat(page: TestPage, url: string, settings: Record<string, number> = {}): Promise<void> {
  await page.open(url);
  await page.evaluate((text) => localStorage.setItem('sluice.settings', text), JSON.stringify({ seed: 1, ...settings }));
  await page.open(url); // settings are read once, when the page starts
  await watchMainThread(page);
  await waitUntilReady(page);
}

export async function waitUntilReady(page: TestPage): Promise<void> {
  const state = () =>
    page.evaluate(() => {
      const problem = document.querySelector<HTMLElement>('[data-testid=error]');
      if (problem && !problem.hidden)
        return `error: ${document.querySelector('#notice-title')?.textContent}: ${problem.textContent}`;
      return document.querySelector<HTMLElement>('#composer-form')?.dataset.ready === 'true' ? 'ready' : undefined;
    });
  const end = await poll('the bundled model', state, { timeoutMs: LOAD_LIMIT_MS }).catch(async (error: Error) => {
    const notice = await page.evaluate(() => document.querySelector('#notice')?.textContent ?? '');
    throw new Error(`${error.message}. The page says: ${notice}. ${page.errors.join('; ')}`);
  });
  if (end !== 'ready') throw new Error(end);
}

export async function send(page: TestPage, text: string): Promise<void> {
  await page.evaluate((message) => {
    const box = document.querySelector<HTMLTextAreaElement>('[data-testid=composer]')!;
    box.value = message;
    box.dispatchEvent(new Event('input', { bubbles: true }));
    document.querySelector<HTMLButtonElement>('[data-testid=send]')!.click();
  }, text);
}

export async function press(page: TestPage, testId: string): Promise<void> {
  await page.evaluate((id) => {
    const buttons = document.querySelectorAll<HTMLButtonElement>(`[data-testid=${id}]`);
    buttons[buttons.length - 1]!.click();
  }, testId);
}

/** `problem`: what the page says went wrong, if it says so. */
export type ReplyState = { text: string; state: string; busy: boolean; turns: number; problem: string };

/** The newest reply. */
export function replyOf(page: TestPage): Promise<ReplyState> {
  return page.evaluate(() => {
    const texts = document.querySelectorAll<HTMLElement>('[data-testid=reply-text]');
    const last = texts[texts.length - 1];
    return {
      text: last?.textContent ?? '',
      state: last?.closest<HTMLElement>('[data-state]')?.dataset.state ?? '',
      busy: document.body.dataset.busy === 'true',
      turns: texts.length,
      problem: document.querySelector<HTMLElement>('#notice:not([hidden]) [data-testid=error]:not([hidden])')?.textContent ?? '',
    };
  });
}

/** Watches a reply grow until `enough` says so. The distinct states seen. */
export async function watchReply(page: TestPage, enough: (reply: ReplyState) => boolean): Promise<ReplyState[]> {
  const seen: ReplyState[] = [];
  const look = async () => {
    const reply = await replyOf(page);
    if (JSON.stringify(seen.at(-1)) !== JSON.stringify(reply)) seen.push(reply);
    return enough(reply) || undefined;
  };
  await poll('the reply', look, { timeoutMs: REPLY_LIMIT_MS, everyMs: 100 }).catch((error: Error) => {
    throw new Error(`${error.message}. Last seen: ${JSON.stringify(seen.at(-1))}. ${page.errors.join('; ')}`);
  });
  return seen;
}

/** The states of a reply that is no longer under way. */
export const ended = (reply: ReplyState): boolean => !reply.busy && ['stop', 'length', 'stopped', 'failed'].includes(reply.state);

export async function statusOf(page: TestPage): Promise<Record<string, string>> {
  return page.evaluate(() => {
    const cells = document.querySelectorAll<HTMLElement>('[data-testid^=status-]');
    return Object.fromEntries(
      Array.from(cells, (cell) => [cell.dataset.testid!.slice('status-'.length), cell.textContent ?? '']),
    );
  });
}

/** A timer on the page's own thread; its longest silence is the longest time for which a click would have had to wait. */
async function watchMainThread(page: TestPage): Promise<void> {
  await page.evaluate(() => {
    const watch = { longestMs: 0, ticks: 0 };
    let last = performance.now();
    setInterval(() => {
      const now = performance.now();
      watch.longestMs = Math.max(watch.longestMs, now - last);
      watch.ticks++;
      last = now;
    }, 20);
    Object.assign(window, { mainThreadWatch: watch });
  });
}

export function mainThread(page: TestPage): Promise<{ longestMs: number; ticks: number }> {
  return page.evaluate(() => (window as unknown as { mainThreadWatch: { longestMs: number; ticks: number } }).mainThreadWatch);
}

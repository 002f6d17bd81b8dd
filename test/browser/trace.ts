/** How long the page's own thread was busy in one go, in CPU time: what other processes take of a shared machine does not count. */
import type { Browser, Page } from 'playwright-core';

type TraceEvent = {
  name: string;
  ph: string;
  pid: number;
  tid: number;
  dur?: number;
  tdur?: number;
  ts: number;
  args?: { name?: string };
};

export type LongTasks = { tasks: number; longestMs: number; totalMs: number };

const MARK = 'sluice-traced';

/** Tasks of the page's main thread while `run` goes on, by their thread time. Chromium only, which has pages of its own beside. */
export async function traceTasks(browser: Browser, page: Page, run: () => Promise<void>): Promise<LongTasks> {
  await browser.startTracing(undefined, {
    categories: ['toplevel', 'disabled-by-default-devtools.timeline', 'blink.user_timing', '__metadata'],
  });
  await run();
  await page.evaluate((name) => void performance.mark(name), MARK);
  const { traceEvents } = JSON.parse((await browser.stopTracing()).toString('utf8')) as { traceEvents: TraceEvent[] };
  const ours = new Set(traceEvents.filter(({ name }) => name === MARK).map(({ pid }) => pid));
  const mains = new Set(
    traceEvents
      .filter(({ name, args, pid }) => name === 'thread_name' && args?.name === 'CrRendererMain' && ours.has(pid))
      .map(({ pid, tid }) => `${pid}/${tid}`),
  );
  const times = traceEvents
    .filter(({ name, pid, tid, tdur }) => /RunTask$/.test(name) && tdur !== undefined && mains.has(`${pid}/${tid}`))
    .map(({ tdur }) => tdur! / 1000);
  if (times.length === 0) throw new Error('The trace has no tasks of a page with a thread time.');
  return { tasks: times.length, longestMs: Math.max(...times), totalMs: times.reduce((sum, ms) => sum + ms, 0) };
}

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LastingReport } from './lasting';
import { type BrowserName, browserTitles, launch, poll, type TestPage } from './launch';
import { startDevServer, type TestServer } from './servers';

let server: TestServer;
beforeAll(async () => {
  server = await startDevServer();
});
afterAll(() => server.close());

describe.each(['chromium', 'firefox'] as BrowserName[])('conversations in %s', (name) => {
  let page: TestPage | undefined;
  afterAll(() => page?.close());

  test(`${browserTitles[name]}: lost devices are replaced, a session outlives its page`, async () => {
    page = await launch(name);
    const report = await reportOf(page, 'lasting.html');
    expect(report.results).toEqual({
      'words of a reply': true,
      'saved, its id': 'a chat',
      'lost while loading': true,
      'lost in decode': true,
      'lost in prefill': true,
      'what was said': expect.arrayContaining(['started', 'done']),
    });
    const restored = await reportOf(page, 'lasting.html?restore');
    expect(restored.results).toEqual({
      'restored from': 'state',
      listed: ['a chat'],
      'listed after deleting': [],
      'restoring what was deleted': 'not-found',
    });
    // Bit for bit: the text, and the log probabilities of the likeliest tokens at every one of it.
    const [next, straight] = [restored.next!, report.next!];
    expect(straight.logprobs.length).toBeGreaterThan(5);
    for (const { logprob, top_logprobs } of straight.logprobs)
      expect([logprob, top_logprobs.length]).toEqual([expect.any(Number), 20]);
    expect(next.logprobs).toEqual(straight.logprobs);
    expect(next.text).toBe(straight.text);
    expect(next.usage.prompt_tokens_details).toEqual(straight.usage.prompt_tokens_details);
    expect(page.errors).toEqual([]);
  }, 300_000);
});

/** Of a page that is opened anew, once it is through. */
async function reportOf(page: TestPage, path: string): Promise<LastingReport> {
  await page.open(`${server.url}test/browser/${path}`);
  await poll('the page', () => page.evaluate(() => window.lastingReport?.finished || undefined), {
    timeoutMs: 280_000,
    everyMs: 500,
  });
  const report: LastingReport = await page.evaluate(() => window.lastingReport!);
  expect(report.broken).toBeUndefined();
  expect(report.unhandled).toEqual([]);
  return report;
}

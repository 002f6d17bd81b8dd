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

  test(`${browserTitles[name]}: lost devices are replaced, a session outlives its engine`, async () => {
    page = await launch(name);
    await page.open(`${server.url}test/browser/lasting.html`);
    await poll('the page', () => page!.evaluate(() => window.lastingReport?.finished || undefined), {
      timeoutMs: 280_000,
      everyMs: 500,
    });
    const report: LastingReport = await page.evaluate(() => window.lastingReport!);
    expect(report.broken).toBeUndefined();
    expect(report.results).toEqual({
      'words of a reply': true,
      'saved, its id': 'a chat',
      'restored from': 'state',
      'the next turn is the same': true,
      'and knows as much': 0,
      listed: ['a chat'],
      'listed after deleting': [],
      'restoring what was deleted': 'not-found',
      'lost while loading': true,
      'lost in decode': true,
      'lost in prefill': true,
      'what was said': expect.arrayContaining(['started', 'done']),
    });
    expect(report.unhandled).toEqual([]);
    expect(page.errors).toEqual([]);
  }, 300_000);
});

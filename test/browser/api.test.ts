import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ApiReport } from './api';
import { type BrowserName, browserTitles, launch, notApplicable, poll, type TestPage } from './launch';
import { startDevServer, type TestServer } from './servers';

let server: TestServer;
beforeAll(async () => {
  server = await startDevServer();
});
afterAll(() => server.close());

const reply = 'In a lush,';

const expected = {
  'an impossible URL': 'invalid-request',
  'a hub id that is none': 'not-found', // starts with ../, so it is a URL beside the page
  'an unknown option': 'invalid-request',
  'a wrong option': 'invalid-request',
  'a budget that is none': 'invalid-request',
  'a budget far too small': 'budget',
  'a plan of the smallest budget': true,
  'a plan of one byte less': 'budget',
  'a plan of nothing': 'not-found',
  'an empty store': [],
  'a cancelled download': 'AbortError',
  'a download, paused and resumed': 'resolved',
  'its phases': ['manifest', 'download', 'ready'],
  'what is stored': [{ complete: true, inUse: false }],
  'deleting it': 'resolved',
  'deleting it again': 'not-found',
  'the plan adds up': 0,
  'the plan is within its budget': true,
  'deleting what runs': 'storage',
  'Headers in place of an object': 'invalid-request',
  'a folder without a model': 'not-found',
  'an aborted signal': 'AbortError',
  'an abort while loading': 'AbortError',
  'progress never falls': true,
  'progress ends ready': 'ready',
  'a whole reply': reply,
  'its usage': {
    prompt_tokens: 19,
    completion_tokens: 4,
    total_tokens: 23,
    prompt_tokens_details: { cached_tokens: 0 },
  },
  'the same, streamed': reply,
  'a completion': expect.any(String),
  'tools: undefined': 'resolved',
  'tools: []': 'invalid-request',
  'no request': 'invalid-request',
  'content missing': 'invalid-request',
  'an image': 'unsupported-content',
  'a function in a message': 'invalid-request',
  'a signal that is none': 'invalid-request',
  'text that is none': 'invalid-request',
  'a prompt too long': 'context-length',
  'after break, the next request waits': 'not long',
  'after return before next, the next request waits': 'not long',
  'a cancelled stream': 'AbortError',
  'running at unload': 'unloaded',
  'queued at unload': 'unloaded',
  'tokenising at unload': 'unloaded',
  'unload twice': 'resolved',
  'a request after unload': 'unloaded',
  'a template that never ends': 'limit',
  'the request after it': 'resolved',
};

describe.each(['chromium', 'firefox'] as BrowserName[])('the API in %s', (name) => {
  const reason = notApplicable(name);
  let page: TestPage | undefined;
  afterAll(() => page?.close());

  test.skipIf(reason)(`${browserTitles[name]}: every promise settles, with a typed error where one is due`, async () => {
    page = await launch(name);
    await page.open(`${server.url}test/browser/api.html`);
    await poll('the API page', () => page!.evaluate(() => window.apiReport?.finished || undefined), {
      timeoutMs: 280_000,
      everyMs: 500,
    });
    const report: ApiReport = await page.evaluate(() => window.apiReport!);
    expect(report.broken).toBeUndefined();
    expect(report.results).toEqual(expected);
    expect(report.unhandled).toEqual([]);
  });
  if (reason) console.log(`skipped: ${browserTitles[name]}: ${reason}`);
});

/** Both ways of uploading in real browsers: their mapping, queues and device loss are their own. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { uploadCases } from '../stream/upload_cases';
import { browserTitles, launch, poll, type TestPage } from './launch';
import { startDevServer, type TestServer } from './servers';
import type {} from './upload';

let server: TestServer;
beforeAll(async () => {
  server = await startDevServer();
});
afterAll(() => server.close());

describe.each(['chromium', 'firefox'] as const)('uploads in %s', (name) => {
  let page: TestPage;
  beforeAll(async () => {
    page = await launch(name);
  });
  afterAll(() => page.close());

  test(`${browserTitles[name]} keeps what an upload path promises, in a worker`, async () => {
    await page.open(`${server.url}test/browser/upload.html`);
    const report = await poll('the upload cases', () => page.evaluate(() => window.uploadReport));
    console.log(`${name}:\n${report.rows.map(({ title, ms }) => `  ${ms.toFixed(0).padStart(5)} ms  ${title}`).join('\n')}`);
    expect(report.broken).toBeUndefined();
    expect(report.rows.filter((row) => row.failure).map((row) => `${row.title}: ${row.failure}`)).toEqual([]);
    // Without the nudge Firefox notices the end of work on a timer of 100 ms. The middle one: this machine may be busy.
    const waits = report.waitMs.toSorted((a, b) => a - b);
    console.log(`${name}: ${waits.map((ms) => ms.toFixed(1)).join(' ')} ms until a submit was seen to be done`);
    expect(waits[waits.length >> 1]).toBeLessThan(40);
    expect(report.rows).toHaveLength(2 * uploadCases.length);
    expect(page.errors).toEqual([]);
  });
});

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { browserTitles, launch, poll, type TestPage } from './launch';
import { startDevServer, type TestServer } from './servers';
import type {} from './storage';

let server: TestServer;
beforeAll(async () => {
  server = await startDevServer();
});
afterAll(() => server.close());

describe.each(['chromium', 'firefox'] as const)('byte sources in %s', (name) => {
  let page: TestPage;
  beforeAll(async () => {
    page = await launch(name);
  });
  afterAll(() => page.close());

  test(`${browserTitles[name]} keeps the contract over Blob, File and OPFS, in the page and in a worker`, async () => {
    await page.open(`${server.url}test/browser/storage.html`);
    await poll('the contract page', () =>
      page.evaluate(() => (typeof window.runStorageContract === 'function' ? true : undefined)),
    );
    const rows = await page.evaluate(() => window.runStorageContract());
    const applicable = rows.filter((row) => !row.notApplicable);
    console.log(`${name}: ${applicable.length} cases; not applicable:`, rows.filter((row) => row.notApplicable).map(describeRow));
    expect(rows.filter((row) => row.failure).map((row) => `${describeRow(row)}: ${row.failure}`)).toEqual([]);
    expect(new Set(applicable.map((row) => row.subject)).size).toBe(7);
    expect(page.errors).toEqual([]);
  });
});

function describeRow({ subject, name }: { subject: string; name: string }): string {
  return `${subject}: ${name}`;
}

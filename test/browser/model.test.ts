/**
 * The whole model in real browsers against the reference's logits: 1e-3 in f32, 1e-2 with f16 tiles. The variants for GPUs compile for half a
 * minute; Chromium's compiler and driver are those of `test/model/vectors.test.ts`, which runs them, so there they wait for `npm run test:long`.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type BrowserName, browserTitles, launch, notApplicable, poll, type TestPage } from './launch';
import type { ModelReport } from './model';
import { startDevServer, type TestServer } from './servers';

let server: TestServer;
beforeAll(async () => {
  server = await startDevServer();
});
afterAll(() => server.close());

describe.each([
  { name: 'chromium', f16: false, forGpus: process.env.SLUICE_LONG === '1' },
  { name: 'firefox', f16: false, forGpus: true },
  { name: 'firefox-f16', f16: true, forGpus: true },
] as { name: BrowserName; f16: boolean; forGpus: boolean }[])('the model in $name', ({ name, f16, forGpus }) => {
  const reason = notApplicable(name);
  let page: TestPage | undefined;
  afterAll(() => page?.close());

  test.skipIf(reason)(`${browserTitles[name]} gives the reference logits`, async () => {
    page = await launch(name);
    await page.open(`${server.url}test/browser/model.html${forGpus ? '?gpu' : ''}`);
    const done = () => page!.evaluate(() => window.modelReport?.finished || undefined);
    await poll('the reference vectors', done, { timeoutMs: 280_000, everyMs: 500 });
    const report: ModelReport = await page.evaluate(() => window.modelReport!);
    expect(report.broken).toBeUndefined();
    const models = ['dense-4bit', 'dense-bf16', 'dense-3bit', ...(forGpus ? ['dense-4bit'] : [])];
    expect(report.rows.map((row) => row.model)).toEqual(models);
    for (const { variant, prefill, decode } of report.rows) {
      const bound = variant.includes('f16') ? 1e-2 : 1e-3;
      for (const error of [prefill.worstRow, decode.worstRow]) expect(error).toBeLessThanOrEqual(bound);
    }
    if (process.platform === 'linux') expect(report.f16).toBe(f16);
    console.log(
      `${name}: ${report.rows.map((row) => `${row.model} ${row.variant} ${row.prefill.worstRow.toExponential(1)}`).join('; ')}`,
    );
  });
  if (reason) console.log(`skipped: ${browserTitles[name]}: ${reason}`);
});

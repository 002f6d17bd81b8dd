/**
 * The kernel cases in real browsers, on the three sets of features that users meet. Every case runs in Firefox, whose compiler is its own, on the
 * driver that takes a fifth of the other's time. Chromium's compiler and driver are those of `test/kernels`, where every case runs, and Firefox
 * on SwiftShader is there for what it lacks: these run the first case of each family of a kernel's variants, and every case with
 * `npm run test:long`.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { KernelReport } from './kernels';
import { type BrowserName, browserTitles, launch, notApplicable, poll, type TestPage } from './launch';
import { repository, startDevServer, type TestServer } from './servers';

/** Files of wgsl/: each has a case. */
const stems = readdirSync(join(repository, 'wgsl')).filter((file) => file.endsWith('.wgsl')).length;

let server: TestServer;
beforeAll(async () => {
  server = await startDevServer();
});
afterAll(() => server.close());

const long = process.env.SLUICE_LONG === '1';
const browsers: { name: BrowserName; subgroups: boolean; f16: boolean; few: boolean }[] = [
  { name: 'chromium', subgroups: true, f16: false, few: !long },
  { name: 'firefox', subgroups: false, f16: false, few: !long && notApplicable('firefox-f16') === undefined },
  { name: 'firefox-f16', subgroups: false, f16: true, few: false },
];

describe.each(browsers)('kernels in $name', ({ name, subgroups, f16, few }) => {
  const reason = notApplicable(name);
  let page: TestPage | undefined;
  afterAll(() => page?.close());

  test.skipIf(reason)(`${browserTitles[name]} computes what the references compute`, { timeout: 600_000 }, async () => {
    page = await launch(name);
    await page.open(`${server.url}test/browser/kernels.html${few ? '?few' : ''}`);
    const report = await finished(page);
    const skipped = report.rows.filter((row) => row.skipped !== undefined);
    console.log(`${name} (${report.adapter}): ${report.total - skipped.length} kernel cases ran, ${skipped.length} skipped`);
    for (const [why, count] of countBy(skipped.map((row) => row.skipped!))) console.log(`  ${count} skipped: ${why}`);
    expect(report.broken).toBeUndefined();
    expect(report.rows.filter((row) => row.failure).map((row) => `${row.title}: ${row.failure}`)).toEqual([]);
    expect(report.rows).toHaveLength(report.total);
    expect(new Set(report.rows.map(({ title }) => title.split(/[: ]/)[0])).size).toBe(stems);
    if (process.platform === 'linux') expect({ subgroups: report.subgroups, f16: report.f16 }).toEqual({ subgroups, f16 });
    expect(page.errors).toEqual([]);
  });
  if (reason) console.log(`skipped: ${browserTitles[name]}: ${reason}`);
});

async function finished(page: TestPage): Promise<KernelReport> {
  await poll(
    'the kernel cases',
    () => page.evaluate(() => (window.kernelReport?.finished || window.kernelReport?.broken ? true : undefined)),
    { timeoutMs: 580_000, everyMs: 500 },
  ).catch(async (error: Error) => {
    const far = await page.evaluate(() => `${window.kernelReport?.rows.length} of ${window.kernelReport?.total}`);
    throw new Error(`${error.message}; ${far} were done. ${page.errors.join('\n')}`);
  });
  return page.evaluate(() => window.kernelReport!);
}

function countBy(words: string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts;
}

/** What axe-core finds on the page that is open, with no rule switched off. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { AxeResults } from 'axe-core';
import type { TestPage } from './launch';

const source = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** One line for each place. */
export async function accessibilityProblems(page: TestPage): Promise<string[]> {
  return page.evaluate(async (code) => {
    const global = globalThis as unknown as { axe?: { run(): Promise<AxeResults> } };
    if (!global.axe) new Function(code)();
    const { violations } = await global.axe!.run();
    return violations.flatMap(({ id, nodes }) =>
      nodes.map(({ target, failureSummary }) => `${id}: ${target}: ${failureSummary}`),
    );
  }, source);
}

/**
 * npm run bench:cpu: the worker's CPU time for one decoded token of the 27B layout in Chromium, with the GPU's work made trivial.
 *   node test/bench/cpu.mjs [--precision exact|fast] [--tokens 200] [--repeat 3] [--profile] [-- flags of Chromium]
 * The kernel's account of the worker's thread, so Linux only: what other processes take of the machine does not count, and all of what the
 * thread does counts. (A trace's tasks would leave out what promises run between them, which is nearly everything.) The time is that of
 * JavaScript and of Chromium's side of WebGPU in the worker, whose commands another process carries out. `--profile` lists what takes it,
 * by the wall clock.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { createServer } from 'vite';
import { findBrowsers } from '../../scripts/browsers.mjs';
import { markedThread, selfTimes } from './cpu/trace.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const flags = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--no-sandbox', '--disable-background-networking'];
const profiling = 'disabled-by-default-v8.cpu_profiler';

await main().catch((error) => {
  console.error(`cpu: ${error.message}`);
  process.exitCode = 1;
});

async function main() {
  const text = { type: 'string' };
  const { values, positionals } = parseArgs({
    options: { precision: text, tokens: text, repeat: text, profile: { type: 'boolean' } },
    allowPositionals: true,
  });
  const tokens = Number(values.tokens ?? 200);
  const server = await createServer({ root, configFile: `${root}/vite.config.ts`, logLevel: 'error', server: { hmr: false } });
  await server.listen(0);
  const browser = await chromium.launch({ executablePath: findBrowsers().chromium?.path, args: [...flags, ...positionals] });
  try {
    const page = await browser.newPage();
    await page.goto(`${server.resolvedUrls.local[0]}test/bench/cpu/index.html`);
    await page.waitForFunction(() => globalThis.cpu !== undefined);
    for (const precision of values.precision ? [values.precision] : ['exact', 'fast']) {
      const { layers, adapter } = await page.evaluate((precision) => cpu.open(precision), precision);
      const { dispatches, submits } = await page.evaluate(() => cpu.counts());
      const thread = markedThread(await traced(browser, page, tokens)); // and V8 has compiled by then
      const runs = [];
      for (let i = 0; i < Number(values.repeat ?? 3); i++) {
        const before = threadMs(thread);
        const { wallMs } = await page.evaluate((count) => cpu.reply(count), tokens);
        runs.push({ ms: (threadMs(thread) - before) / tokens, wallMs });
      }
      const ms = runs.map(({ ms }) => ms).sort((a, b) => a - b);
      console.log(
        `${layers} layers, ${precision}: ${ms[ms.length >> 1].toFixed(2)} ms of CPU a token (${ms.map((each) => each.toFixed(2)).join(' ')}), ` +
          `${dispatches} dispatches and ${submits} submits; wall ${runs[0].wallMs.toFixed(1)} ms, ${adapter}`,
      );
      if (values.profile)
        for (const { name, ms } of selfTimes(await traced(browser, page, tokens, profiling)))
          console.log(`  ${(ms / tokens).toFixed(3)} ms  ${name}`);
    }
  } finally {
    await browser.close();
    await server.close();
  }
}

/** The trace of one reply. */
async function traced(browser, page, tokens, ...categories) {
  await browser.startTracing(undefined, { categories: ['blink.user_timing', ...categories] });
  await page.evaluate((count) => cpu.reply(count), tokens);
  return JSON.parse((await browser.stopTracing()).toString('utf8')).traceEvents;
}

/** What the thread has had of a processor since it began. */
function threadMs({ pid, tid }) {
  return Number(readFileSync(`/proc/${pid}/task/${tid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
}

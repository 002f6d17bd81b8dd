/**
 * npm run bench:rendering: whether showing a reply slows the engine that makes one, in Chromium.
 *   node test/bench/rendering.mjs [--headed] [--build] [--preset qwen3.5-9b] [--pairs 10] [--seconds 20] [--json file] [-- flags of Chromium]
 * The page is built as one static folder, dist/bench-rendering, which runs in any browser; `--build` ends there, and
 * `index.html?post=/result` runs unattended.
 */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build, preview } from 'vite';
import { runPage } from './run_page.mjs';

const configFile = join(dirname(fileURLToPath(import.meta.url)), 'rendering/vite.config.mjs');

await main().catch((error) => {
  console.error(`rendering: ${process.env.SLUICE_DEBUG ? error.stack : error.message}`);
  process.exitCode = 1;
});

async function main() {
  const text = { type: 'string' };
  const flag = { type: 'boolean' };
  const { values, positionals } = parseArgs({
    options: { headed: flag, build: flag, preset: text, pairs: text, seconds: text, json: text },
    allowPositionals: true,
  });
  await build({ configFile });
  if (values.build) return;
  const server = await preview({ configFile, preview: { port: 0 } });
  try {
    const query = new URLSearchParams(
      ['preset', 'pairs', 'seconds'].flatMap((name) => (values[name] ? [[name, values[name]]] : [])),
    );
    const outcome = await runPage(`${server.resolvedUrls.local[0]}?${query}`, { headless: !values.headed, flags: positionals });
    if (values.json) writeFileSync(values.json, `${JSON.stringify(outcome, null, 1)}\n`);
    if (outcome.error) throw new Error(outcome.error);
    console.log(report(outcome));
  } finally {
    await server.close();
  }
}

function report({ preset, small, adapter, pairs, slowdown, medians }) {
  const percent = (value) => `${(100 * value).toFixed(2)} %`;
  return [
    `${adapter.vendor} ${adapter.architecture || adapter.description}`.trim(),
    ...(small ? ['No GPU: these figures mean nothing for speed. A small model was run to show that everything works.'] : []),
    `${preset}, ${pairs.length} pairs: ${medians.bare.toFixed(1)} tokens/s with nothing shown, ${medians.shown.toFixed(1)} beside a reply at 200 tokens/s`,
    `slower by ${percent(slowdown.median)} (median; ${percent(slowdown.least)} to ${percent(slowdown.most)})`,
  ].join('\n');
}

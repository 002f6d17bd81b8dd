/**
 * npm run bench:peers: Sluice beside onnxruntime-web and wllama in one Chromium, on equal shapes and bits.
 *   node test/bench/peers.mjs [--headed] [--build] [--only ort,wllama] [--tokens 1,8,512] [--preset qwen3.5-0.8b] [--json file] [-- flags of Chromium]
 * The page is built as one static folder, dist/bench-peers, which runs in any browser; `--build` ends there, and
 * `index.html?post=/result` runs unattended. The peers are packages of test/bench/peers, installed there at the first run.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build, preview } from 'vite';
import { report } from './peers/report.js';
import { runPage } from './run_page.mjs';

const folder = join(dirname(fileURLToPath(import.meta.url)), 'peers');
const configFile = join(folder, 'vite.config.mjs');
/** wllama uses threads where it may share memory. */
const headers = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };

await main().catch((error) => {
  console.error(`peers: ${process.env.SLUICE_DEBUG ? error.stack : error.message}`);
  process.exitCode = 1;
});

async function main() {
  const text = { type: 'string' };
  const flag = { type: 'boolean' };
  const { values, positionals } = parseArgs({
    options: { headed: flag, build: flag, only: text, tokens: text, preset: text, json: text },
    allowPositionals: true,
  });
  installPeers();
  await build({ configFile });
  if (values.build) return;
  const server = await preview({ configFile, preview: { port: 0, headers } });
  try {
    const query = new URLSearchParams(
      ['only', 'tokens', 'preset'].flatMap((name) => (values[name] ? [[name, values[name]]] : [])),
    );
    const outcome = await runPage(`${server.resolvedUrls.local[0]}?${query}`, { headless: !values.headed, flags: positionals });
    if (values.json) writeFileSync(values.json, `${JSON.stringify(outcome, null, 1)}\n`);
    if (outcome.error) throw new Error(outcome.error);
    console.log(report(outcome));
  } finally {
    await server.close();
  }
}

function installPeers() {
  if (existsSync(join(folder, 'node_modules/onnxruntime-web'))) return;
  console.error('installing the peers …');
  const { status } = spawnSync('npm', ['ci'], { cwd: folder, stdio: ['ignore', 2, 2], shell: process.platform === 'win32' });
  if (status !== 0) throw new Error(`npm ci failed in ${folder}`);
}

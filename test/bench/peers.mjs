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
import { chromium } from 'playwright-core';
import { build, preview } from 'vite';
import { findBrowsers } from '../../scripts/browsers.mjs';
import { report } from './peers/report.js';

const folder = join(dirname(fileURLToPath(import.meta.url)), 'peers');
const configFile = join(folder, 'vite.config.mjs');
const usual = ['--enable-unsafe-webgpu', '--disable-background-networking', '--disable-component-update', '--no-first-run'];
/** On Linux Chromium asks for these before it lets WebGPU near a GPU; without one there is SwiftShader. */
const adapters =
  process.platform === 'linux'
    ? [['--enable-features=Vulkan', '--use-angle=vulkan', '--ignore-gpu-blocklist'], ['--use-webgpu-adapter=swiftshader']]
    : [[]];
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
    const outcome = await runPage(`${server.resolvedUrls.local[0]}?${query}`, !values.headed, positionals);
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

/** On the machine's GPU where Chromium finds one. */
async function runPage(url, headless, flags) {
  const executablePath = findBrowsers().chromium?.path;
  if (!executablePath) throw new Error('Chromium is missing. Run: node scripts/browsers.mjs --install');
  for (const adapter of adapters) {
    const browser = await chromium.launch({ executablePath, headless, args: [...usual, ...adapter, ...flags, ...sandbox()] });
    try {
      const page = await browser.newPage();
      page.on('console', (message) => {
        if (process.env.SLUICE_DEBUG) console.error(message.text());
      });
      await page.goto(url);
      const found = await page.evaluate(async () => (await navigator.gpu?.requestAdapter()) != null);
      if (!found && adapter !== adapters.at(-1)) continue;
      return await page.evaluate(() => globalThis.outcome);
    } finally {
      await browser.close();
    }
  }
}

/** Chromium's sandbox does not start for root. */
function sandbox() {
  return process.getuid?.() === 0 ? ['--no-sandbox'] : [];
}

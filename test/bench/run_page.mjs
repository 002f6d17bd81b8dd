/** A benchmark's page in Chromium. */
import { chromium } from 'playwright-core';
import { findBrowsers } from '../../scripts/browsers.mjs';

const usual = ['--enable-unsafe-webgpu', '--disable-background-networking', '--disable-component-update', '--no-first-run'];
/** On Linux Chromium asks for these before it lets WebGPU near a GPU; without one there is SwiftShader. */
const adapters =
  process.platform === 'linux'
    ? [['--enable-features=Vulkan', '--use-angle=vulkan', '--ignore-gpu-blocklist'], ['--use-webgpu-adapter=swiftshader']]
    : [[]];

/** What a page leaves in `outcome`, on the machine's GPU where Chromium finds one. */
export async function runPage(url, { headless, flags }) {
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

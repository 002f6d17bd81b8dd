/** One browser with several tabs over one profile on disk: what they store outlives a tab, and the browser. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BrowserContext, chromium, firefox as playwrightFirefox } from 'playwright-core';
import puppeteer, { type Page } from 'puppeteer-core';
import { driverEnvironment, findBrowsers } from '../../scripts/browsers.mjs';
import { CHROMIUM_FLAGS, EVALUATE_LIMIT_MS, FIREFOX_PREFS } from './launch';

export type TabsBrowserName = 'chromium' | 'firefox';

export interface Tab {
  open(url: string): Promise<void>;
  evaluate<T>(run: () => T | Promise<T>): Promise<T>;
  evaluate<T, A>(run: (argument: A) => T | Promise<T>, argument: A): Promise<T>;
  /** Without asking the page. */
  close(): Promise<void>;
  /** Chromium only. `bytes` undefined: as it was. It ends with the tab. */
  setQuota?(origin: string, bytes?: number): Promise<void>;
}

export interface TabsBrowser {
  newTab(): Promise<Tab>;
  close(): Promise<void>;
}

export function temporaryProfile(): { folder: string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-profile-'));
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 }) };
}

export type TabsOptions = {
  /** With WebGPU, on SwiftShader. */
  gpu?: boolean;
};

/** @throws where the browser is missing. */
export async function launchTabs(
  name: TabsBrowserName,
  profile: string,
  { gpu = false }: TabsOptions = {},
): Promise<TabsBrowser> {
  const found = findBrowsers();
  const browser = name === 'chromium' ? found.chromium : found.firefox;
  const withGpu = { extraPrefsFirefox: FIREFOX_PREFS, env: { ...process.env, ...driverEnvironment(found.swiftshader) } };
  if (!browser) throw new Error(`${name} is missing. Run: node scripts/browsers.mjs --install`);
  if (name === 'firefox' && !browser.isPlaywrights) return puppeteerFirefox(browser.path, profile, gpu ? withGpu : {});
  const type = name === 'chromium' ? chromium : playwrightFirefox;
  const withoutGpu = ['--no-sandbox', '--disable-background-networking', '--no-first-run'];
  const args = name === 'chromium' ? (gpu ? CHROMIUM_FLAGS : withoutGpu) : [];
  const { extraPrefsFirefox: firefoxUserPrefs, env } = withGpu;
  const firefoxOnly = name === 'firefox' && gpu ? { firefoxUserPrefs, env } : {};
  return playwrightTabs(
    await type.launchPersistentContext(profile, { executablePath: browser.path, args, ...firefoxOnly }),
    name,
  );
}

function playwrightTabs(context: BrowserContext, name: TabsBrowserName): TabsBrowser {
  return {
    async newTab() {
      const page = await context.newPage();
      return {
        open: async (url) => void (await page.goto(url)),
        evaluate: <T, A>(run: (argument: A) => T | Promise<T>, argument?: A) =>
          page.evaluate(run as (argument: unknown) => T, argument) as Promise<T>,
        close: () => page.close(),
        ...(name === 'chromium'
          ? {
              setQuota: async (origin: string, quotaSize?: number) => {
                const session = await context.newCDPSession(page);
                await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize });
              },
            }
          : {}),
      };
    },
    close: () => context.close(),
  };
}

type FirefoxSetting = { extraPrefsFirefox?: Record<string, unknown>; env?: Record<string, string | undefined> };

async function puppeteerFirefox(executablePath: string, userDataDir: string, setting: FirefoxSetting): Promise<TabsBrowser> {
  const browser = await puppeteer.launch({
    ...{ browser: 'firefox', executablePath, userDataDir, headless: true },
    ...{ protocolTimeout: EVALUATE_LIMIT_MS, timeout: 120_000 },
    ...setting,
  });
  return {
    newTab: async () => puppeteerTab(await browser.newPage()),
    close: () => browser.close(),
  };
}

export function puppeteerTab(page: Page): Tab {
  return {
    open: async (url) => void (await page.goto(url, { timeout: 120_000 })),
    evaluate: <T, A>(run: (argument: A) => T | Promise<T>, argument?: A) =>
      page.evaluate(run as (argument: unknown) => T, argument) as Promise<T>,
    close: () => page.close(),
  };
}

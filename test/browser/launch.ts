/**
 * Chromium and Firefox behind one small interface. Chromium is driven by Playwright; a stock Firefox speaks WebDriver BiDi, which
 * puppeteer knows, and only Playwright's own build of Firefox speaks Playwright's protocol.
 */
import { type BrowserContext, chromium, type Page as PlaywrightPage, firefox as playwrightFirefox } from 'playwright-core';
import puppeteer, { type KeyInput, type Page as PuppeteerPage } from 'puppeteer-core';
import { driverEnvironment, findBrowsers } from '../../scripts/browsers.mjs';

export type BrowserName = 'chromium' | 'firefox' | 'firefox-f16';

/** What each browser is here for: the adapters are the same on every Linux machine, whatever GPU it has. */
export const browserTitles: Record<BrowserName, string> = {
  chromium: 'Chromium on SwiftShader (subgroups)',
  firefox: 'Firefox on SwiftShader (neither subgroups nor f16)',
  'firefox-f16': 'Firefox on llvmpipe (f16)',
};

export type Viewport = { width: number; height: number };

/** One browser with one page. */
export interface TestPage {
  /** Console errors, uncaught exceptions and failed requests of the page and its workers, since the start. */
  readonly errors: string[];
  /** Addresses asked for, since the start. */
  readonly requests: string[];
  open(url: string): Promise<void>;
  /** `script` runs in every document from now on, before its own scripts. */
  prepare(script: string): Promise<void>;
  /** Runs in the page; `argument` and the result cross as JSON. */
  evaluate<T>(run: () => T | Promise<T>): Promise<T>;
  evaluate<T, A>(run: (argument: A) => T | Promise<T>, argument: A): Promise<T>;
  /** One key as its `KeyboardEvent.key` names it, 'Tab', 'Enter', or 'Shift+Tab'. */
  press(key: string): Promise<void>;
  /** Text, key by key. */
  type(text: string): Promise<void>;
  /** Chromium only: Firefox over BiDi cannot. */
  setColorScheme(scheme: 'light' | 'dark'): Promise<void>;
  /** Chromium only, likewise. */
  setForcedColors(forced: boolean): Promise<void>;
  setViewport(viewport: Viewport): Promise<void>;
  /** Chromium only: the page's process dies at once, with nothing said to the page. A new page of the same profile takes its place. */
  crash(): Promise<void>;
  /** Chromium only: the process that talks to the GPU dies, and every device of every page with it. */
  crashGpu(): Promise<void>;
  screenshot(path: string): Promise<void>;
  close(): Promise<void>;
}

/** A page may compute for minutes on a software adapter. */
export const EVALUATE_LIMIT_MS = 600_000;

export const CHROMIUM_FLAGS = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--no-sandbox',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
  '--disable-quic',
];

export const FIREFOX_PREFS = {
  'dom.webgpu.enabled': true,
  'gfx.webgpu.ignore-blocklist': true,
  'dom.webgpu.workers.enabled': true,
};

/**
 * Why this browser cannot run here, or undefined. Only a driver that the operating system cannot have is a reason: a browser that
 * is missing is a failure, not something to pass over.
 */
export function notApplicable(name: BrowserName): string | undefined {
  return name === 'firefox-f16' && process.platform !== 'linux' ? 'llvmpipe is a Linux driver' : undefined;
}

export async function launch(name: BrowserName): Promise<TestPage> {
  const found = findBrowsers();
  const browser = name === 'chromium' ? found.chromium : found.firefox;
  if (!browser) throw new Error(`${browserTitles[name]} is missing. Run: node scripts/browsers.mjs --install`);
  if (name === 'chromium') return launchChromium(browser.path);
  const icd = name === 'firefox-f16' ? found.llvmpipe : found.swiftshader;
  if (!icd && process.platform === 'linux')
    throw new Error(`The driver of ${browserTitles[name]} is missing. Run: node scripts/browsers.mjs --install`);
  const env = driverEnvironment(icd);
  return browser.isPlaywrights ? launchPlaywrightFirefox(browser.path, env) : launchFirefox(browser.path, env);
}

async function launchChromium(executablePath: string): Promise<TestPage> {
  const browser = await chromium.launch({ executablePath, args: CHROMIUM_FLAGS });
  const crashGpu = async () => {
    const session = await browser.newBrowserCDPSession();
    await session.send('Browser.crashGpuProcess');
  };
  return playwrightPage(await browser.newContext(), () => browser.close(), crashGpu);
}

async function launchPlaywrightFirefox(executablePath: string, env: Record<string, string>): Promise<TestPage> {
  const browser = await playwrightFirefox.launch({
    executablePath,
    firefoxUserPrefs: FIREFOX_PREFS,
    env: { ...process.env, ...env },
  });
  return playwrightPage(
    await browser.newContext(),
    () => browser.close(),
    () => Promise.reject(new Error('Firefox cannot crash its GPU process.')),
  );
}

async function playwrightPage(
  context: BrowserContext,
  close: () => Promise<void>,
  crashGpu: () => Promise<void>,
): Promise<TestPage> {
  const errors: string[] = [];
  const requests: string[] = [];
  const onCrash = () => void errors.push('the page crashed');
  const newPage = async (): Promise<PlaywrightPage> => {
    const made = await context.newPage();
    made.on('console', (message) => {
      if (message.type() === 'error') errors.push(`console: ${message.text()} (${message.location().url})`);
    });
    made.on('pageerror', (error) => errors.push(`uncaught: ${error.message}`));
    made.on('crash', onCrash);
    made.on('request', (request) => requests.push(request.url()));
    return made;
  };
  let page = await newPage();
  return {
    errors,
    requests,
    open: async (url) => void (await page.goto(url)),
    prepare: async (script) => void (await context.addInitScript(script)),
    evaluate: <T, A>(run: (argument: A) => T | Promise<T>, argument?: A) =>
      page.evaluate(run as (argument: unknown) => T, argument) as Promise<T>,
    press: (key) => page.keyboard.press(key),
    type: (text) => page.keyboard.type(text),
    setColorScheme: (colorScheme) => page.emulateMedia({ colorScheme }),
    setForcedColors: (forced) => page.emulateMedia({ forcedColors: forced ? 'active' : 'none' }),
    setViewport: (viewport) => page.setViewportSize(viewport),
    async crash() {
      page.off('crash', onCrash);
      const crashed = page.waitForEvent('crash');
      page.goto('chrome://crash').catch(() => {}); // it never arrives
      await crashed;
      await page.close();
      page = await newPage();
    },
    crashGpu,
    screenshot: async (path) => void (await page.screenshot({ path })),
    close,
  };
}

async function launchFirefox(executablePath: string, env: Record<string, string>): Promise<TestPage> {
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath,
    headless: true,
    extraPrefsFirefox: FIREFOX_PREFS,
    env: { ...process.env, ...env },
    protocolTimeout: EVALUATE_LIMIT_MS,
    timeout: 120_000,
  });
  const page: PuppeteerPage = await browser.newPage();
  const errors: string[] = [];
  const requests: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(`console: ${message.text()} (${message.location().url ?? ''})`);
  });
  page.on('pageerror', (error) => errors.push(`uncaught: ${error instanceof Error ? error.message : String(error)}`));
  page.on('request', (request) => requests.push(request.url()));
  return {
    errors,
    requests,
    open: async (url) => void (await page.goto(url, { timeout: 120_000 })),
    prepare: async (script) => void (await page.evaluateOnNewDocument(script)),
    evaluate: <T, A>(run: (argument: A) => T | Promise<T>, argument?: A) =>
      page.evaluate(run as (argument: unknown) => T, argument) as Promise<T>,
    async press(key) {
      const [last, ...held] = key.split('+').reverse() as KeyInput[];
      for (const modifier of held) await page.keyboard.down(modifier);
      await page.keyboard.press(last!);
      for (const modifier of held) await page.keyboard.up(modifier);
    },
    type: (text) => page.keyboard.type(text),
    setColorScheme: () => Promise.reject(new Error('Firefox over BiDi has no colour scheme emulation.')),
    setForcedColors: () => Promise.reject(new Error('Firefox over BiDi has no emulation of forced colours.')),
    setViewport: (viewport) => page.setViewport(viewport),
    crash: () => Promise.reject(new Error('Firefox over BiDi cannot crash a page.')),
    crashGpu: () => Promise.reject(new Error('Firefox over BiDi cannot crash its GPU process.')),
    screenshot: async (path) => void (await page.screenshot({ path: path as `${string}.png` })),
    close: () => browser.close(),
  };
}

/** Asks until the page answers with something other than undefined; short questions, so that a long job blocks nothing. */
export async function poll<T>(
  what: string,
  ask: () => Promise<T | undefined>,
  { timeoutMs = 120_000, everyMs = 200 }: { timeoutMs?: number; everyMs?: number } = {},
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${timeoutMs / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

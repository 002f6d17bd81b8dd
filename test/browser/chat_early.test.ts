/**
 * Before a model is there. A message that is sent while it loads: shown, kept and answered by itself, taken back on request, and never lost. What
 * the catalogue says of each model before anything is fetched.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import axe from 'axe-core';
import { type Browser, chromium, type Page, type Route } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { CATALOGUE } from '../../demo/catalogue';
import { formatBytes } from '../../demo/format';
import { findBrowsers } from '../../scripts/browsers.mjs';
import { HUB_COMMIT, startHub } from '../servers/hub_server';
import { CHROMIUM_FLAGS } from './launch';
import { repository, startStaticServer, type TestServer } from './servers';

const STORY = 'Tell me a story about a fox.';
const long = Boolean(process.env.SLUICE_LONG);
const WEIGHTS = '**/model.safetensors';

let server: TestServer;
let browser: Browser;
let page: Page;
/** Lets the weights come, or fails them. */
let answerWeights: (how: 'continue' | 'abort') => void;

beforeAll(async () => {
  server = await startStaticServer({ folder: join(repository, 'dist/site') });
  browser = await chromium.launch({ executablePath: findBrowsers().chromium!.path, args: CHROMIUM_FLAGS });
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
});
beforeEach(async () => {
  const context = await browser.newContext({ viewport: { width: 1600, height: 1000 }, reducedMotion: 'reduce' });
  page = await context.newPage();
  await page.addInitScript(() => {
    localStorage.setItem('sluice.settings', JSON.stringify({ seed: 1, maxTokens: 8 }));
    const shifts: unknown[] = [];
    const said: string[] = [];
    Object.assign(window, { shifts, said });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries() as (PerformanceEntry & { sources: { node: Node | null }[] })[]) {
        const outside = entry.sources.filter(({ node }) => !(node instanceof Element && node.closest('.reply')));
        if (outside.length > 0) shifts.push(outside.map(({ node }) => (node as Element | null)?.outerHTML?.slice(0, 120)));
      }
    }).observe({ type: 'layout-shift', buffered: true });
    addEventListener('DOMContentLoaded', () => {
      const region = document.querySelector('#announcer')!;
      const options = { childList: true, characterData: true, subtree: true };
      new MutationObserver(() => said.push(region.textContent!)).observe(region, options);
    });
  });
  await holdWeights();
  await page.goto(server.url);
});
afterEach(() => page.context().close());

test('is on the page at once, survives a reload, and is answered by itself', async () => {
  await send(STORY);
  await page.waitForTimeout(700); // what follows a press at once is no shift, by definition
  expect(await shown()).toEqual({ user: [STORY], state: 'queued', note: 'Waiting for the model', box: '', busy: 'true' });
  expect(await said()).toContain('The message is sent. The reply begins when the model is ready.');
  expect(await page.getByTestId('send').getAttribute('aria-disabled')).toBe('true');
  expect(await page.getByTestId('progress').isVisible()).toBe(true);
  expect(await leftOf('#load-text')).toBe(await leftOf('#load-bar'));
  expect(await axeProblems()).toEqual([]);
  if (long) await pictures();
  await page.reload();
  await page.waitForFunction(() => document.querySelector('[data-state=queued]') !== null);
  expect(await shown()).toMatchObject({ user: [STORY], note: 'Waiting for the model', busy: 'true' });
  answerWeights('continue');
  await replyEnds();
  expect(await shown()).toMatchObject({ user: [STORY], box: '', busy: 'false' });
  expect(await said()).toContain('The reply has started');
  expect(await page.evaluate(() => (window as unknown as { shifts: unknown[] }).shifts)).toEqual([]);
}, 120_000);

test('Escape gives it back with its file, and nothing of it stays', async () => {
  const file = { name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('words') };
  await page.getByTestId('attach-input').setInputFiles([file]);
  await page.waitForFunction(() => document.querySelectorAll('#attachments .chip').length === 1);
  await send(STORY);
  expect(await page.locator('#attachments .chip').count()).toBe(0);
  await page.getByTestId('composer').fill('and a boat');
  await page.keyboard.press('Escape');
  expect(await shown()).toEqual({ user: [], state: '', note: '', box: `${STORY}\n\nand a boat`, busy: 'false' });
  expect(await page.locator('#attachments .chip').count()).toBe(1);
  expect(await page.getByTestId('empty').isVisible()).toBe(true);
  await page.waitForFunction(() => document.querySelectorAll('[data-testid=chat-item]').length === 0);
  expect((await said()).at(-1)).toBe('The message is in the box again');
  answerWeights('continue');
  await ready();
  expect(await shown()).toMatchObject({ user: [], busy: 'false' });
  await page.reload();
  await ready();
  expect(await page.getByTestId('chat-item').count()).toBe(0);
}, 120_000);

test('a load that fails keeps it, and another one answers it', async () => {
  await send(STORY);
  answerWeights('abort');
  await page.waitForFunction(() => !document.querySelector<HTMLElement>('#notice-error')!.hidden, null, { timeout: 60_000 });
  expect(await shown()).toMatchObject({ user: [STORY], state: 'queued', busy: 'true' });
  await holdWeights();
  await page.getByTestId('notice-primary').click(); // Try again
  answerWeights('continue');
  await replyEnds();
  expect(await shown()).toMatchObject({ user: [STORY], busy: 'false' });
}, 120_000);

test.runIf(long)(
  'a suggestion and the button send, too; the next message of a conversation waits like its first',
  async () => {
    await page.getByTestId('suggestion').first().click();
    expect(await shown()).toMatchObject({ state: 'queued' });
    answerWeights('continue');
    await replyEnds();
    await holdWeights();
    await page.getByTestId('open-picker').click();
    await page.getByTestId('use-bundled').click();
    await page.waitForFunction(() => document.querySelector<HTMLElement>('#composer-form')!.dataset.ready === 'false');
    await page.getByTestId('composer').fill('And a boat.');
    await page.getByTestId('send').click();
    expect((await shown()).user).toHaveLength(2);
    await page.getByTestId('stop').click();
    expect(await shown()).toMatchObject({ user: [expect.any(String)], box: 'And a boat.', busy: 'false' });
    await page.getByTestId('send').click();
    answerWeights('continue');
    await replyEnds();
    expect((await shown()).user).toHaveLength(2);
  },
  120_000,
);

test.runIf(long)(
  'of a temporary chat nothing is stored',
  async () => {
    await page.getByTestId('temporary').click();
    await send(STORY);
    expect(await shown()).toMatchObject({ state: 'queued' });
    answerWeights('continue');
    await replyEnds();
    expect(await page.getByTestId('chat-item').count()).toBe(0);
    await page.reload();
    await ready();
    expect(await shown()).toMatchObject({ user: [] });
  },
  120_000,
);

test('the catalogue gives size, licence, checks and pin of each model, and its speed here on request', async () => {
  const [entry] = CATALOGUE;
  const { hub, asked } = await standInForHub(entry!);
  await page.getByTestId('open-picker').click();
  const said = await page.getByTestId('catalogue-entry').evaluateAll((rows) =>
    rows.map((row) => {
      const text = (name: string) => row.querySelector(`[data-part=${name}]`)!.textContent;
      const { href, rel, target } = row.querySelector<HTMLAnchorElement>('[data-part=licence] a')!;
      const texts = ['name', 'size', 'licence', 'checked', 'pin', 'speed'].map(text);
      return { texts, href, rel, target, shown: (row as HTMLElement).innerText.includes(`Licence: ${text('licence')}`) };
    }),
  );
  expect(said).toEqual(
    CATALOGUE.map(({ id, name, bytes, licence, checked, commit }) => ({
      texts: [
        ...[name, formatBytes(bytes), licence ?? 'not stated'],
        { weights: 'Checked with: real weights', vectors: 'Checked with: vectors only' }[checked],
        ...[`pinned to ${commit.slice(0, 8)}`, ''],
      ],
      ...{ href: `https://huggingface.co/${id}`, rel: 'noopener noreferrer', target: '_blank', shown: true },
    })),
  );
  expect(asked).toEqual([]);
  await page.getByTestId('catalogue-predict').first().click();
  const speed = page.getByTestId('catalogue-entry').first().locator('[data-part=speed]');
  await speed
    .filter({ hasText: /^Predicted here, in [\d.]+ [MG]B of GPU memory: .*\d tok\/s, nothing streams\.$/ })
    .waitFor({ timeout: 30_000 });
  expect(asked.length).toBeGreaterThan(0);
  expect(asked.filter((url) => !url.includes(entry!.commit))).toEqual([]);
  await hub.close();
});

/** The hub, as this page's browser sees it: the bundled model under the name and the commit of `entry`, and nothing else. */
async function standInForHub({ id, commit }: { id: string; commit: string }) {
  const folder = join(repository, 'demo/model');
  const files = new Map(readdirSync(folder).map((name) => [name, new Uint8Array(readFileSync(join(folder, name)))]));
  const hub = await startHub(new Map(), new Map([[id, files]]));
  const asked: string[] = [];
  await page.route('https://huggingface.co/**', async (route) => {
    asked.push(route.request().url());
    const url = route.request().url().replace('https://huggingface.co', hub.hubUrl).replace(commit, HUB_COMMIT);
    await route.fulfill({ response: await route.fetch({ url }) });
  });
  return { hub, asked };
}

async function holdWeights(): Promise<void> {
  await page.unroute(WEIGHTS);
  let release = (_: 'continue' | 'abort') => {};
  const held = new Promise<'continue' | 'abort'>((resolve) => {
    release = resolve;
  });
  answerWeights = release;
  await page.route(WEIGHTS, async (route: Route) => {
    const how = await held;
    await (how === 'abort' ? route.abort() : route.continue()).catch(() => {}); // the page may have gone
  });
}

async function send(text: string): Promise<void> {
  await page.getByTestId('composer').fill(text);
  await page.keyboard.press('Enter');
}

function shown() {
  return page.evaluate(() => {
    const reply = [...document.querySelectorAll<HTMLElement>('[data-testid=turn-assistant]')].at(-1);
    return {
      user: [...document.querySelectorAll('[data-testid=turn-user] .bubble')].map((bubble) => bubble.textContent),
      state: reply?.dataset.state ?? '',
      note: reply?.querySelector('[data-part=note]')?.textContent ?? '',
      box: document.querySelector<HTMLTextAreaElement>('[data-testid=composer]')!.value,
      busy: document.body.dataset.busy,
    };
  });
}

const leftOf = async (selector: string): Promise<number> => Math.round((await page.locator(selector).boundingBox())!.x);

function said(): Promise<string[]> {
  return page.evaluate(() => (window as unknown as { said: string[] }).said);
}

async function ready(): Promise<void> {
  await page.waitForFunction(() => document.querySelector<HTMLElement>('#composer-form')!.dataset.ready === 'true', null, {
    timeout: 60_000,
  });
}

async function replyEnds(): Promise<void> {
  await page.waitForFunction(
    () => {
      const reply = [...document.querySelectorAll<HTMLElement>('[data-testid=turn-assistant]')].at(-1);
      return reply && ['stop', 'length'].includes(reply.dataset.state!) && reply.querySelector('.words')!.textContent !== '';
    },
    null,
    { timeout: 60_000 },
  );
}

/** For people to look at: test/screenshots (not in git). */
async function pictures(): Promise<void> {
  for (const width of [390, 900, 1600])
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: join(repository, `test/screenshots/waiting-${width}-${colorScheme}.png`) });
    }
}

async function axeProblems(): Promise<string[]> {
  await page.addScriptTag({ content: axe.source });
  return page.evaluate(async () => {
    const { violations } = await (window as unknown as { axe: typeof import('axe-core') }).axe.run(document);
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 200)).join(' | ')}`);
  });
}

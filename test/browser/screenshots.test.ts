/**
 * Pictures of the page at phone, tablet and wide-screen width, light and dark, for people to look at: test/screenshots (not in git).
 * What a machine can tell is checked here: nothing scrolls sideways, and nothing that can be pressed is out of sight.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { large } from '../demo/plans';
import { ended, openChat, press, send, watchReply } from './chat_page';
import { launch, poll, type TestPage } from './launch';
import { showConversation } from './rich_conversation';
import { repository, startDevServer, startStaticServer, type TestServer } from './servers';

const folder = join(repository, 'test/screenshots');
const sizes = [
  { width: 390, height: 844 },
  { width: 900, height: 1100 },
  { width: 1600, height: 1000 },
];
const schemes = ['light', 'dark'] as const;
const cases = sizes.flatMap((size) => schemes.map((scheme) => ({ ...size, scheme })));

let server: TestServer;
let page: TestPage;
beforeAll(async () => {
  mkdirSync(folder, { recursive: true });
  server = await startStaticServer({ folder: join(repository, 'dist/site') });
  page = await launch('chromium');
  await openChat(page, server.url, { maxTokens: 80 });
});
afterAll(async () => {
  await page?.close();
  await server?.close();
});

test.each(cases)('before the first message, $width pixels, $scheme', (each) => picture('start', each));

test('a story is told', async () => {
  await send(page, 'Tell me a story about a fox who lost its tail.');
  const seen = await watchReply(page, ended);
  expect(seen.at(-1)!.text.length).toBeGreaterThan(80);
});

test.each(cases)('after a story, $width pixels, $scheme', (each) => picture('story', each));

test('a reply with code, maths, a table, files and versions is on the page', async () => {
  await page.setViewport({ width: 1600, height: 1000 });
  await showConversation(page);
});

test.each(cases)('a conversation with everything in it, $width pixels, $scheme', (each) => picture('conversation', each));

test.each(cases)('the list of conversations, $width pixels, $scheme', async (each) => {
  if (each.width >= 1200) return; // in the rail, on every picture
  await press(page, 'open-chats');
  await picture('chats', each);
  await closeDialog();
});

test.each(cases)('settings, $width pixels, $scheme', async (each) => {
  await press(page, 'open-settings');
  await picture('settings', each);
  await page.evaluate(() => document.querySelector<HTMLDialogElement>('dialog[open]')!.close());
});

test.each(cases)('the model picker, $width pixels, $scheme', async (each) => {
  await press(page, 'open-picker');
  await picture('picker', each);
  await page.evaluate(() => document.querySelector<HTMLDialogElement>('dialog[open]')!.close());
});

test.each(cases)('the memory plan of the story model, $width pixels, $scheme', async (each) => {
  await press(page, 'open-memory');
  await poll('the plan', () =>
    page.evaluate(() => !document.querySelector<HTMLInputElement>('#budget-slider')!.disabled || undefined),
  );
  await picture('memory', each);
  await closeDialog();
});

test.each(cases)('a smaller budget, planned, $width pixels, $scheme', async (each) => {
  await press(page, 'open-memory');
  await poll('the slider', () =>
    page.evaluate(() => !document.querySelector<HTMLInputElement>('#budget-slider')!.disabled || undefined),
  );
  await page.evaluate(() => {
    const slider = document.querySelector<HTMLInputElement>('#budget-slider')!;
    slider.value = '80';
    slider.dispatchEvent(new Event('input'));
  });
  await poll('the plan', () =>
    page.evaluate(() => document.querySelector('#plan-badge')!.textContent === 'planned' || undefined),
  );
  await picture('memory-planned', each);
  await closeDialog();
});

test.each(cases)('stored models, $width pixels, $scheme', async (each) => {
  await press(page, 'open-picker');
  await press(page, 'picker-storage');
  await poll('the list', () => page.evaluate(() => document.querySelector('.stored') !== null || undefined));
  await picture('storage', each);
  await closeDialog();
});

test('no console errors', () => expect(page.errors).toEqual([]));

describe('with the modules at hand', () => {
  let dev: TestServer;
  beforeAll(async () => {
    dev = await startDevServer();
    await openChat(page, dev.url);
  });
  afterAll(() => dev?.close());

  test.each(cases)('the memory plan of a 27B model, $width pixels, $scheme', async (each) => {
    await press(page, 'open-memory');
    await poll('the plan', () =>
      page.evaluate(() => !document.querySelector<HTMLInputElement>('#budget-slider')!.disabled || undefined),
    );
    await page.evaluate(async (plan) => {
      // As text: the test runner rewrites an import that it sees.
      const load = new Function("return import('/demo/plan_picture.ts')") as () => Promise<
        typeof import('../../demo/plan_picture')
      >;
      const { PlanPicture } = await load();
      new PlanPicture().show(plan);
      document.querySelector<HTMLInputElement>('#budget-slider')!.value = '199';
      document.querySelector('#budget-least')!.textContent = '962 MB, the smallest';
      document.querySelector('#budget-most')!.textContent = '17.0 GB holds everything';
      document.querySelector('#plan-state')!.textContent = 'This is what runs: 1.5 s per token, 12.5 GB stream for each token.';
    }, large);
    await picture('memory-27b', each);
    await closeDialog();
  });
});

async function closeDialog(): Promise<void> {
  await page.evaluate(() => document.querySelector<HTMLDialogElement>('dialog[open]')!.close());
}

async function picture(what: string, { width, height, scheme }: (typeof cases)[number]): Promise<void> {
  await page.setViewport({ width, height });
  await page.setColorScheme(scheme);
  await page.screenshot(join(folder, `${what}-${width}-${scheme}.png`));
  const layout = await page.evaluate(() => {
    const root = document.documentElement;
    const shown = Array.from(document.querySelectorAll<HTMLElement>('button, input, select, textarea, a[href]')).filter(
      (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true }),
    );
    const outside = shown.filter((element) => {
      const { left, right, width } = element.getBoundingClientRect();
      return width > 1 && (left < -1 || right > root.clientWidth + 1) && !element.matches('.skip');
    });
    return {
      overflow: Math.max(root.scrollWidth, document.body.scrollWidth) - root.clientWidth,
      outside: outside.map((element) => element.id || element.outerHTML.slice(0, 80)),
    };
  });
  expect(layout).toEqual({ overflow: 0, outside: [] });
}

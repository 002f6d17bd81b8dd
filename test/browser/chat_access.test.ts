/** The chat page for everybody: axe-core with all its rules in every state, keyboard alone, input methods, and nothing that jumps. */
import { join } from 'node:path';
import axe from 'axe-core';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findBrowsers } from '../../scripts/browsers.mjs';
import { CHROMIUM_FLAGS } from './launch';
import { richConversations } from './rich_conversation';
import { repository, startStaticServer, type TestServer } from './servers';

let server: TestServer;
let browser: Browser;
let page: Page;
beforeAll(async () => {
  server = await startStaticServer({ folder: join(repository, 'dist/site') });
  browser = await chromium.launch({ executablePath: findBrowsers().chromium!.path, args: CHROMIUM_FLAGS });
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
});

const DIALOGS = ['open-picker', 'open-settings', 'open-memory', 'open-chats'] as const;

describe('axe-core finds nothing', () => {
  beforeAll(async () => {
    page = await newPage();
  });
  afterAll(() => page.close());

  test('while the model loads', async () => {
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    await page.route('**/model.safetensors', async (route) => {
      await held;
      await route.continue().catch(() => {});
    });
    await page.goto(server.url);
    await page.waitForFunction(() => !document.querySelector<HTMLElement>('#load-progress')!.hidden);
    await expectNothing('loading');
    const licence = page.getByTestId('empty-licence').getByRole('link'); // nothing of the model has come yet
    expect(await licence.isVisible()).toBe(true);
    const notice = await page.request.get(await licence.evaluate((link: HTMLAnchorElement) => link.href));
    expect(await notice.text()).toContain('CDLA-Sharing-1.0');
    release();
    await page.unroute('**/model.safetensors');
    await ready();
  });

  test('before the first message, in both themes', async () => {
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      await expectNothing(`empty, ${colorScheme}`);
    }
  });

  test('while a reply streams, and after it', async () => {
    await page.evaluate(() => localStorage.setItem('sluice.settings', JSON.stringify({ seed: 1, maxTokens: 150 })));
    await page.reload();
    await ready();
    await page.getByTestId('composer').fill('Tell me a story about a fox.');
    await page.getByTestId('send').click();
    await page.waitForFunction(() => document.querySelector('[data-testid=reply-text]')!.textContent!.length > 10);
    await expectNothing('streaming');
    const moving = () => page.evaluate(() => document.getAnimations().length);
    expect(await moving(), 'where the visitor asked for no motion').toBe(0);
    await page.emulateMedia({ reducedMotion: 'no-preference' });
    expect(await moving()).toBeGreaterThan(0);
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await page.evaluate(() => document.body.dataset.busy)).toBe('true');
    await page.keyboard.press('Escape');
    await page.waitForFunction(() => document.body.dataset.busy === 'false');
    await expectNothing('stopped');
  });

  test('in a conversation with everything in it, branches, files, calls and thoughts included', async () => {
    const input = page.getByTestId('import-input');
    await input.setInputFiles([{ name: 'a.json', mimeType: 'application/json', buffer: Buffer.from(richConversations) }]);
    await page.locator('.chat-title', { hasText: 'canal' }).click();
    await page.waitForFunction(
      () => document.querySelector('.words math') !== null && document.querySelector('.hljs-keyword') !== null,
    );
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      await expectNothing(`rich, ${colorScheme}`);
    }
    await page.getByTestId('edit').first().click();
    await expectNothing('editing');
    await page.keyboard.press('Escape');
  });

  test('at 200 % zoom, and in forced colours', async () => {
    await page.setViewportSize({ width: 640, height: 400 }); // what a window of 1280 by 800 has then
    await expectNothing('zoomed');
    await page.setViewportSize({ width: 1600, height: 1000 });
    await page.emulateMedia({ forcedColors: 'active' });
    await expectNothing('forced colours');
    await page.emulateMedia({ forcedColors: 'none' });
  });

  test.each(DIALOGS)('in the dialog of %s', async (opener) => {
    await page.setViewportSize({ width: 1000, height: 900 });
    await page.getByTestId(opener).click();
    await page.waitForTimeout(opener === 'open-memory' ? 1500 : 200);
    await expectNothing(opener);
    if (opener === 'open-picker') {
      await page.getByTestId('picker-storage').click();
      await page.waitForFunction(() => document.querySelector('.stored') !== null);
      await expectNothing('storage');
      await page.getByTestId('stored-delete').first().click();
      await expectNothing('a question');
    }
    if (opener === 'open-chats') {
      await page.getByTestId('chat-rename').first().click();
      await expectNothing('renaming');
      await page.keyboard.press('Escape');
      await page.getByTestId('chat-delete').first().click();
      await page.getByTestId('erase').click();
      await expectNothing('deleting');
    }
    await page.evaluate(() => document.querySelector<HTMLDialogElement>('dialog[open]')?.close());
  });

  test('where a model cannot be loaded', async () => {
    await page.goto(server.url);
    await page.evaluate(() => localStorage.setItem('sluice.settings', JSON.stringify({ gpuBudget: 1000 })));
    await page.reload();
    await page.waitForFunction(() => !document.querySelector<HTMLElement>('#notice-error')!.hidden);
    await expectNothing('error');
  });

  test('an error is told politely: on the page, and within a dialog, outside of which nothing is read then', async () => {
    const shown = await page.locator('#notice-error').textContent();
    expect((await live()).polite.join()).toContain(shown!.replaceAll('\n', ' '));
    await page.getByTestId('open-picker').click();
    await page.getByTestId('hub-load').click();
    const { polite, assertive } = await live();
    expect(polite.join()).toContain('Enter a model id');
    expect(assertive).toEqual([]);
  });

  test('where a reply breaks off', async () => {
    const settings = { seed: 1, contextTokens: 64, contextOverflow: 'error' };
    await page.goto(server.url);
    await page.evaluate((text) => localStorage.setItem('sluice.settings', text), JSON.stringify(settings));
    await page.goto(server.url);
    await ready();
    await page.getByTestId('composer').fill('Tell me a story about a fox. '.repeat(20));
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.querySelector('[data-testid=turn-assistant][data-state=failed]') !== null);
    expect(await page.locator('#notice-title').textContent()).toBe('The conversation is too long');
    await expectNothing('a failed reply');
  });

  test('in the article with an embedded chat', async () => {
    await page.goto(`${server.url}demo/embed.html`);
    await page.waitForFunction(() => document.querySelector('sluice-chat')?.shadowRoot?.querySelector('textarea'));
    await expectNothing('the article');
  });
});

describe('a visitor without a pointer', () => {
  beforeAll(async () => {
    page = await newPage();
    await page.goto(server.url);
    await page.evaluate(() => localStorage.setItem('sluice.settings', JSON.stringify({ seed: 1, maxTokens: 150 })));
    await page.goto(server.url);
  });
  afterAll(() => page.close());

  test('loads, chats, stops, edits, goes from version to version, and deletes, by keyboard alone', async () => {
    await tabTo('open-picker');
    await page.keyboard.press('Enter');
    await tabTo('use-bundled');
    await page.keyboard.press('Enter');
    await ready();
    await tabTo('composer');
    await page.keyboard.type('Tell me a story about a boat.');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.querySelector('[data-testid=reply-text]')?.textContent?.length);
    expect(await focused()).toBe('composer'); // nothing has moved it
    await page.keyboard.press('Escape');
    await page.waitForFunction(
      () => document.querySelector('[data-testid=turn-assistant]')!.getAttribute('data-state') === 'stopped',
    );
    expect(await focused()).toBe('composer');
    await tabTo('edit', { back: true });
    await page.keyboard.press('Enter');
    expect(await focused()).toBe('edit-input');
    await page.keyboard.press('End');
    await page.keyboard.type(' And a cat.');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.body.dataset.busy === 'true');
    expect(await focused()).toBe('edit');
    await page.keyboard.press('Escape');
    await page.waitForFunction(() => document.body.dataset.busy === 'false');
    await tabTo('branch-before', { back: true });
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.querySelector('[data-testid=branch-place]')!.textContent === '1/2');
    expect(await focused()).toBe('branch-before');
    await tabTo('chat-delete', { back: true });
    await page.keyboard.press('Enter');
    await page.keyboard.press('Shift+Tab');
    expect(await focused()).toBe('chat-confirm-delete');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.querySelectorAll('[data-testid=chat-item]').length === 0);
    expect(await page.getByTestId('turn-user').count()).toBe(0);
    expect(await page.evaluate(() => document.activeElement !== document.body)).toBe(true);
  });

  test('Enter that ends a composition never sends', async () => {
    const devtools = await page.context().newCDPSession(page);
    await page.getByTestId('composer').focus();
    await devtools.send('Input.imeSetComposition', { text: 'にほん', selectionStart: 3, selectionEnd: 3 });
    for (const keyCode of [13, 229]) {
      // As Chromium gives it in mid-composition, and as Safari gives it just behind.
      await page.evaluate((code) => {
        const composing = code === 13;
        const event = new KeyboardEvent('keydown', {
          key: 'Enter',
          keyCode: code,
          isComposing: composing,
          bubbles: true,
          cancelable: true,
        });
        document.querySelector('[data-testid=composer]')!.dispatchEvent(event);
      }, keyCode);
    }
    await devtools.send('Input.insertText', { text: '日本' });
    await page.waitForTimeout(300);
    expect(await page.getByTestId('turn-user').count()).toBe(0);
    expect(await page.getByTestId('composer').inputValue()).toContain('日本');
    await page.getByTestId('composer').fill('');
  });

  test('streaming text is in no live region; its start and its end are told once; whoever scrolls up stays there', async () => {
    const said = await page.evaluate(async () => {
      const words: string[] = [];
      const region = document.querySelector('#announcer')!;
      new MutationObserver(() => words.push(region.textContent!)).observe(region, {
        childList: true,
        characterData: true,
        subtree: true,
      });
      Object.assign(window, { said: words });
      return document.querySelector('#messages')!.closest('[aria-live], [role=status], [role=log], [role=alert]') === null;
    });
    expect(said).toBe(true);
    await page.setViewportSize({ width: 500, height: 400 });
    await page.getByTestId('composer').fill('Tell me a story about a fox.');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.body.dataset.busy === 'true');
    const box = () =>
      page.evaluate(() => {
        const { scrollTop, scrollHeight, clientHeight } = document.querySelector('#scroller')!;
        return { scrollTop, room: scrollHeight - clientHeight };
      });
    await page.waitForFunction(() => {
      const { scrollHeight, clientHeight } = document.querySelector('#scroller')!;
      return scrollHeight - clientHeight > 60;
    });
    const following = await box();
    expect(following.room - following.scrollTop).toBeLessThan(40);
    await page.evaluate(() => {
      document.querySelector('#scroller')!.scrollTop = 10;
    });
    await page.waitForFunction(() => document.body.dataset.busy === 'false', null, { timeout: 60_000 });
    expect((await box()).room).toBeGreaterThan(following.room);
    expect((await box()).scrollTop).toBe(10);
    await page.getByTestId('jump').click();
    await page.waitForFunction(() => {
      const { scrollTop, scrollHeight, clientHeight } = document.querySelector('#scroller')!;
      return scrollHeight - clientHeight - scrollTop < 2;
    });
    await page.setViewportSize({ width: 1600, height: 1000 });
    expect(await page.evaluate(() => (window as unknown as { said: string[] }).said)).toEqual([
      'The reply has started',
      expect.stringMatching(/^The reply (is complete|ended at the token limit)$/),
    ]);
  });
});

test('nothing outside the growing message moves', async () => {
  page = await newPage();
  await page.addInitScript(() => {
    const shifts: unknown[] = [];
    Object.assign(window, { shifts });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries() as (PerformanceEntry & { value: number; sources: { node: Node | null }[] })[]) {
        const outside = entry.sources.filter(
          ({ node }) => !(node instanceof Element ? node : node?.parentElement)?.closest('.reply'),
        );
        if (outside.length > 0)
          shifts.push([entry.value, outside.map(({ node }) => (node as Element | null)?.outerHTML?.slice(0, 120))]);
      }
    }).observe({ type: 'layout-shift', buffered: true });
  });
  await page.goto(server.url);
  await page.evaluate(() => localStorage.setItem('sluice.settings', JSON.stringify({ seed: 1, maxTokens: 80 })));
  await page.goto(server.url);
  await ready();
  for (const words of ['Tell me a story about a fox.', 'And a boat.']) {
    await page.getByTestId('composer').fill(words);
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.body.dataset.busy === 'true');
    await page.waitForTimeout(700); // what follows a press at once is no shift, by definition
    await page.waitForFunction(() => document.body.dataset.busy === 'false', null, { timeout: 60_000 });
  }
  await page.goto(server.url); // and when a conversation comes back
  await ready();
  await page.waitForTimeout(700);
  expect(await page.evaluate(() => (window as unknown as { shifts: unknown[] }).shifts)).toEqual([]);
  await page.close();
});

async function newPage(): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1600, height: 1000 }, reducedMotion: 'reduce' });
  return context.newPage();
}

async function ready(): Promise<void> {
  await page.waitForFunction(() => document.querySelector<HTMLElement>('#composer-form')!.dataset.ready === 'true', null, {
    timeout: 120_000,
  });
}

async function expectNothing(state: string): Promise<void> {
  if (!(await page.evaluate(() => 'axe' in window))) await page.addScriptTag({ content: axe.source });
  const found = await page.evaluate(async () => {
    const { violations } = await (window as unknown as { axe: typeof import('axe-core') }).axe.run(document);
    return violations.map(
      ({ id, nodes }) => `${id}: ${nodes.map(({ html, any }) => `${html.slice(0, 200)} (${any[0]?.message ?? ''})`).join(' | ')}`,
    );
  });
  expect(found, state).toEqual([]);
}

/** The live regions as a screen reader is given them, by their text; those that a dialog has made inert are not. */
async function live(): Promise<{ polite: string[]; assertive: string[] }> {
  const devtools = await page.context().newCDPSession(page);
  const { nodes } = await devtools.send('Accessibility.getFullAXTree');
  await devtools.detach();
  const byId = new Map(nodes.map((node) => [node.nodeId, node]));
  const textOf = (node: (typeof nodes)[number]): string =>
    node.role?.value === 'StaticText'
      ? String(node.name?.value)
      : (node.childIds ?? []).map((id) => (byId.has(id) ? textOf(byId.get(id)!) : '')).join('');
  const regions = (politeness: string) =>
    nodes
      .filter(({ properties }) => properties?.some(({ name, value }) => name === 'live' && value.value === politeness))
      .map(textOf);
  return { polite: regions('polite'), assertive: regions('assertive') };
}

function focused(): Promise<string> {
  return page.evaluate(
    () => (document.activeElement as HTMLElement).dataset.testid ?? document.activeElement!.outerHTML.slice(0, 100),
  );
}

async function tabTo(testId: string, { back = false } = {}): Promise<void> {
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press(back ? 'Shift+Tab' : 'Tab');
    if ((await focused()) === testId) return;
  }
  throw new Error(`${testId} is not reached by Tab; the focus is at ${await focused()}`);
}

/** <sluice-chat> for those who see nothing, or have no mouse: axe in every state, a whole visit by keyboard, what is announced. */
import { resolve } from 'node:path';
import type { AxeResults } from 'axe-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type OpenAiServer, startOpenAiServer } from '../servers/openai_server';
import { answered, pageWith, press, problemsOf, RECORDER, send, waitFor } from './element_page';
import { launch, poll, type TestPage } from './launch';
import { repository, startStaticServer, type TestServer } from './servers';

let site: TestServer;
let server: OpenAiServer;

beforeAll(async () => {
  const reply = () => 'One word after another, and all of them without an end. '.repeat(12);
  server = await startOpenAiServer({ wordMs: 15, reply });
  const axe = '<script src="/node_modules/axe-core/axe.min.js"></script>';
  const page = (attributes: string) => pageWith('/dist/lib/sluice-chat.js', `<sluice-chat ${attributes}></sluice-chat>${axe}`);
  site = await startStaticServer({
    folder: resolve(repository),
    pages: {
      'recorder.js': RECORDER,
      'local.html': page('model="/demo/model/" context="256"'),
      'endpoint.html': page(`endpoint="${server.url}"`),
      'nothing.html': page(''),
    },
  });
});
afterAll(async () => {
  await Promise.all([site?.close(), server?.close()]);
});

async function open(page: TestPage, path: string): Promise<void> {
  await page.open(`${site.url}${path}`);
  await waitFor(page, 'the element', () => true);
}

describe('axe finds nothing', () => {
  let page: TestPage;
  beforeAll(async () => {
    page = await launch('chromium');
  });
  afterAll(() => page?.close());

  /** Every rule that axe has on by default, at a width that a page at 200 % has on a phone, and at a desk's; light and dark. */
  async function expectClean(
    views: readonly (readonly [number, 'light' | 'dark'])[] = [
      [320, 'light'],
      [1280, 'dark'],
    ],
  ): Promise<void> {
    for (const [width, scheme] of views) {
      await page.setViewport({ width, height: 800 });
      await page.setColorScheme(scheme);
      const found = await page.evaluate(async () => {
        const { axe } = window as unknown as { axe: { run(): Promise<AxeResults> } };
        const { violations, passes } = await axe.run();
        const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
        return {
          passes: passes.length,
          wide,
          violations: violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(' '))}`),
        };
      });
      expect(found).toEqual({ passes: expect.any(Number), wide: 0, violations: [] });
      expect(found.passes).toBeGreaterThan(10);
    }
  }

  test('idle, loading, ready', async () => {
    await open(page, 'local.html');
    const colours = await page.evaluate(() => {
      const root = document.querySelector('sluice-chat')!.shadowRoot!;
      const of = (part: string) => getComputedStyle(root.querySelector(`[part~=${part}]`)!).backgroundColor;
      return [of('frame'), of('action')];
    });
    expect(colours, 'the style sheet as the build leaves it').toEqual(['rgb(253, 252, 249)', 'rgb(12, 102, 118)']);
    await expectClean();
    await press(page, 'Load the model');
    await waitFor(page, 'progress', ({ parts }) => parts.progress !== undefined);
    await expectClean();
    await waitFor(page, 'the model', ({ state }) => state === 'ready');
    await expectClean();
  });

  test('asking, streaming, answered, asking to delete', async () => {
    await open(page, 'endpoint.html');
    await send(page, 'Hello');
    await waitFor(page, 'the question', ({ parts }) => parts.question !== undefined);
    await expectClean();
    await press(page, `Send to ${new URL(server.url).host}`);
    await waitFor(page, 'the reply beginning', ({ turns }) => (turns[1]?.text ?? '') !== '');
    await expectClean();
    const live = await page.evaluate(() => {
      const words = document.querySelector('sluice-chat')!.shadowRoot!.querySelector('[part~=reply] [part=text]')!;
      return words.closest('[aria-live], [role=log], [role=status], [role=alert]') !== null;
    });
    expect(live, 'streaming text is no live region').toBe(false);
    await waitFor(page, 'the reply', answered(2));
    await expectClean();
    await press(page, 'Delete');
    await expectClean();
    await page.setForcedColors(true);
    // With a conversation, and a question open. This page is light, and axe reads the text's fill, which Chromium gives as it is written.
    await expectClean([[320, 'light']]);
    const forced = await page.evaluate(() => {
      const { color, backgroundColor } = getComputedStyle(
        document.querySelector('sluice-chat')!.shadowRoot!.querySelector('[part=frame]')!,
      );
      return [color, backgroundColor];
    });
    expect(forced).toEqual(['rgb(0, 0, 0)', 'rgb(255, 255, 255)']);
    await page.setForcedColors(false);
  });

  test('failed', async () => {
    await open(page, 'nothing.html');
    await page.evaluate(() => {
      const heard: string[][] = [];
      const root = document.querySelector('sluice-chat')!.shadowRoot!;
      new MutationObserver((changes) => {
        for (const { target } of changes) {
          const at = target instanceof Element ? target : target.parentElement;
          const region = at?.closest('[aria-live], [role=status], [role=log], [role=alert]');
          const politeness = region?.getAttribute('aria-live') ?? (region?.role === 'alert' ? 'assertive' : 'polite');
          if (region) heard.push([politeness, region.textContent!]);
        }
      }).observe(root, { childList: true, characterData: true, subtree: true });
      Object.assign(window, { heard });
    });
    await press(page, 'Load the model');
    const { parts } = await waitFor(page, 'the problem', ({ parts }) => parts.problem !== undefined);
    const heard = await page.evaluate(() => (window as unknown as { heard: string[][] }).heard);
    expect(heard, 'errors are announced politely').toContainEqual(['polite', parts.problem]);
    expect(heard.filter(([politeness]) => politeness !== 'polite')).toEqual([]);
    const isolated = await page.evaluate(() => {
      const problem = document.querySelector('sluice-chat')!.shadowRoot!.querySelector<HTMLElement>('[part=problem]')!;
      return { dir: problem.dir, bidi: getComputedStyle(problem).unicodeBidi };
    });
    expect(isolated, 'a server’s words turn nothing around them').toEqual({ dir: 'auto', bidi: 'plaintext' });
    await expectClean();
  });
});

describe.each(['chromium', 'firefox'] as const)('without a mouse in %s', (name) => {
  let page: TestPage;
  beforeAll(async () => {
    page = await launch(name);
  });
  afterAll(() => page?.close());

  /** What has the focus: its text, or 'input'. */
  const focused = () =>
    page.evaluate(() => {
      const element = document.querySelector('sluice-chat')!.shadowRoot!.activeElement;
      return element instanceof HTMLTextAreaElement ? 'input' : (element?.textContent ?? '');
    });

  async function tabTo(wanted: string, key: 'Tab' | 'Shift+Tab' = 'Tab'): Promise<void> {
    for (let i = 0; i < 15; i++) {
      if ((await focused()) === wanted) return;
      await page.press(key);
    }
    throw new Error(`${key} never comes to “${wanted}”; it is at “${await focused()}”.`);
  }

  test('load, chat, stop, edit, delete, with the focus where it was', async () => {
    await open(page, 'local.html');
    await page.evaluate(() => {
      const chat = document.querySelector('sluice-chat')!;
      chat.request = { temperature: 0, max_tokens: 8 };
      const live = chat.shadowRoot!.querySelector('[role=status]')!;
      const heard: string[] = [];
      new MutationObserver(() => heard.push(live.textContent ?? '')).observe(live, {
        childList: true,
        characterData: true,
        subtree: true,
      });
      const shifts: string[] = [];
      type Shift = PerformanceEntry & { value: number; hadRecentInput: boolean; sources: { node: Node | null }[] };
      if (PerformanceObserver.supportedEntryTypes.includes('layout-shift'))
        new PerformanceObserver((list) => {
          for (const { value, hadRecentInput, sources } of list.getEntries() as Shift[])
            if (!hadRecentInput)
              shifts.push(`${value} ${sources.map(({ node }) => node?.parentElement?.outerHTML.slice(0, 200))}`);
        }).observe({ type: 'layout-shift' });
      Object.assign(window, { heard, shifts });
    });
    await tabTo('Load the model');
    await page.press('Enter');
    await waitFor(page, 'the model', ({ state }) => state === 'ready');
    expect(await focused()).toBe('Unload');
    await tabTo('input');
    await page.type('Hello.');
    await page.evaluate(() => {
      const input = document.querySelector('sluice-chat')!.shadowRoot!.querySelector('textarea')!;
      input.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', isComposing: true, bubbles: true, cancelable: true }));
    });
    expect((await waitFor(page, 'the draft', ({ draft }) => draft !== '')).turns, 'an Enter of an IME sends nothing').toEqual([]);
    await page.press('Enter');
    await waitFor(page, 'a reply', answered(2));
    expect(await focused()).toBe('input');
    await page.evaluate(() => {
      document.querySelector('sluice-chat')!.request = { temperature: 0, max_tokens: 200 };
    });
    await page.type('Tell a long story about a fox.');
    await tabTo('Send');
    await page.press('Enter');
    await waitFor(page, 'the reply beginning', ({ turns }) => (turns[3]?.text ?? '') !== '');
    expect(await focused()).toBe('Stop');
    await page.press('Enter');
    const stopped = await waitFor(page, 'the stop', answered(4));
    expect(stopped.parts.note).toBe('stopped');
    await tabTo('Edit', 'Shift+Tab');
    await page.press('Enter');
    const editing = await waitFor(page, 'the edit', ({ draft }) => draft !== '');
    expect(editing).toMatchObject({ draft: 'Tell a long story about a fox.', turns: { length: 2 } });
    expect(await focused()).toBe('input');
    await tabTo('Delete', 'Shift+Tab');
    await page.press('Enter');
    await tabTo('Delete it');
    await page.press('Enter');
    await waitFor(page, 'the deletion', ({ turns }) => turns.length === 0);
    expect(await focused()).toBe('input');

    const { heard, shifts } = await page.evaluate(() => {
      const { heard, shifts } = window as unknown as { heard: string[]; shifts: string[] };
      return { heard, shifts };
    });
    const said = heard.map((text) => text.trim());
    expect(said.filter((text) => text.startsWith('Loading:')).length).toBeLessThanOrEqual(9);
    expect(said.filter((text) => !text.startsWith('Loading:'))).toEqual([
      ...['Loading', 'Ready', 'The reply begins', 'The reply is complete', 'The reply begins', 'The reply was stopped'],
      ...['Delete this conversation?', 'Conversation deleted'],
    ]);
    expect(shifts).toEqual([]);
    expect(problemsOf(page)).toEqual([]);
  });

  test('whoever scrolls up stays there while a reply grows', async () => {
    await page.setViewport({ width: 390, height: 800 });
    await open(page, 'endpoint.html');
    await page.evaluate(() => {
      document.querySelector('sluice-chat')!.onFallback = () => true;
    });
    await send(page, 'Hello');
    const box = () =>
      page.evaluate(() => {
        const { scrollTop, scrollHeight, clientHeight } = document
          .querySelector('sluice-chat')!
          .shadowRoot!.querySelector('[part=transcript]')!;
        return { scrollTop, room: scrollHeight - clientHeight };
      });
    const following = await poll('text beyond the box', async () => {
      const now = await box();
      return now.room > 100 ? now : undefined;
    });
    expect(following.room - following.scrollTop).toBeLessThan(60);
    await page.evaluate(() => {
      document.querySelector('sluice-chat')!.shadowRoot!.querySelector('[part=transcript]')!.scrollTop = 10;
    });
    await waitFor(page, 'the reply', answered(2));
    expect((await box()).scrollTop).toBe(10);
  });
});

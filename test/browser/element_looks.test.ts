/**
 * What a site owner may change of <sluice-chat>: every custom property, part and slot that docs/embed.md names, and no other; and where it stands.
 * SLUICE_LONG: in Firefox too.
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { answered, pageWith, press, problemsOf, RECORDER, see, send, waitFor } from './element_page';
import { type BrowserName, launch, type TestPage } from './launch';
import { repository, startStaticServer, type TestServer } from './servers';

const looks = /## Looks\n(.*?)\n## /s.exec(readFileSync(join(repository, 'docs/embed.md'), 'utf8'))![1]!;
const [propertyWords, partWords, slotWords] = [
  /Custom properties: (.*?)\. Parts/s,
  /`::part\(\)`: (.*?)\. Slots/s,
  /Slots: (.*?)\./s,
].map((pattern) => [...pattern.exec(looks)![1]!.matchAll(/`([\w-]+)`/g)].map(([, name]) => name!)) as [
  string[],
  string[],
  string[],
];

/** Where a custom property shows: a part, and what of its style. */
const places: Record<string, [selector: string, style: string, value: string]> = {
  '--sluice-paper': ['[part=frame]', 'background-color', 'rgb(1, 2, 3)'],
  '--sluice-sunken': ['[part=messages-below]', 'background-color', 'rgb(1, 2, 3)'],
  '--sluice-ink': ['[part=frame]', 'color', 'rgb(1, 2, 3)'],
  '--sluice-soft': ['[part=status]', 'color', 'rgb(1, 2, 3)'],
  '--sluice-line': ['[part=bar]', 'border-top-color', 'rgb(1, 2, 3)'],
  '--sluice-edge': ['[part=input]', 'border-top-color', 'rgb(1, 2, 3)'],
  '--sluice-accent': ['[part~=action][data-first]', 'background-color', 'rgb(1, 2, 3)'],
  '--sluice-on-accent': ['[part~=action][data-first]', 'color', 'rgb(1, 2, 3)'],
  '--sluice-tint': ['[part~=user] > [part=text]', 'background-color', 'rgb(1, 2, 3)'],
  '--sluice-alarm': ['[part=problem]', 'color', 'rgb(1, 2, 3)'],
  '--sluice-radius': ['[part=frame]', 'border-top-left-radius', '3px'],
  '--sluice-font': ['[part=input]', 'font-family', 'fantasy'],
};

let server: TestServer;
beforeAll(async () => {
  const body =
    '<div id="before"></div><sluice-chat model="/demo/model/" context="256"><b slot="title">Own title</b>' +
    '<p slot="empty">Own words</p><small slot="footer">Own footer</small></sluice-chat>';
  server = await startStaticServer({
    folder: resolve(repository),
    pages: { 'recorder.js': RECORDER, 'index.html': pageWith('/dist/lib/sluice-chat.js', body) },
  });
});
afterAll(() => server?.close());

const browsers: BrowserName[] = process.env.SLUICE_LONG ? ['chromium', 'firefox'] : ['chromium'];

describe.each(browsers)('<sluice-chat> in %s', (name) => {
  let page: TestPage;
  /** Every part that was there at some moment. */
  const parts = new Set<string>();
  beforeAll(async () => {
    page = await launch(name);
    await page.open(server.url);
    await waitFor(page, 'the element', () => true);
    await gather();
  });
  afterAll(() => page?.close());

  async function gather(): Promise<void> {
    const found = await page.evaluate(() => {
      const { shadowRoot } = document.querySelector('sluice-chat')!;
      return [...shadowRoot!.querySelectorAll('[part]')].flatMap((element) => [...element.part]);
    });
    for (const part of found) parts.add(part);
  }

  test('each slot takes the page’s own words, where they belong, and has its own where there are none', async () => {
    const slots = await page.evaluate(() => {
      const chat = document.querySelector('sluice-chat')!;
      const root = chat.shadowRoot!;
      return [...root.querySelectorAll('slot')].map((slot) => {
        const [own] = slot.assignedElements();
        const box = own!.getBoundingClientRect();
        const within = (part: string) => {
          const around = root.querySelector(`[part=${part}]`)!.getBoundingClientRect();
          return box.top >= around.top && box.bottom <= around.bottom && box.left > around.left && box.right < around.right;
        };
        const inside = ['header', 'transcript', 'frame'].find(within);
        const below = box.top >= root.querySelector('[part=composer]')!.getBoundingClientRect().bottom;
        own!.remove();
        const text =
          slot
            .assignedElements({ flatten: true })
            .map(({ textContent }) => textContent)
            .join('') || slot.textContent;
        chat.append(own!);
        return { name: slot.name, own: own!.textContent, shown: box.height > 0, inside, below, otherwise: text };
      });
    });
    expect(slots).toEqual([
      { name: 'title', own: 'Own title', shown: true, inside: 'header', below: false, otherwise: 'Chat' },
      {
        ...{ name: 'empty', own: 'Own words', shown: true, inside: 'transcript', below: false },
        otherwise: expect.stringContaining('stays on this device'),
      },
      { name: 'footer', own: 'Own footer', shown: true, inside: 'frame', below: true, otherwise: '' },
    ]);
    expect(slots.map((slot) => slot.name)).toEqual(slotWords);
  });

  test('a reply goes on while `moveBefore` takes the element elsewhere, and so do focus and draft', async () => {
    await page.evaluate(() => {
      const chat = document.querySelector('sluice-chat')!;
      chat.request = { temperature: 0, max_tokens: 30 };
      chat.send('Tell a story about a fox.');
    });
    await waitFor(page, 'the reply beginning', ({ busy, turns }) => busy && (turns[1]?.text ?? '') !== '');
    await gather();
    const moved = await page.evaluate(() => {
      const chat = document.querySelector('sluice-chat')!;
      const input = chat.shadowRoot!.querySelector('textarea')!;
      input.focus();
      input.value = 'A draft';
      const place = document.querySelector('#before') as HTMLElement & { moveBefore?(node: Node, child: Node | null): void };
      if (!place.moveBefore) return undefined;
      place.moveBefore(chat, null);
      return { busy: chat.busy, at: chat.parentElement!.id, focused: chat.shadowRoot!.activeElement === input };
    });
    // Firefox lets go of the focus by itself, where it has the method at all.
    if (name === 'chromium') expect(moved).toEqual({ busy: true, at: 'before', focused: true });
    else if (moved) expect(moved).toMatchObject({ busy: true, at: 'before' });
    const { turns, recorded, draft, state } = await waitFor(page, 'the reply after the move', answered(2));
    expect(turns[1]!.text.split(' ').length).toBeGreaterThan(10);
    expect({ state, draft, recorded: recorded.at(-1) }).toEqual({
      ...{ state: 'ready', draft: 'A draft' },
      recorded: expect.stringMatching(/^chat done: (length|stop)$/),
    });
    expect((await see(page))!.parts.empty).toBeUndefined();
    await page.evaluate(() => {
      document.querySelector('sluice-chat')!.shadowRoot!.querySelector('textarea')!.value = '';
    });
  });

  test('the documented custom properties are those that there are, and each one shows', async () => {
    const real = await page.evaluate(() => {
      const [sheet] = document.querySelector('sluice-chat')!.shadowRoot!.adoptedStyleSheets;
      const text = [...sheet!.cssRules].map(({ cssText }) => cssText).join('\n');
      return [...new Set([...text.matchAll(/var\((--sluice-[\w-]+)/g)].map(([, each]) => each!))];
    });
    expect(real.sort()).toEqual([...propertyWords].sort());
    expect(Object.keys(places).sort()).toEqual([...propertyWords].sort());
    await press(page, 'Unload'); // what begins is coloured
    const changes = await page.evaluate((all) => {
      const chat = document.querySelector('sluice-chat')!;
      return Object.entries(all).map(([property, [selector, style, value]]) => {
        const look = () => getComputedStyle(chat.shadowRoot!.querySelector(selector)!).getPropertyValue(style);
        const before = look();
        chat.style.setProperty(property, value);
        const after = look();
        chat.style.removeProperty(property);
        return { property, changed: before !== after, after, again: look() === before };
      });
    }, places);
    const expected = Object.entries(places).map(([property, [, , after]]) => ({ property, changed: true, after, again: true }));
    expect(changes).toEqual(expected);
  });

  test('the documented parts are those that there are, and each can be restyled', async () => {
    await press(page, 'Delete');
    await gather();
    expect([...parts].sort()).toEqual([...partWords].sort());
    const restyled = await page.evaluate(
      (names) => {
        const chat = document.querySelector('sluice-chat')!;
        const sheet = new CSSStyleSheet();
        document.adoptedStyleSheets.push(sheet);
        return names.map((part) => {
          sheet.replaceSync(`sluice-chat::part(${part}) { scroll-margin-top: 7px }`);
          const all = [...chat.shadowRoot!.querySelectorAll('*')];
          const changed = all.filter((element) => getComputedStyle(element).scrollMarginTop === '7px');
          return {
            part,
            exact: changed.length > 0 && all.every((element) => changed.includes(element) === element.part.contains(part)),
          };
        });
      },
      partWords.filter((part) => part !== 'stop'),
    ); // one button with `send`, while a reply comes
    for (const { part, exact } of restyled) expect({ part, exact }).toEqual({ part, exact: true });
    await press(page, 'Keep it');
    await send(page, 'Tell a story about a mill.');
    await waitFor(page, 'a reply under way', ({ busy }) => busy);
    const stop = await page.evaluate(() => {
      const sheet = document.adoptedStyleSheets[0]!;
      sheet.replaceSync('sluice-chat::part(stop) { scroll-margin-top: 7px }');
      return getComputedStyle(document.querySelector('sluice-chat')!.shadowRoot!.querySelector('[part~=stop]')!).scrollMarginTop;
    });
    expect(stop).toBe('7px');
    await press(page, 'Stop');
    await waitFor(page, 'its end', answered(4));
    expect(problemsOf(page)).toEqual([]);
  });
});

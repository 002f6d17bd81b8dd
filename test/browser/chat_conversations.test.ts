/** Conversations as a visitor keeps them: list, search, branches, files, import and export, temporary chats, and deleting all of it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findBrowsers } from '../../scripts/browsers.mjs';
import { CHROMIUM_FLAGS } from './launch';
import { repository, sealed, startStaticServer, type TestServer } from './servers';

let server: TestServer;
let browser: Browser;
let page: Page;
const errors: string[] = [];
beforeAll(async () => {
  server = await startStaticServer({ folder: join(repository, 'dist/site'), headers: sealed });
  browser = await chromium.launch({ executablePath: findBrowsers().chromium!.path, args: CHROMIUM_FLAGS });
  const context = await browser.newContext({
    viewport: { width: 1600, height: 1000 },
    permissions: ['clipboard-read', 'clipboard-write'],
  });
  page = await context.newPage();
  page.on('pageerror', ({ message }) => errors.push(message));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  await page.goto(server.url);
  await page.evaluate(() => localStorage.setItem('sluice.settings', JSON.stringify({ seed: 1, maxTokens: 12 })));
  await open();
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
});

const last = (testId: string) => page.getByTestId(testId).last();
const titles = () => page.locator('.chat-title').allTextContents();

test('a conversation is listed by its first words, and goes on after a reload without reading its prompt again', async () => {
  await ask('Tell me about a fox.');
  await expectSoon(titles, ['Tell me about a fox.']);
  await ask('And a cat?');
  await page.waitForTimeout(2500); // its state is saved when nobody writes on
  expect((await kept()).sessions).toBe(1);
  await open();
  expect(await page.getByTestId('turn-user').count()).toBe(2);
  await ask('And a boat?');
  const [, fresh, all] = /(\d+) of (\d+) prompt tokens were new/.exec((await last('turn-assistant').textContent())!)!;
  expect(Number(fresh)).toBeLessThan(Number(all) / 2);
});

test('an edited message is a branch beside the first one', async () => {
  const before = await page.getByTestId('reply-text').first().textContent();
  await page.getByTestId('edit').first().click();
  await page.getByTestId('edit-input').first().fill('Tell me about a whale.');
  await page.getByTestId('resend').first().click();
  await replied();
  expect(await page.getByTestId('turn-user').count()).toBe(1);
  expect(await page.getByTestId('branch-place').first().textContent()).toBe('2/2');
  await page.getByTestId('branch-before').first().click();
  expect(await page.getByTestId('turn-user').count()).toBe(3);
  await expectSoon(() => page.getByTestId('reply-text').first().textContent(), before);
  await open();
  await expectSoon(() => page.getByTestId('branch-place').first().textContent(), '1/2');
});

test('a reply made anew is a branch, too, and copies as it was written', async () => {
  await last('regenerate').click();
  await replied();
  expect(await last('branch-place').textContent()).toBe('2/2');
  await last('copy').click();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  expect(copied.replace(/\s/g, '')).toBe((await last('reply-text').textContent())!.replace(/\s/g, ''));
});

test('text files go along with a message; others are refused with a reason', async () => {
  const input = page.getByTestId('attach-input');
  await input.setInputFiles([{ name: 'note\u202e<b>.txt', mimeType: 'text/plain', buffer: Buffer.from('A fox.') }]);
  await input.setInputFiles([{ name: 'a.bin', mimeType: 'x/y', buffer: Buffer.from([0xff, 0xfe, 0]) }]);
  const said = async (words: string) => (await page.getByTestId('composer-problem').textContent())!.includes(words);
  await expectSoon(() => said('a.bin is no text file'), true);
  await input.setInputFiles([{ name: '\u202eאבג 1.bin', mimeType: 'x/y', buffer: Buffer.from([0xff, 0xfe, 0]) }]);
  await expectSoon(() => said('\u2068אבג 1.bin\u2069 is no text file'), true);
  await input.setInputFiles([{ name: 'big.txt', mimeType: 'text/plain', buffer: Buffer.alloc(300_000, 97) }]);
  await expectSoon(() => said('big.txt has 300 kB'), true);
  expect(await page.getByTestId('attachments').locator('.chip-name').allTextContents()).toEqual(['note<b>.txt']);
  const files = ['b', 'c', 'd', 'e', 'f', 'g'].map((name) => ({ name, mimeType: 'text/plain', buffer: Buffer.from(name) }));
  await input.setInputFiles(files); // all but one that a message takes
  await page.getByTestId('attachments').locator('.chip-name').nth(6).waitFor();
  await input.evaluate((element: HTMLInputElement) => {
    for (const name of ['h', 'i']) {
      const added = new DataTransfer();
      added.items.add(new File([name], name));
      element.files = added.files;
      element.dispatchEvent(new Event('change'));
    }
  });
  await expectSoon(() => page.getByTestId('composer-problem').textContent(), 'A message takes 8 files.');
  await expectSoon(() => page.getByTestId('attachments').locator('.chip-name').count(), 8);
  for (let left = 7; left >= 1; left--) {
    await last('file-chip').getByRole('button').click();
    expect(await page.getByTestId('attachments').locator('.chip-name').count()).toBe(left);
  }
  await page.getByTestId('new-chat').click();
  await ask('Read this.');
  expect(await last('turn-user').locator('.chip-name').textContent()).toBe('note<b>.txt');
  await expectSoon(titles, ['Read this.', 'Tell me about a fox.']);
});

test('the list is searched by what was said, and renamed', async () => {
  await page.getByTestId('chats-search').fill('whale');
  await expectSoon(titles, ['Tell me about a fox.']);
  await page.getByTestId('chat-item').hover();
  await page.getByTestId('chat-rename').click();
  await page.getByTestId('chat-name').fill('n'.repeat(200));
  expect(await page.getByTestId('chat-name').inputValue()).toHaveLength(120); // as much as comes back
  await page.getByTestId('chat-name').fill('<img src=x onerror=alert(1)>');
  await page.keyboard.press('Enter');
  await page.getByTestId('chats-search').fill('');
  await expectSoon(async () => (await titles()).sort(), ['<img src=x onerror=alert(1)>', 'Read this.']);
});

test('what is exported comes in again beside it; what is none is refused whole', async () => {
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByTestId('export-chats').click()]);
  const file = join(tmpdir(), `sluice-export-${process.pid}.json`);
  await download.saveAs(file);
  expect(JSON.parse(readFileSync(file, 'utf8')).conversations).toHaveLength(2);
  await page.getByTestId('import-input').setInputFiles(file);
  await expectSoon(async () => (await titles()).length, 4);
  const hostile = JSON.parse(readFileSync(file, 'utf8'));
  hostile.conversations[1].turns[0].parent = 7;
  writeFileSync(file, JSON.stringify(hostile));
  await page.getByTestId('import-input').setInputFiles(file);
  await expectSoon(
    async () => /parent is not.*Nothing was imported/.test((await page.getByTestId('chats-error').textContent())!),
    true,
  );
  expect(await titles()).toHaveLength(4);
});

test('an imported conversation with hostile words shows them as words, thinking and calls folded', async () => {
  const evil = '<img src=x onerror=document.title="ran">';
  const turns = [
    { parent: -1, role: 'user', text: evil, attachments: [{ name: evil, text: evil }] },
    {
      parent: 0,
      role: 'assistant',
      text: `${evil} ![x](https://evil.invalid/a.png)\n\n\`\`\`js\nconst a = '${evil}';\n\`\`\``,
      thoughts: evil,
      calls: [{ name: evil, arguments: evil }],
      end: 'stop',
    },
  ];
  const conversation = { id: 'x', title: evil, createdAt: 1, updatedAt: Date.now() + 1e6, turns, leaf: 1 };
  const file = { format: 'sluice.conversations', version: 1, conversations: [conversation] };
  await page
    .getByTestId('import-input')
    .setInputFiles([{ name: 'a.json', mimeType: 'application/json', buffer: Buffer.from(JSON.stringify(file)) }]);
  await expectSoon(async () => (await titles())[0], evil);
  await page.getByTestId('chat-open').first().click();
  await expectSoon(() => last('turn-user').locator('.bubble').textContent(), evil);
  await expectSoon(async () => (await last('reply-text').textContent())!.includes('(image at evil.invalid)'), true);
  expect(
    await page
      .getByTestId('thinking')
      .last()
      .evaluate((details: HTMLDetailsElement) => [details.open, details.textContent.includes('onerror')]),
  ).toEqual([false, true]);
  expect(await last('tool-call').textContent()).toContain(`Called ${evil}`);
  await page.locator('[data-copy-code]').last().click();
  await expectSoon(async () => (await page.evaluate(() => navigator.clipboard.readText())).trim(), `const a = '${evil}';`);
  expect(await page.evaluate(() => [document.title, document.querySelectorAll('.messages img').length])).toEqual([
    await page.title(),
    0,
  ]);
  expect(await page.title()).not.toBe('ran');
});

test('what the visitor chose last is opened, whatever was being read', async () => {
  await page.evaluate(() => {
    const buttons = [...document.querySelectorAll<HTMLElement>('[data-testid=chat-open]')];
    for (const button of buttons.slice(1, 3)) button.click();
  });
  const current = () => page.getByTestId('chat-open').evaluateAll((all) => all.findIndex((each) => each.ariaCurrent === 'true'));
  await expectSoon(current, 2);
  await page.waitForTimeout(300);
  expect(await current()).toBe(2);
  await page.addInitScript(pressAtStart);
  await page.evaluate(() => sessionStorage.setItem('press', 'temporary'));
  await open();
  await page.waitForTimeout(300);
  expect(await page.getByTestId('temporary').getAttribute('aria-pressed')).toBe('true');
  expect(await page.getByTestId('turn-user').count()).toBe(0);
});

/** The page asks for a button to be pressed as soon as the next one listens, while that still reads what was open. */
function pressAtStart(): void {
  const { mark } = performance;
  performance.mark = (name, options) => {
    const testId = sessionStorage.getItem('press');
    sessionStorage.removeItem('press');
    if (testId) queueMicrotask(() => document.querySelector<HTMLElement>(`[data-testid=${testId}]`)!.click());
    return mark.call(performance, name, options);
  };
}

test('a conversation is open in one tab at a time, and comes back in its own', async () => {
  const other = await page.context().newPage();
  await other.goto(server.url);
  const theirs = () => other.getByTestId('turn-user').count();
  const rowIn = (tab: Page) => tab.getByTestId('chat-item').filter({ hasText: 'Read this.' }).first();
  const row = rowIn(other);
  const open = rowIn(page).getByTestId('chat-open');
  await open.click();
  await expectSoon(() => open.getAttribute('aria-current'), 'true');
  const refused = () => other.getByTestId('chats-error').textContent();
  await row.getByTestId('chat-open').click();
  await expectSoon(refused, 'This conversation is open in another tab.');
  await row.hover();
  await row.getByTestId('chat-delete').click();
  await row.getByTestId('chat-confirm-delete').click();
  await expectSoon(refused, 'This conversation is open in another tab.');
  await row.locator('[data-part=keep]').click();
  expect(await theirs()).toBe(0);
  await page.reload();
  await expectSoon(() => page.getByTestId('turn-user').count(), 1);
  await page.getByTestId('new-chat').click();
  await row.getByTestId('chat-open').click();
  await expectSoon(theirs, 1);
  expect(await refused()).toBe('');
  await other.close();
});

test('a conversation comes back however long the page before it takes to be gone', async () => {
  await page.getByTestId('chat-item').filter({ hasText: 'Read this.' }).first().getByTestId('chat-open').click();
  await expectSoon(() => page.getByTestId('turn-user').count(), 1);
  const slow = await page.context().newPage(); // has it for two seconds after the page
  await slow.goto(new URL('elsewhere', server.url).href);
  await slow.evaluate(async () => {
    const [name] = (await navigator.locks.query())
      .held!.map((lock) => lock.name!)
      .filter((each) => each.startsWith('sluice/chat/'));
    const later = (resolve: (value: unknown) => void) => setTimeout(resolve, 2000);
    void navigator.locks.request(name!, () => new Promise(later));
  });
  await page.reload();
  await expectSoon(() => page.getByTestId('turn-user').count(), 1);
  expect(await slow.evaluate(async () => (await navigator.locks.query()).pending!.length)).toBe(0);
  await slow.close();
});

test('a reply that was cut off goes on with what it thought and called', async () => {
  const said = { text: 'Once upon a time', thoughts: 'A tale.', calls: [{ name: 'look', arguments: '{}' }] };
  await page.evaluate(async (reply) => {
    const turns = [
      { parent: -1, role: 'user', text: 'Go on.' },
      { parent: 0, role: 'assistant', end: 'cut-off', ...reply },
    ];
    const request = indexedDB.open('sluice');
    await new Promise((resolve) => request.addEventListener('success', resolve));
    const writing = request.result.transaction('kept', 'readwrite');
    const conversation = { id: 'cut', title: 'Go on.', createdAt: 1, updatedAt: 1, turns, leaf: 1 };
    writing.objectStore('kept').put(conversation, 'chat:cut');
    await new Promise((resolve) => writing.addEventListener('complete', resolve));
    request.result.close();
    sessionStorage.setItem('sluice.open', 'cut');
  }, said);
  await open();
  await expectSoon(() => last('turn-assistant').getAttribute('data-state'), 'length');
  const found = (await kept()).records.map((record) => JSON.parse(record)).find(({ id, turns }) => id === 'cut' && turns);
  expect(found.turns[1]).toMatchObject({ thoughts: said.thoughts, calls: said.calls, end: 'length' });
  expect(found.turns[1].text.startsWith(said.text)).toBe(true);
  expect(found.turns[1].text.length).toBeGreaterThan(said.text.length);
  await page.getByTestId('chats-search').fill('go on.');
  await page.getByTestId('chat-item').hover();
  await page.getByTestId('chat-delete').click();
  await page.getByTestId('chat-confirm-delete').click();
  await expectSoon(async () => (await titles()).length, 0);
  await page.getByTestId('chats-search').fill('');
});

/** Once what was written before has been saved. */
async function keptAtRest() {
  for (let known = await kept(); ; ) {
    await page.waitForTimeout(1000);
    const now = await kept();
    if (JSON.stringify(now) === JSON.stringify(known)) return now;
    known = now;
  }
}

test('a temporary chat leaves nothing behind', async () => {
  const before = await keptAtRest();
  await page.getByTestId('temporary').click();
  await ask('A secret.');
  await page.waitForTimeout(2000);
  expect(await kept()).toEqual(before);
  await open();
  expect(await page.getByTestId('turn-user').count()).toBe(0);
  expect(await titles()).not.toContain('A secret.');
});

test('a deleted conversation takes its saved state, its journal and its search entry with it', async () => {
  await page.getByTestId('chats-search').fill('whale');
  await expectSoon(async () => (await titles()).length, 2);
  const before = await kept();
  const ids = before.keys.flatMap((key, i) =>
    key.startsWith('chat:') && before.records[i]!.includes('whale') ? [key.slice(5)] : [],
  );
  expect(ids).toHaveLength(2);
  const theirs = ({ keys, states }: Kept) => ({
    records: keys.filter((key) => ids.some((id) => key.includes(id))).map((key) => key.split(':')[0]!),
    states: Object.entries(states).flatMap(([name, text]) => (ids.some((id) => text.includes(id)) ? [name] : [])),
  });
  const { records, states } = theirs(before);
  expect(new Set(records)).toEqual(new Set(['chat', 'summary', 'journal']));
  expect(states).toHaveLength(1); // what was imported has none
  for (const left of [1, 0]) {
    await page.getByTestId('chat-item').first().hover();
    await page.getByTestId('chat-delete').first().click();
    await page.getByTestId('chat-confirm-delete').first().click();
    await expectSoon(async () => (await titles()).length, left);
  }
  await page.getByTestId('chats-search').fill('');
  await page.waitForTimeout(500);
  const now = await kept();
  expect(now.records.filter((record) => record.includes('whale'))).toEqual([]);
  expect(theirs(now)).toEqual({ records: [], states: [] });
  expect(Object.keys(now.states)).not.toContain(states[0]); // nor a folder without its record
  expect(now.sessions).toBeLessThanOrEqual(1); // that of 'Read this.'
});

test('"delete everything" while the first model loads leaves the origin empty, too, and the page at its start', async () => {
  const elsewhere = await browser.newContext({ viewport: { width: 1600, height: 1000 } });
  const visit = await elsewhere.newPage();
  await visit.goto(server.url);
  await visit.getByTestId('erase').click();
  await visit.getByTestId('erase-now').click();
  await expectSoon(() => visit.locator('#notice-title').textContent(), 'Everything is deleted');
  await visit.waitForTimeout(1500);
  expect(await origin(visit)).toEqual({
    ...{ databases: [], files: [], local: 0, session: 0 },
    ...{ caches: [], workers: 0, cookies: '' },
  });
  await elsewhere.close();
});

test('"delete everything" leaves the origin empty', async () => {
  await page.getByTestId('chat-open').first().click();
  await expectSoon(() => page.locator('#empty').isVisible(), false);
  // What an engine's worker of an earlier version kept.
  await page.evaluate(async () => {
    const request = indexedDB.open('sluice-kernels');
    await new Promise((resolve) => Object.assign(request, { onsuccess: resolve }));
    request.result.close();
    await (await navigator.storage.getDirectory()).getFileHandle('sluice-doctor-probe', { create: true }); // and its doctor
  });
  await page.getByTestId('erase').click();
  await page.getByTestId('erase-now').click();
  await expectSoon(() => page.locator('#notice-title').textContent(), 'Everything is deleted');
  expect(await page.locator('#empty').isVisible()).toBe(true);
  expect(await origin()).toEqual({ databases: [], files: [], local: 0, session: 0, caches: [], workers: 0, cookies: '' });
  await page.waitForTimeout(1500); // nothing comes back by itself
  expect(await origin()).toEqual({ databases: [], files: [], local: 0, session: 0, caches: [], workers: 0, cookies: '' });
});

test('a system prompt is read before what is asked, and only while it is set', async () => {
  await page.evaluate(() => localStorage.setItem('sluice.settings', JSON.stringify({ seed: 1, maxTokens: 4 })));
  await open();
  const promptTokens = async (system: string) => {
    await page.getByTestId('open-settings').click();
    await page.getByTestId('set-system').fill(system);
    await page.keyboard.press('Escape');
    await page.getByTestId('new-chat').click();
    await ask('Tell me about a mill.');
    await ask('And a boat?');
    return Number(/of (\d+) prompt tokens were new/.exec((await last('turn-assistant').textContent())!)![1]);
  };
  const without = await promptTokens('');
  expect(await promptTokens('You tell stories of ten words about the sea.')).toBeGreaterThan(without + 8);
  expect(await promptTokens('')).toBe(without);
});

test('no errors', () => {
  expect(errors).toEqual([]);
  expect(server.reports).toEqual([]);
});

async function open(): Promise<void> {
  await page.goto(server.url);
  await page.waitForFunction(() => document.querySelector<HTMLElement>('#composer-form')!.dataset.ready === 'true', null, {
    timeout: 120_000,
  });
}

async function ask(text: string): Promise<void> {
  await page.getByTestId('composer').fill(text);
  await page.getByTestId('send').click();
  await replied();
}

async function replied(): Promise<void> {
  await page.waitForFunction(() => document.body.dataset.busy === 'false', null, { timeout: 120_000 });
  const state = await last('turn-assistant').getAttribute('data-state');
  expect(['stop', 'length']).toContain(state);
}

async function expectSoon<T>(ask: () => Promise<T>, expected: T): Promise<void> {
  let seen: T | undefined;
  for (let i = 0; i < 100; i++) {
    seen = await ask();
    if (JSON.stringify(seen) === JSON.stringify(expected)) return;
    await page.waitForTimeout(50);
  }
  expect(seen).toEqual(expected);
}

/**
 * Every record of the page's database as text, in the order of their keys, and how many saved states there are. `states`: what the folder of
 * each says in JSON, its conversation's id among it.
 */
type Kept = { keys: string[]; records: string[]; sessions: number; states: Record<string, string> };

function kept(): Promise<Kept> {
  return page.evaluate(async () => {
    const request = indexedDB.open('sluice');
    await new Promise((resolve) => request.addEventListener('success', resolve));
    const store = request.result.transaction('kept').objectStore('kept');
    const [names, all] = [store.getAllKeys(), store.getAll()];
    await new Promise((resolve) => all.addEventListener('success', resolve));
    request.result.close();
    const states: Record<string, string> = {};
    try {
      const v1 = await (await (await navigator.storage.getDirectory()).getDirectoryHandle('sluice')).getDirectoryHandle('v1');
      type Entries = AsyncIterable<[string, FileSystemHandle]>;
      for await (const [name, folder] of (await v1.getDirectoryHandle('sessions')) as unknown as Entries) {
        states[name] = '';
        for await (const [file, handle] of folder as unknown as Entries)
          if (file.endsWith('.json')) states[name] += await (await (handle as FileSystemFileHandle).getFile()).text();
      }
    } catch {
      // none yet
    }
    const records = all.result.map((record) => JSON.stringify(record));
    return { keys: names.result.map(String), records, sessions: Object.keys(states).length, states };
  });
}

function origin(where = page) {
  return where.evaluate(async () => {
    const files: string[] = [];
    const root = (await navigator.storage.getDirectory()) as unknown as { keys(): AsyncIterable<string> };
    for await (const name of root.keys()) files.push(name);
    return {
      databases: (await indexedDB.databases()).map(({ name }) => name),
      files,
      local: localStorage.length,
      session: sessionStorage.length,
      caches: await caches.keys(),
      workers: (await navigator.serviceWorker.getRegistrations()).length,
      cookies: document.cookie,
    };
  });
}

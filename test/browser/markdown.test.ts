/**
 * Replies as Markdown, in real browsers: hostile output without a Content-Security-Policy, with the sanitiser and without it, the chat page's
 * other words from strangers likewise, and that nothing which a model writes keeps the page busy.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hostilePieces, hostileTexts } from './hostile_markdown';
import { type BrowserName, launch, poll, type TestPage } from './launch';
import type { MarkdownPage } from './markdown';
import { startDevServer, type TestServer } from './servers';

const END_OF_IT = 'That was all of it.';

type WithPage = { markdown: MarkdownPage };

let server: TestServer;
let unsanitised: TestServer;
beforeAll(async () => {
  server = await startDevServer(); // without any policy
  unsanitised = await startDevServer({ withoutSanitiser: true });
});
afterAll(async () => {
  await server?.close();
  await unsanitised?.close();
});

const browsers: BrowserName[] = ['chromium', 'firefox'];

describe.each(browsers)('hostile output, %s', (name) => {
  let page: TestPage;
  beforeAll(async () => {
    page = await open(name);
  });
  afterAll(() => page?.close());

  test.each([{ withoutSanitiser: false }, { withoutSanitiser: true }])(
    'nothing runs and nothing is fetched: %o',
    async (options) => {
      const problems = await showAll(page, hostileTexts, options);
      expect(problems).toEqual([]);
      await expectNothingHappened(page, server);
    },
  );

  test('neither does what a fuzzer makes of it', async () => {
    const texts = fc.sample(fc.array(fc.constantFrom(...hostilePieces), { minLength: 1, maxLength: 30 }), {
      seed: 7,
      numRuns: 150,
    });
    const problems = await showAll(
      page,
      texts.map((pieces) => pieces.join('')),
      { withoutSanitiser: true },
    );
    expect(problems).toEqual([]);
    await expectNothingHappened(page, server);
  });

  test('neither does a licence or an id of a model', async () => {
    const licence = (words: string | undefined, id: string) =>
      page.evaluate(([text, of]) => (window as unknown as WithPage).markdown.licence(text, of!), [words, id] as const);
    for (const text of hostileTexts)
      expect(await licence(text, text)).toMatchObject({ text, origin: 'https://huggingface.co', tells: false });
    expect(await licence('<img src=x onerror=hit(1)>', 'a/b')).toMatchObject({ html: '&lt;img src=x onerror=hit(1)&gt;' });
    expect(await licence(undefined, 'a/b')).toMatchObject({ text: 'not stated' });
    await expectNothingHappened(page, server);
  });

  test('Markdown is shown as Markdown', async () => {
    const html = (text: string) => page.evaluate((source) => (window as unknown as WithPage).markdown.htmlOf(source), text);
    expect(await html('# A\n\n### B\n\n## C')).toMatch(/<h3[^>]*>A<\/h3><h4[^>]*>B<\/h4><h4[^>]*>C<\/h4>/);
    expect(await html('*a* **b** ~~c~~ `d`')).toMatch(/<em>a<\/em> <strong>b<\/strong> <s>c<\/s> <code[^>]*>d<\/code>/);
    expect(await html('- a\n- b\n\n3. c')).toMatch(/<ul><li[^>]*>a<\/li><li[^>]*>b<\/li><\/ul><ol start="3">/);
    expect(await html('| a | b |\n|---|--:|\n| 1 | 2 |')).toMatch(/<th[^>]*>a<\/th>.*<td class="right"[^>]*>2<\/td>/);
    expect(await html('```python\ndef f(): return 1\n```')).toMatch(/<span class="hljs-keyword">def<\/span>/);
    expect(await html('Euler: $e^{i\\pi} = -1$, \\(x\\), and 5$ or 6$.')).toMatch(/<math.*<msup>.*<math.*and 5\$ or 6\$\./);
    expect(await html('$$\n\\frac{1}{2}\n$$')).toMatch(/<math display="block".*<mfrac>/);
    expect(await html('$\\frac{1}$')).toContain('\\frac{1}');
    expect(await html('[word](https://example.com/a)')).toMatch(
      /<a href="https:\/\/example.com\/a"[^>]*>word<span[^>]*> \(example.com\)<\/span>/,
    );
    expect(await html('https://example.com/a')).toMatch(/>https:\/\/example.com\/a<\/a>/);
    expect(await html('![alt](https://example.com/a.png)')).toMatch(/>alt<span[^>]*> \(image at example.com\)/);
  });

  test('a finished block is not made again', async () => {
    const text = `One.\n\n## Two\n\n- a\n- b\n\n\`\`\`js\nconst a = 1;\n\`\`\`\n\n$x$ and *more*\n\n${'Many words. '.repeat(20)}\n\nend`;
    expect(await page.evaluate((source) => (window as unknown as WithPage).markdown.remade(source), text)).toBe(0);
  });

  test.each([
    {
      why: 'a paragraph comes behind it',
      pieces: ['$$\np\n$$\n\n', 'One ', 'two ', 'three.'],
      shown: { formulas: 1, text: 'pOne two three.' },
    },
    { why: 'the reply ends with it', pieces: ['One.\n\n', '$$\nq\n$$'], shown: { formulas: 1, text: 'One.q' } },
    {
      why: 'the next block is finished with it',
      pieces: ['$$\nr\n$$', '\n\nOne.\n\nTwo.'],
      shown: { formulas: 1, text: 'rOne.Two.' },
    },
    {
      why: 'a block that is read again changes it',
      pieces: ['$$\ns\n$$\n\n', '- $t$', ' $u$\n', '- v'],
      shown: { formulas: 3, text: 'st uv' },
    },
  ])('a formula of its own line is shown once: $why', async ({ pieces, shown }) => {
    expect(await page.evaluate((all) => (window as unknown as WithPage).markdown.showSlowly(all), pieces)).toEqual(shown);
    expect(page.errors).toEqual([]);
  });

  test('no errors', () => expect(page.errors).toEqual([]));

  test('an imported conversation, its files and its calls run nothing and fetch nothing, without the sanitiser', async () => {
    await page.prepare(`
        window.ran = [];
        window.hit = window.alert = (text) => void ran.push(text);
        localStorage.setItem('sluice.settings', '{"gpuBudget":1000}'); // no model, for the sake of time
      `);
    page.requests.length = 0;
    await page.open(unsanitised.url);
    await poll('the chat page', () => page.evaluate(() => (document.querySelector('#attach-input') ? true : undefined)));
    await page.evaluate(giveFile, ['#import-input', 'a.json', hostileConversations()]);
    await poll('the list', async () => (await page.evaluate(listed)) === hostileTexts.length || undefined);
    await page.evaluate(() => document.querySelector<HTMLElement>('[data-testid=chat-open]')!.click());
    const shown = () =>
      page.evaluate((words) => document.querySelector('#messages')!.textContent.includes(words) || undefined, END_OF_IT);
    await poll('all of it', shown, { everyMs: 50 });
    for (const file of hostileTexts.slice(0, 7)) await page.evaluate(giveFile, ['#attach-input', file, file]);
    await page.evaluate(() => document.querySelector<HTMLElement>('[data-testid=chat-delete]')!.click()); // asks, with the title
    await new Promise((resolve) => setTimeout(resolve, 500)); // formulas come a moment later
    const { problems, ran, chips, sanitises } = await page.evaluate(lookAround);
    expect(sanitises).toBe(false);
    expect(chips).toBe(hostileTexts.length + 7);
    expect(problems).toEqual([]);
    expect(ran).toEqual([]);
    const own = (request: string) => request.startsWith(unsanitised.url) || /^(data|blob):/.test(request);
    expect(page.requests.filter((request) => !own(request) || /\/(x|api|undefined)$/.test(request))).toEqual([]);
  });

  test('the watch itself sees what is fetched', async () => {
    await page.evaluate(() => {
      new Image().src = 'https://evil.invalid/seen.png';
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(page.requests).toContain('https://evil.invalid/seen.png');
  });
});

async function open(name: BrowserName): Promise<TestPage> {
  const page = await launch(name);
  await page.open(`${server.url}test/browser/markdown.html`);
  for (let i = 0; i < 200; i++) {
    if (await page.evaluate(() => 'markdown' in window)) return page;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`The page did not start: ${page.errors.join('; ')}`);
}

/** One conversation with everything in it, the newest, and one for each further title. */
function hostileConversations(): string {
  const pair = (evil: string, at: number) => [
    { parent: 2 * at - 1, role: 'user', text: evil, attachments: [{ name: evil.slice(0, 500), text: evil }] },
    {
      ...{ parent: 2 * at, role: 'assistant', text: evil, thoughts: evil, end: 'stop' },
      calls: [{ name: evil.slice(0, 500), arguments: evil }],
    },
  ];
  const all = [...hostileTexts.flatMap(pair)];
  all.push(
    { parent: all.length - 1, role: 'user', text: 'And?', attachments: [] },
    { ...{ parent: all.length, role: 'assistant', text: END_OF_IT, thoughts: '', end: 'stop' }, calls: [] },
  );
  const conversations = hostileTexts.map((evil, at) => {
    const turns = at === 0 ? all : pair(evil, 0);
    return {
      id: evil.slice(0, 100),
      title: evil.slice(0, 500),
      createdAt: 1,
      updatedAt: 1e12 - at,
      turns,
      leaf: turns.length - 1,
    };
  });
  return JSON.stringify({ format: 'sluice.conversations', version: 1, conversations });
}

/** In the page: a file for an input, as a visitor chooses one. */
function giveFile([input, name, text]: string[]): void {
  const element = document.querySelector<HTMLInputElement>(input!)!;
  const chosen = new DataTransfer();
  chosen.items.add(new File([text!], name!));
  element.files = chosen.files;
  element.dispatchEvent(new Event('change', { bubbles: true }));
}

const listed = () => document.querySelectorAll('[data-testid=chat-item]').length;

/** In the chat page: what of the strangers' words became more than words. */
async function lookAround() {
  const places = '#messages, #attachments, [data-testid=chat-item]';
  const evil =
    'script, img, image, iframe, object, embed, style, link, base, meta, form, video, audio, [srcdoc], [autofocus], [onerror], [onload], [onfocus], [onclick], [onmouseover]';
  const problems = [...document.querySelectorAll(places)].flatMap((place) => {
    const made = [...place.querySelectorAll(evil)];
    const links = [...place.querySelectorAll<HTMLAnchorElement>('a')];
    const loose = links.filter(({ href, rel }) => !/^(https:|mailto:)/.test(href) || rel !== 'noopener noreferrer');
    return [...made, ...loose].map(({ outerHTML }) => outerHTML.slice(0, 200));
  });
  const { sanitise } = await new Function('return import("/demo/markdown/sanitise.ts")')();
  const planted = document.createElement('div');
  planted.append(document.createElement('form'));
  sanitise(planted);
  const chips = document.querySelectorAll('#messages .chip, #attachments .chip').length;
  return { problems, ran: (window as unknown as { ran: string[] }).ran, chips, sanitises: planted.childElementCount === 0 };
}

function showAll(page: TestPage, texts: readonly string[], options: { withoutSanitiser: boolean }): Promise<string[]> {
  return page.evaluate(([all, how]) => (window as unknown as WithPage).markdown.showAll(all, how), [texts, options] as const);
}

async function expectNothingHappened(page: TestPage, { url }: TestServer): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(await page.evaluate(() => (window as unknown as WithPage).markdown.ran)).toEqual([]);
  const outside = page.requests.filter((request) => !request.startsWith(url) && !request.startsWith('data:'));
  expect(outside).toEqual([]);
  expect(page.requests.filter((request) => /\/(x|api|undefined)$/.test(request))).toEqual([]);
}

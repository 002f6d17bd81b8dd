/** The renderer of replies alone, on a page that scrolls along as the chat page does. */
import { cardLink } from '../../demo/card_link';
import { MarkdownStream } from '../../demo/markdown/markdown_stream';

const reply = document.getElementById('reply')!;
const scroller = document.getElementById('scroller')!;
const ran: string[] = [];
const follow = () => {
  scroller.scrollTop = scroller.scrollHeight;
};

type Options = { withoutSanitiser?: boolean };

const api = {
  /** What hostile text has managed to run. */
  ran,
  /** Shows texts one after the other, whole and in pieces of five characters; what breaks a rule of the page, with the text that did. */
  async showAll(texts: readonly string[], options: Options): Promise<string[]> {
    const problems: string[] = [];
    for (const text of texts)
      for (const size of [text.length, 5]) {
        await show(text, size, options);
        problems.push(...violations().map((problem) => `${JSON.stringify(text)}: ${problem}`));
      }
    return problems;
  },
  /** A link to a model's licence, whose words and id are these. */
  licence(words: string | undefined, id: string): { html: string; text: string; origin: string; tells: boolean } {
    const link = cardLink({
      ...{ id, name: id, licence: words, summary: '', bytes: 1, commit: '', checked: 'vectors', family: 'qwen35' },
    }) as HTMLAnchorElement;
    reply.replaceChildren(link);
    const { textContent: text, origin, rel, target, innerHTML: html } = link;
    return { html, text, origin, tells: rel !== 'noopener noreferrer' || target !== '_blank' };
  },
  async htmlOf(text: string): Promise<string> {
    await show(text, text.length, {});
    for (let i = 0; i < 100 && reply.querySelector('.tex'); i++) await pause(20);
    return reply.innerHTML;
  },
  /** Gives `text` at `rate` characters per second, or so many times at once, and waits until all of it is shown. */
  async replay(
    text: string,
    { rate, times = 1, before = '' }: { rate?: number; times?: number; before?: string } = {},
  ): Promise<void> {
    reply.replaceChildren();
    const stream = new MarkdownStream(reply, follow);
    const start = performance.now();
    if (rate) {
      for (let at = 0; at < text.length; ) {
        const due = Math.ceil(((performance.now() - start) / 1000) * rate);
        stream.append(text.slice(at, due));
        at = due;
        await pause(5);
      }
    } else stream.append(before + text.repeat(times));
    stream.end({ now: true });
    await settled(stream);
  },
  /** Shows a reply whose pieces come far enough apart for the formulas in them to be drawn; what is on the page in the end. */
  async showSlowly(pieces: readonly string[]): Promise<{ formulas: number; text: string }> {
    await api.htmlOf('$a$'); // from here on, what draws formulas is there
    reply.replaceChildren();
    const stream = new MarkdownStream(reply, follow);
    for (const piece of pieces) {
      stream.append(piece);
      await settled(stream);
      await pause(60);
    }
    stream.end({ now: true });
    await settled(stream);
    await pause(60);
    return { formulas: reply.querySelectorAll('math').length, text: reply.textContent };
  },
  shown: () => reply.textContent.length,
  /** Elements made again although their block was finished: none. */
  async remade(text: string): Promise<number> {
    reply.replaceChildren();
    const stream = new MarkdownStream(reply, () => {});
    const finished = new Map<Element, string>();
    let lost = 0;
    for (let at = 0; at < text.length; at += 7) {
      stream.append(text.slice(at, at + 7));
      drawNow(stream);
      const blocks = [...reply.querySelectorAll('.part > *')];
      for (const [block, html] of finished) if (!block.isConnected || block.outerHTML !== html) lost++;
      for (const block of blocks.slice(0, -2)) finished.set(block, block.outerHTML);
    }
    stream.clear();
    return lost;
  },
};
Object.assign(window, { markdown: api, hit: (text: string) => ran.push(text), alert: (text: string) => ran.push(text) });
export type MarkdownPage = typeof api;

async function show(text: string, size: number, options: Options): Promise<void> {
  reply.replaceChildren();
  const stream = new MarkdownStream(reply, follow, options);
  for (let at = 0; at < text.length; at += size) {
    stream.append(text.slice(at, at + size));
    if (size < text.length && at % 100 === 0) drawNow(stream);
  }
  stream.end({ now: true });
  await settled(stream);
  if (/\$|\\[([]/.test(text)) await pause(50); // formulas come a moment later
}

/** What frames would do, none of them left out. */
function drawNow(stream: MarkdownStream): void {
  while (stream.step());
  stream.draw();
}

async function settled(stream: MarkdownStream): Promise<void> {
  while (stream.working) await new Promise(requestAnimationFrame);
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const ELEMENTS = new Set(
  (
    'div p h3 h4 h5 h6 strong em s a span code pre ul ol li blockquote hr br table thead tbody tr th td button ' +
    'math mi mn mo ms mtext mspace mrow mfrac msqrt mroot mstyle merror mpadded mphantom msub msup msubsup munder mover munderover ' +
    'mmultiscripts mprescripts mtable mtr mtd'
  ).split(' '),
);

/** Written apart from the renderer's own lists: what a reader may be shown. */
function violations(): string[] {
  return [...reply.querySelectorAll('*')].flatMap((element) => {
    const name = element.localName;
    const problems = ELEMENTS.has(name) ? [] : [`a ${name}`];
    for (const { name: attribute, value } of element.attributes) {
      if (/^on|^src|srcset|formaction|xlink|^id$|^name$/i.test(attribute)) problems.push(`${name} with ${attribute}`);
      if (attribute === 'style' && /url|image|position|expression|var|@|\\/i.test(value)) problems.push(`style ${value}`);
    }
    if (element instanceof HTMLAnchorElement) {
      if (!/^(https:|mailto:)/.test(element.href)) problems.push(`a link to ${element.href}`);
      if (element.rel !== 'noopener noreferrer' || element.target !== '_blank') problems.push('a link that tells its page');
      const place = element.protocol === 'mailto:' ? '@' : element.host;
      if (!element.textContent.includes(place)) problems.push(`a link that hides ${element.href}`);
    } else if (element.hasAttribute('href')) problems.push(`${name} with href`);
    return problems;
  });
}

/** Parsed Markdown as nodes of the page: elements from this file alone, and model text as text nodes. Nothing is ever parsed as HTML. */
import { codeBlock } from './code_block';
import { linkOf } from './links';
import { mathNode, texNode } from './maths';
import type { Block, Token } from './parser';

/** Levels of the headings that the next one lies below, outermost first: 1 to 6 as they were written. */
export type Outline = readonly number[];

/** Laying out MathML takes long: a block with more formulas shows the others as TeX. */
const MOST_FORMULAS = 40;

const ELEMENTS: Record<string, string> = {
  paragraph_open: 'p',
  bullet_list_open: 'ul',
  list_item_open: 'li',
  blockquote_open: 'blockquote',
  thead_open: 'thead',
  tbody_open: 'tbody',
  tr_open: 'tr',
  strong_open: 'strong',
  em_open: 'em',
  s_open: 's',
};

/** A turn of the conversation is an h2, so what it holds begins with h3 and leaves no level out. */
function headingLevel(outline: Outline, written: number): { outline: Outline; level: number } {
  const above = outline.filter((level) => level < written);
  return { outline: [...above, written], level: Math.min(6, 3 + above.length) };
}

/** The nodes of one block, and the outline behind it. */
export function blockNodes({ tokens }: Block, outline: Outline): { nodes: ChildNode[]; outline: Outline } {
  const builder = new Builder(outline);
  builder.addAll(tokens);
  return { nodes: [...builder.root.childNodes], outline: builder.outline };
}

class Builder {
  readonly root = document.createDocumentFragment();
  readonly #open: ParentNode[] = [this.root];
  #formulas = 0;

  constructor(public outline: Outline) {}

  addAll(tokens: readonly Token[]): void {
    for (const token of tokens) this.#add(token);
  }

  get #top(): ParentNode {
    return this.#open.at(-1)!;
  }

  #add(token: Token): void {
    if (token.hidden) return; // paragraphs of a tight list
    if (token.nesting === 1) this.#push(this.#element(token));
    else if (token.nesting === -1) this.#close(token);
    else if (token.type === 'inline') this.addAll(token.children ?? []);
    else this.#top.append(this.#leaf(token));
  }

  #push(element: HTMLElement): void {
    this.#top.append(element);
    this.#open.push(element);
  }

  #close(token: Token): void {
    const closed = this.#open.pop();
    if (token.type === 'table_close') this.#open.pop();
    if (token.type === 'link_close' && closed instanceof HTMLAnchorElement) showPlace(closed);
  }

  #element(token: Token): HTMLElement {
    if (token.type === 'link_open') return anchor(String(token.attrGet('href') ?? ''));
    if (token.type === 'heading_open') return this.#heading(token);
    if (token.type === 'table_open') return this.#table();
    if (token.type === 'ordered_list_open') return orderedList(token);
    if (token.type === 'th_open' || token.type === 'td_open') return cell(token);
    const element = document.createElement(ELEMENTS[token.type] ?? 'span');
    if (['P', 'LI', 'BLOCKQUOTE'].includes(element.tagName)) element.dir = 'auto';
    return element;
  }

  #heading(token: Token): HTMLElement {
    const written = Number(token.tag.slice(1));
    const { outline, level } = headingLevel(this.outline, written);
    this.outline = outline;
    const heading = document.createElement(`h${level}`);
    heading.className = `written-${written}`;
    heading.dir = 'auto';
    return heading;
  }

  /** In a box of its own, which scrolls where the table is wide. */
  #table(): HTMLElement {
    const box = document.createElement('div');
    box.className = 'table-box';
    box.tabIndex = 0;
    box.setAttribute('role', 'group');
    box.setAttribute('aria-label', 'Table');
    this.#push(box);
    return document.createElement('table');
  }

  #formula(tex: string, display: boolean): Node {
    return this.#formulas++ < MOST_FORMULAS ? mathNode(tex, display) : texNode(tex, display);
  }

  #leaf(token: Token): Node {
    switch (token.type) {
      case 'softbreak':
      case 'hardbreak':
        return document.createElement('br');
      case 'hr':
        return document.createElement('hr');
      case 'code_inline':
        return inlineCode(token.content);
      case 'fence':
      case 'code_block':
        return codeBlock(token.content, token.info);
      case 'math_inline':
        return this.#formula(token.content, false);
      case 'math_display':
      case 'math_block':
        return this.#formula(token.content, true);
      case 'image':
        return imageLink(token);
      default:
        return document.createTextNode(token.content);
    }
  }
}

function orderedList(token: Token): HTMLElement {
  const list = document.createElement('ol');
  const start = Number(token.attrGet('start') ?? 1);
  if (start !== 1 && Number.isSafeInteger(start)) list.start = start;
  return list;
}

function cell(token: Token): HTMLElement {
  const made = document.createElement(token.type === 'th_open' ? 'th' : 'td');
  const align = /text-align:(center|right)/.exec(String(token.attrGet('style') ?? ''))?.[1];
  if (align) made.className = align;
  made.dir = 'auto';
  return made;
}

function inlineCode(text: string): HTMLElement {
  const code = document.createElement('code');
  code.dir = 'auto';
  code.textContent = text;
  return code;
}

/** Never loaded by itself: a reader who follows the link chooses to. */
function imageLink(token: Token): Node {
  const link = anchor(String(token.attrGet('src') ?? ''));
  link.textContent = token.content || 'image';
  showPlace(link, 'image at ');
  return link;
}

/** A span where the address is none that this page links to. */
function anchor(address: string): HTMLElement {
  const link = linkOf(address);
  if (!link) return document.createElement('span');
  const made = document.createElement('a');
  made.href = link.href;
  made.rel = 'noopener noreferrer';
  made.target = '_blank';
  made.dir = 'auto';
  return made;
}

/** Says where a link leads, unless its words are exactly that. */
function showPlace(link: HTMLElement, before = ''): void {
  const place = link instanceof HTMLAnchorElement ? linkOf(link.href)?.place : undefined;
  if (!place || (before === '' && link instanceof HTMLAnchorElement && says(link, place))) return;
  const words = document.createElement('span');
  words.className = 'place';
  words.dir = 'ltr';
  words.textContent = ` (${before}${place})`;
  link.append(words);
}

function says(link: HTMLAnchorElement, place: string): boolean {
  const text = link.textContent ?? '';
  if (!/^[\x21-\x7e]*$/.test(text)) return false;
  return text === place || linkOf(text)?.href === link.href;
}

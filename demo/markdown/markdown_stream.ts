/**
 * A reply as Markdown while it streams in. Text is gathered and read once per frame, a little at a time, so that no task grows long, whatever
 * arrives. Finished blocks enter the page once and stay; only the block that is being written is made anew, and of
 * that only what changed is touched.
 */
import { BlockCutter, MOST_TAKEN, type Piece } from './block_cutter';
import { codeOf } from './code_block';
import { cancelWork, requestWork } from './frame_work';
import { blockNodes, type Outline } from './nodes';
import { patchNodes } from './patch';
import { sanitise } from './sanitise';

/** A reply that has ended may show at once what this is enough for. */
const END_MS = 20;
/** Blocks to a part: a page with a hundred thousand siblings would be slow whatever they hold. */
const PART_BLOCKS = 32;
const PLAIN_CHARACTERS = 2000;

export type MarkdownOptions = {
  /** Only for the test that wants the renderer alone. */
  withoutSanitiser?: boolean;
};

export class MarkdownStream {
  #cutter = new BlockCutter();
  #waiting = '';
  #ended = false;
  #outline: Outline = [];
  #part: HTMLElement | undefined;
  #open: ChildNode[] = [];
  #code: HTMLElement | undefined;

  constructor(
    private readonly container: HTMLElement,
    private readonly onGrow: () => void,
    private readonly options: MarkdownOptions = {},
  ) {}

  append(text: string): void {
    this.#waiting += text;
    this.#schedule();
  }

  /** Nothing comes after what has arrived. `now`: the reader has watched it come, so that its end is shown at once, unless it is long. */
  end({ now }: { now: boolean }): void {
    this.#ended = true;
    const until = performance.now() + END_MS;
    if (now) while (this.#work() && performance.now() < until);
    else this.#schedule();
  }

  clear(): void {
    cancelWork(this.#step);
    this.#cutter = new BlockCutter();
    this.#waiting = '';
    this.#ended = false;
    this.#outline = [];
    this.#part = undefined;
    this.#open = [];
    this.#code = undefined;
    this.container.replaceChildren();
  }

  #schedule(): void {
    requestWork(this.#step);
  }

  readonly #step = (): boolean => {
    const more = this.#work();
    this.onGrow();
    return more;
  };

  /** One piece; true where there is more. */
  #work(): boolean {
    const text = this.#waiting.slice(0, MOST_TAKEN);
    this.#waiting = this.#waiting.slice(text.length);
    const last = this.#ended && this.#waiting === '';
    const { finished, open } = this.#cutter.add(text, last);
    for (const piece of finished) this.#finish(piece);
    this.#showOpen(open);
    return this.#waiting !== '';
  }

  #finish(piece: Piece): void {
    const { nodes, outline } = this.#nodesOf(piece, this.#outline);
    this.#outline = outline;
    if (piece.kind === 'more-code' && this.#code) {
      this.#takeOpenAway();
      this.#code.append(...nodes);
      return;
    }
    const part = this.#partWithRoom();
    this.#open = patchNodes(part, this.#open, [...nodes, ...this.#open.slice(nodes.length)]).slice(nodes.length);
    const block = nodes.at(-1);
    this.#code = block instanceof HTMLElement && block.matches('.code-block') ? codeOf(this.#finishedCode(part)) : undefined;
  }

  /** The patch may have kept the element that stood there before. */
  #finishedCode(part: HTMLElement): HTMLElement {
    const before = this.#open[0]?.previousSibling ?? part.lastChild;
    return before as HTMLElement;
  }

  #showOpen(open: readonly Piece[]): void {
    let outline = this.#outline;
    const nodes: ChildNode[] = [];
    for (const piece of open) {
      const made = this.#nodesOf(piece, outline);
      outline = made.outline;
      nodes.push(...made.nodes);
    }
    const inCode = open[0]?.kind === 'more-code' && this.#code;
    const parent = inCode || (nodes.length > 0 || this.#open.length > 0 ? this.#partWithRoom() : undefined);
    if (parent && this.#open[0] && this.#open[0].parentNode !== parent) this.#takeOpenAway();
    if (parent) this.#open = patchNodes(parent, this.#open, nodes);
  }

  #takeOpenAway(): void {
    for (const node of this.#open) node.remove();
    this.#open = [];
  }

  /** A new part only between blocks: an open one stays where it is. */
  #partWithRoom(): HTMLElement {
    if (this.#part && (this.#part.childElementCount < PART_BLOCKS || this.#open.length > 0)) return this.#part;
    this.#part = document.createElement('div');
    this.#part.className = 'part';
    this.container.append(this.#part);
    return this.#part;
  }

  #nodesOf(piece: Piece, outline: Outline): { nodes: ChildNode[]; outline: Outline } {
    if (piece.kind === 'plain') return { nodes: plainNodes(piece.text), outline };
    if (piece.kind === 'more-code') return { nodes: codeLines(piece.text), outline };
    const made = blockNodes(piece.block, outline);
    if (this.options.withoutSanitiser) return made;
    const holder = document.createElement('div');
    holder.append(...made.nodes);
    sanitise(holder);
    return { nodes: [...holder.childNodes], outline: made.outline };
  }
}

function plainNodes(text: string): ChildNode[] {
  const nodes: ChildNode[] = [];
  for (let at = 0; at < text.length; at += PLAIN_CHARACTERS) {
    const paragraph = document.createElement('p');
    paragraph.className = 'plain';
    paragraph.dir = 'auto';
    paragraph.textContent = text.slice(at, at + PLAIN_CHARACTERS);
    nodes.push(paragraph);
  }
  return nodes;
}

function codeLines(text: string): ChildNode[] {
  const lines = document.createElement('span');
  lines.className = 'lines';
  lines.textContent = text;
  return [lines];
}

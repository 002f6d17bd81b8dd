/**
 * A reply as Markdown while it streams in. Text is gathered and read once per draw, a little at a time, so that no task grows long, whatever
 * arrives. Finished blocks enter the page once and stay; only the block that is being written is made anew, and of
 * that only what changed is touched.
 */
import { cancelWork, isWaiting, requestWork, type Work } from '../frame_work';
import { BlockCutter, MOST_TAKEN, type Piece } from './block_cutter';
import { codeOf } from './code_block';
import { FORMULA_DRAWN } from './maths';
import { blockNodes, type Outline } from './nodes';
import { patchNodes } from './patch';
import { sanitise } from './sanitise';

/** A reply that has ended may show at once what this is enough for. */
const END_MS = 8;
/** Blocks to a part: a page with a hundred thousand siblings would be slow whatever they hold. */
const PART_BLOCKS = 32;
/** As a block's weight: what comes near the screen is laid out and painted a part at a time. */
const PART_WEIGHT = 250;
/** Lines that one step takes in at most. */
const MOST_LINES = 60;
const PLAIN_CHARACTERS = 2000;

export type MarkdownOptions = {
  /** Only for the test that wants the renderer alone. */
  withoutSanitiser?: boolean;
};

export class MarkdownStream implements Work {
  #cutter = new BlockCutter();
  #waiting = '';
  #ended = false;
  #outline: Outline = [];
  #part: HTMLElement | undefined;
  /** Of the finished blocks in `#part`. */
  #partWeight = 0;
  #unfinished: readonly Piece[] = [];
  #open: ChildNode[] = [];
  #code: HTMLElement | undefined;

  constructor(
    private readonly container: HTMLElement,
    private readonly onGrow: () => void,
    private readonly options: MarkdownOptions = {},
  ) {
    container.addEventListener(FORMULA_DRAWN, () => this.#grown());
  }

  /** Text has arrived that is not shown yet. */
  get working(): boolean {
    return this.#waiting !== '' || isWaiting(this);
  }

  append(text: string): void {
    this.#waiting += text;
    requestWork(this, { soon: this.#part === undefined });
  }

  /** Nothing comes after what has arrived. `now`: the reader has watched it come, so that its end is shown at once, unless it is long. */
  end({ now }: { now: boolean }): void {
    this.#ended = true;
    const until = performance.now() + END_MS;
    if (now) while (this.step() && performance.now() < until);
    if (now) this.draw();
    if (now && this.#waiting === '') cancelWork(this);
    else requestWork(this, { soon: true });
  }

  clear(): void {
    cancelWork(this);
    this.#cutter = new BlockCutter();
    this.#waiting = '';
    this.#ended = false;
    this.#outline = [];
    this.#part = undefined;
    this.#partWeight = 0;
    this.#unfinished = [];
    this.#open = [];
    this.#code = undefined;
    this.container.replaceChildren();
  }

  /** Reads one piece of what has arrived; true where there is more. */
  step(): boolean {
    const text = pieceAhead(this.#waiting);
    this.#waiting = this.#waiting.slice(text.length);
    const last = this.#ended && this.#waiting === '';
    const { finished, open } = this.#cutter.add(text, last);
    this.#finishAll(finished);
    this.#unfinished = open;
    return this.#waiting !== '';
  }

  /** Shows the block that is being written, which no step does; but not for one frame, where the next step goes on with it. */
  draw(): void {
    if (this.#waiting === '') this.#showOpen(this.#unfinished);
    this.#grown();
  }

  #grown(): void {
    void this.container.offsetHeight; // laid out now: see frame_work.ts
    this.onGrow();
  }

  #finishAll(pieces: readonly Piece[]): void {
    const nodes: ChildNode[] = [];
    for (const piece of pieces) {
      if (piece.kind === 'more-code' && this.#code) {
        this.#takeOpenAway();
        this.#code.append(...codeLines(piece.text));
        continue;
      }
      const made = this.#nodesOf(piece, this.#outline);
      this.#outline = made.outline;
      nodes.push(...made.nodes);
      this.#code = undefined;
    }
    if (nodes.length === 0) return;
    const placed = this.#place(this.#sanitised(nodes));
    for (const piece of pieces) if (piece.kind === 'block') this.#partWeight += piece.block.weight;
    const block = placed.at(-1);
    this.#code = block instanceof HTMLElement && block.matches('.code-block') ? codeOf(block) : undefined;
  }

  /** Finished blocks take the place of what was open, in parts with room for them. */
  #place(nodes: readonly ChildNode[]): ChildNode[] {
    const placed: ChildNode[] = [];
    while (placed.length < nodes.length) {
      const part = this.#partWithRoom();
      const room = Math.max(1, PART_BLOCKS - part.childElementCount + this.#open.length);
      placed.push(...patchNodes(part, this.#open, nodes.slice(placed.length, placed.length + room)));
      this.#open = [];
    }
    return placed;
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
    if (parent) this.#open = patchNodes(parent, this.#open, this.#sanitised(nodes));
  }

  #takeOpenAway(): void {
    for (const node of this.#open) node.remove();
    this.#open = [];
  }

  /** A new part only between blocks: an open one stays where it is. */
  #partWithRoom(): HTMLElement {
    const room = this.#partWeight < PART_WEIGHT && (this.#part?.childElementCount ?? 0) < PART_BLOCKS;
    if (this.#part && (room || this.#open.length > 0)) return this.#part;
    this.#partWeight = 0;
    this.#part = document.createElement('div');
    this.#part.className = 'part';
    this.container.append(this.#part);
    return this.#part;
  }

  #nodesOf(piece: Piece, outline: Outline): { nodes: ChildNode[]; outline: Outline } {
    if (piece.kind === 'plain') return { nodes: plainNodes(piece.text), outline };
    if (piece.kind === 'more-code') return { nodes: codeLines(piece.text), outline };
    return blockNodes(piece.block, outline);
  }

  #sanitised(nodes: readonly ChildNode[]): ChildNode[] {
    if (this.options.withoutSanitiser) return [...nodes];
    const holder = document.createElement('div');
    holder.append(...nodes);
    sanitise(holder);
    return [...holder.childNodes];
  }
}

/** What one step takes: lines of a letter each are as many blocks. */
function pieceAhead(waiting: string): string {
  let end = 0;
  for (let line = 0; line < MOST_LINES && end < MOST_TAKEN; line++) {
    const next = waiting.indexOf('\n', end) + 1;
    if (next === 0) return waiting.slice(0, MOST_TAKEN);
    end = next;
  }
  return waiting.slice(0, Math.min(end, MOST_TAKEN));
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

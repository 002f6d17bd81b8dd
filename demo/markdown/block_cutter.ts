/**
 * Cuts a reply that grows into blocks that are finished and the one that is not. Only the unfinished end is parsed again as text arrives;
 * a block is finished as soon as the line that begins the next one is whole. What grows beyond `MOST_OPEN` or `MOST_WEIGHT` is cut at the end
 * of a line or a word, so a step never costs more than that much does: a long list goes on as another list, a table under its head again. Pure.
 */
import { type Block, type Definitions, parseBlocks } from './parser';

/** Characters of the unfinished end that are parsed at a time. */
export const MOST_OPEN = 1800;
/** Of what they cost to show: a list of one-word items has ten times the elements of as much prose. */
export const MOST_WEIGHT = 600;
/** Characters that one step takes in at most. */
export const MOST_TAKEN = 500;

/** Of a reply that is longer than any model writes, the rest is text as it was written: a page of so many elements would be slow for good. */
const MOST_RICH = 200_000;
const MOST_PLAIN = 2000;

export type Piece =
  | { kind: 'block'; block: Block }
  /** As it was written: nested too deep, or one line too long to parse. */
  | { kind: 'plain'; text: string }
  /** More of the code that the piece before began. */
  | { kind: 'more-code'; text: string };

export type Cut = { finished: Piece[]; open: Piece[] };

export class BlockCutter {
  #tail = '';
  /** What ends the code whose beginning is finished already. */
  #fence: RegExp | undefined;
  readonly #definitions: Definitions = {};
  #taken = 0;

  /** `text`: at most `MOST_TAKEN` characters. `last`: nothing comes after it. */
  add(text: string, last: boolean): Cut {
    if (this.#taken > MOST_RICH) return this.#addPlain(text, last);
    this.#taken += text.length;
    return this.#addRich(text, last || this.#taken > MOST_RICH);
  }

  #addRich(text: string, last: boolean): Cut {
    this.#tail += text;
    const finished: Piece[] = [];
    if (this.#fence && !this.#addCode(this.#fence, finished, last)) return { finished, open: this.#openCode() };
    const { blocks, lines } = this.#parse();
    const count = last ? blocks.length : finishedBlocks(blocks, lines.length - 1);
    finished.push(...blocks.slice(0, count).map((block) => pieceOf(block, lines)));
    if (last) this.#tail = '';
    else if (count > 0) this.#tail = textOf(lines, blocks[count]!.lines[0], lines.length);
    const open = blocks.slice(count);
    const most = mostOpen(open, this.#tail.length);
    if (!last && this.#tail.length > most) return { finished: [...finished, ...this.#cutOff(open[0], most)], open: [] };
    return { finished, open: open.map((block) => pieceOf(block, lines)) };
  }

  #addPlain(text: string, last: boolean): Cut {
    this.#tail += text;
    const lines = last ? this.#tail.length : this.#tail.lastIndexOf('\n') + 1;
    const end = lines === 0 && this.#tail.length > MOST_PLAIN ? MOST_PLAIN : lines;
    const finished: Piece[] = end === 0 ? [] : [{ kind: 'plain', text: this.#tail.slice(0, end).replace(/\n$/, '') }];
    this.#tail = this.#tail.slice(end);
    return { finished, open: this.#tail === '' ? [] : [{ kind: 'plain', text: this.#tail }] };
  }

  #parse(): { blocks: Block[]; lines: string[] } {
    return { blocks: parseBlocks(this.#tail, this.#definitions), lines: this.#tail.split('\n') };
  }

  /** The open block is longer than may be parsed at once: it ends at the last whole line in `most` characters, else at the last word. */
  #cutOff(block: Block | undefined, most: number): Piece[] {
    const wholeLines = this.#tail.lastIndexOf('\n', most) + 1;
    const end = wholeLines || this.#tail.lastIndexOf(' ', most) + 1;
    const text = this.#tail.slice(0, end || most);
    this.#tail = this.#tail.slice(text.length);
    if (end === 0) return [{ kind: 'plain', text }];
    const [token] = block?.tokens ?? [];
    const lines = text.split('\n');
    if (token?.map?.[0] === 0 && wholeLines > 0) {
      if (token.type === 'fence') this.#fence = new RegExp(`^ {0,3}\\${token.markup[0]}{${token.markup.length},}[ \\t]*$`);
      if (token.type === 'table_open') this.#tail = headOf(lines) + this.#tail;
    }
    return parseBlocks(text, this.#definitions).map((each) => pieceOf(each, lines));
  }

  /** False while the code goes on. */
  #addCode(fence: RegExp, finished: Piece[], last: boolean): boolean {
    const lines = this.#tail.split('\n');
    const whole = last && lines.at(-1) !== '' ? lines.length : lines.length - 1;
    const end = lines.findIndex((line, i) => i < whole && fence.test(line));
    const upTo = end < 0 ? whole : end;
    if (upTo > 0) finished.push({ kind: 'more-code', text: `${lines.slice(0, upTo).join('\n')}\n` });
    this.#tail = lines.slice(end < 0 ? whole : end + 1).join('\n');
    if (end >= 0) this.#fence = undefined;
    else if (this.#tail.length > MOST_OPEN) {
      finished.push({ kind: 'more-code', text: this.#tail });
      this.#tail = '';
    }
    return end >= 0;
  }

  #openCode(): Piece[] {
    return this.#tail === '' ? [] : [{ kind: 'more-code', text: this.#tail }];
  }
}

/** Characters that may stay open. What is as dense throughout as on average gets its share of `MOST_WEIGHT`. */
function mostOpen(open: readonly Block[], characters: number): number {
  const weight = open.reduce((sum, block) => sum + block.weight, 0);
  return weight <= MOST_WEIGHT ? MOST_OPEN : Math.min(MOST_OPEN, Math.ceil((characters * MOST_WEIGHT) / weight));
}

/** Blocks before the last one whose first line is whole. A line that is not may yet turn out to belong to the block before. */
function finishedBlocks(blocks: readonly Block[], wholeLines: number): number {
  for (let i = blocks.length - 1; i > 0; i--) if (blocks[i]!.lines[0] < wholeLines) return i;
  return 0;
}

function pieceOf(block: Block, lines: readonly string[]): Piece {
  return block.tooDeep ? { kind: 'plain', text: textOf(lines, ...block.lines) } : { kind: 'block', block };
}

function textOf(lines: readonly string[], from: number, to: number): string {
  return lines.slice(from, to).join('\n');
}

/** A table's first two lines, unless they are most of what may be parsed at once. */
function headOf(lines: readonly string[]): string {
  const head = `${lines[0]}\n${lines[1]}\n`;
  return head.length < MOST_OPEN / 4 ? head : '';
}

/** What a reply says, and what it thought before. */
export type Thinking = { reasoning: string; text: string };

const OPEN = '<think>';
const CLOSE = '</think>';

/**
 * Parts the think block from the answer while the reply streams. Both lose the white space at the tags, as templates write and strip
 * it there. What was pushed so far decides, never where one piece ended, so pieces of any size give the same sums.
 */
export class ReasoningSplitter {
  /** 'start': nothing but white space so far; 'after': likewise since the think block. */
  #state: 'start' | 'inside' | 'after' | 'outside';
  /** What may still turn out to be white space at a tag, or part of a tag. */
  #held = '';
  #thought = false;

  /** `opened`: the prompt ends inside a think block. */
  constructor(opened: boolean) {
    this.#state = opened ? 'inside' : 'start';
  }

  get inside(): boolean {
    return this.#state === 'inside';
  }

  push(piece: string): Thinking {
    this.#held += piece;
    if (this.#state === 'start') this.#begin();
    const reasoning = this.#state === 'inside' ? this.#think() : '';
    return { reasoning, text: this.#state === 'inside' || this.#state === 'start' ? '' : this.#answer() };
  }

  /** What was held back, at the end of the reply. */
  finish(): Thinking {
    const rest = this.#held;
    this.#held = '';
    if (this.#state === 'inside') return { reasoning: this.#trimmed(rest).trimEnd(), text: '' };
    return { reasoning: '', text: this.#state === 'after' ? '' : rest };
  }

  #begin(): void {
    const begun = this.#held.trimStart();
    if (begun.startsWith(OPEN)) {
      this.#held = begun.slice(OPEN.length);
      this.#state = 'inside';
    } else if (!OPEN.startsWith(begun)) this.#state = 'outside';
  }

  #think(): string {
    const end = this.#held.indexOf(CLOSE);
    const thought = end < 0 ? this.#held.slice(0, undecidedFrom(this.#held, CLOSE)) : this.#held.slice(0, end).trimEnd();
    this.#held = end < 0 ? this.#held.slice(thought.length) : this.#held.slice(end + CLOSE.length);
    if (end >= 0) this.#state = 'after';
    return this.#trimmed(thought);
  }

  #trimmed(thought: string): string {
    if (this.#thought) return thought;
    const begun = thought.trimStart();
    this.#thought = begun !== '';
    return begun;
  }

  #answer(): string {
    const text = this.#state === 'after' ? this.#held.trimStart() : this.#held;
    if (text !== '') this.#state = 'outside';
    this.#held = '';
    return text;
  }
}

/** Where the end of `text` begins that may yet belong to `marker`: the start of one, and white space before it. */
export function undecidedFrom(text: string, marker: string): number {
  let from = text.length;
  for (let length = Math.min(marker.length - 1, text.length); length > 0; length--) {
    if (!text.endsWith(marker.slice(0, length))) continue;
    from = text.length - length;
    break;
  }
  return text.slice(0, from).trimEnd().length;
}

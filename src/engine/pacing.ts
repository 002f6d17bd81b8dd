import { attentionFlopPerDispatch } from './passes';

/**
 * How much work one submit may hold. Windows resets a GPU after about 2 s on one packet, a page that shares the GPU stutters
 * long before that, and a cancel takes effect between packets: 100 ms on a GPU, a second on a CPU adapter.
 */
export class Pacer {
  readonly #limitMs: number;
  /** Smoothed milliseconds per section, by mode and token count rounded up to a power of two. */
  readonly #msPerSection = new Map<number, number>();
  /** Of attention in a long context: no less than the fastest pass shows, with all else that it did. */
  #attentionFlopPerMs = 0;

  constructor(isCpu: boolean) {
    this.#limitMs = isCpu ? 1000 : 100;
  }

  /** Sections that the next submit may hold; few until something was measured. */
  sectionsPerSubmit(tokens: number, sections: number): number {
    const ms = this.#msPerSection.get(bucket(tokens));
    if (ms === undefined) return Math.max(1, Math.min(sections, 4));
    return Math.max(1, Math.min(sections, Math.floor(this.#limitMs / ms)));
  }

  /** Submits that the dispatches of one section go in: a layer of many tokens may take a slow GPU longer than one should hold. */
  submitsPerSection(tokens: number): number {
    const ms = this.#msPerSection.get(bucket(tokens));
    if (ms === undefined) return tokens > manyTokens ? 4 : 1;
    return Math.ceil(ms / this.#limitMs);
  }

  /** Records that a step of `tokens` tokens took `ms` for `sections` sections, start to finish. */
  measured(tokens: number, sections: number, ms: number): void {
    const key = bucket(tokens);
    const last = this.#msPerSection.get(key);
    const now = ms / sections;
    this.#msPerSection.set(key, last === undefined ? now : 0.7 * last + 0.3 * now);
  }

  /** Flop of attention that a submit may hold. */
  attentionFlop(): number {
    return Math.max(attentionFlopPerDispatch, this.#limitMs * this.#attentionFlopPerMs);
  }

  /** Records that a pass took `ms`, of which attention of all layers was so much. */
  measuredAttention(flop: number, ms: number): void {
    this.#attentionFlopPerMs = Math.max(this.#attentionFlopPerMs, flop / ms);
  }
}

/** A layer of as many may take a second on a slow GPU: it goes in parts before anything was measured. */
const manyTokens = 64;

const bucket = (tokens: number): number => Math.ceil(Math.log2(tokens));

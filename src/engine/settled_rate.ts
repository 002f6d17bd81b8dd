/**
 * The rate at which a flow of bytes goes on, as opposed to the one at which it begins: caches, clocks and empty queues make the first
 * tenth of a second faster or slower than what follows. Time is cut into slices, of which the first never counts.
 */

export type RateLimits = {
  /** A slice lasts at least as long, and as many bytes: of buffers that they pass through, each is used again within it. */
  sliceMs: number;
  sliceBytes: number;
  /** It is done then, settled or not; of a flow too slow for three slices in that time, after as long again. */
  mostMs: number;
};

/** Slices whose rates differ by no more are of one rate. */
const settledWithin = 0.05;

/** A moment at which bytes came, and all that had come by then. */
type Mark = { ms: number; bytes: number };

export class SettledRate {
  readonly #limits: RateLimits;
  readonly #start: Mark;
  /** Of all that came, and of what came until it was done. */
  #last: Mark;
  #counted: Mark;
  /** Where slices end. Always where bytes come: of what comes in bursts they begin and end alike, with the first bytes of one. */
  readonly #ends: Mark[] = [];

  constructor(startMs: number, limits: RateLimits) {
    this.#limits = limits;
    this.#start = { ms: startMs, bytes: 0 };
    this.#last = this.#start;
    this.#counted = this.#start;
  }

  /** `bytes` have come at `ms`, which never goes back. What was under way when it was done is to be said too. */
  add(bytes: number, ms: number): void {
    const { done } = this;
    this.#last = { ms, bytes: this.#last.bytes + bytes };
    if (done) return;
    this.#counted = this.#last;
    const from = this.#ends.at(-1) ?? this.#start;
    const { sliceMs, sliceBytes } = this.#limits;
    if (ms - from.ms >= sliceMs && this.#last.bytes - from.bytes >= sliceBytes) this.#ends.push(this.#last);
  }

  /** Two slices that follow each other agree, or time is up. */
  get done(): boolean {
    const ms = this.#last.ms - this.#start.ms;
    const [a, b, c] = this.#ends.slice(-3);
    if (ms >= this.#limits.mostMs * (c ? 1 : 2)) return true;
    return !!(a && b && c) && Math.abs(rate(a, b) / rate(b, c) - 1) <= settledWithin;
  }

  /** Of the last two slices; where there were not so many, of what followed the first, or of all. 0 before anything has come. */
  get bytesPerMs(): number {
    const [first] = this.#ends;
    const [a, , c] = this.#ends.slice(-3);
    if (a && c) return rate(a, c);
    return (first && rate(first, this.#counted)) || rate(this.#start, this.#last);
  }
}

const rate = (from: Mark, to: Mark): number => (to.ms > from.ms ? (to.bytes - from.bytes) / (to.ms - from.ms) : 0);

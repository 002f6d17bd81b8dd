/** What to do about a lost device: losing it often is the sign of too little memory. */

/** 'again': as before. 'less': with half of the memory. 'stop': not by itself. */
export type Verdict = 'again' | 'less' | 'stop';

/** Losses within so long belong together, ms. */
const windowMs = 5 * 60_000;

export class LossPolicy {
  #losses: number[] = [];

  /** @param nowMs when the device was lost, on any steady clock. */
  lost(nowMs: number): Verdict {
    this.#losses = [...this.#losses.filter((at) => nowMs - at < windowMs), nowMs];
    if (this.#losses.length === 1) return 'again';
    return this.#losses.length === 2 ? 'less' : 'stop';
  }

  /** Somebody asked to try once more. */
  forgive(): void {
    this.#losses = [];
  }
}

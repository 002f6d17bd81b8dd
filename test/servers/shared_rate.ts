/** A limit in bytes per second that all connections share, first come, first served; it may change at any time. */
import { setTimeout as sleep } from 'node:timers/promises';

/** A piece takes this long at most, so that connections alternate and a change of the rate is felt soon, ms. */
const PIECE_MS = 20;
/** Time not used that may be made up for, ms: timers are late, and without this every lateness would be lost. */
const CREDIT_MS = 50;

export class SharedRate {
  private turn: Promise<void> = Promise.resolve();
  /** When all that was handed out will have passed, ms of performance.now(). */
  private paidUntil = 0;

  /** `rate`: bytes per second now; undefined for no limit. */
  constructor(private readonly rate: () => number | undefined) {}

  /** The most to take at once. */
  pieceBytes(): number {
    const rate = this.rate();
    return rate === undefined ? Number.POSITIVE_INFINITY : Math.max(1, Math.floor((rate * PIECE_MS) / 1000));
  }

  /** Resolves when `bytes` may pass. One that is `gone` by then passes for free. */
  async take(bytes: number, gone: () => boolean): Promise<void> {
    if (this.rate() === undefined) return;
    const mine = this.turn.then(() => this.wait(bytes, gone));
    this.turn = mine;
    await mine;
  }

  private async wait(bytes: number, gone: () => boolean): Promise<void> {
    for (;;) {
      const rate = this.rate();
      if (rate === undefined || gone()) return;
      const now = performance.now();
      this.paidUntil = Math.max(this.paidUntil, now - CREDIT_MS);
      if (rate > 0 && this.paidUntil <= now) {
        this.paidUntil += (bytes / rate) * 1000;
        return;
      }
      await sleep(rate > 0 ? Math.min(this.paidUntil - now, PIECE_MS) : PIECE_MS);
    }
  }
}

/**
 * Tells screen readers what happens: start, end and errors, and loading at most every 10 %. The streaming text itself is
 * no live region, since it would be read out in fragments.
 */
import type { LoadProgress } from '../src/api';

const PROGRESS_STEP = 0.1;

export class Announcer {
  #announced = 0;

  constructor(private readonly region: HTMLElement) {}

  say(text: string): void {
    // The same text twice is no change, and so would not be read.
    this.region.textContent = this.region.textContent === text ? `${text}\u00a0` : text;
  }

  startProgress(text: string): void {
    this.#announced = 0;
    this.say(text);
  }

  progress({ progress }: LoadProgress): void {
    if (progress < this.#announced + PROGRESS_STEP || progress >= 1) return;
    this.#announced = Math.floor(progress / PROGRESS_STEP + 1e-9) * PROGRESS_STEP;
    this.say(`Loading: ${Math.round(this.#announced * 100)} %`);
  }
}

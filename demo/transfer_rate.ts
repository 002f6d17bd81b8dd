/** Speed and remaining time of a download, over the last seconds: an average since the start would lie after every stall. Pure. */
import { formatDuration, formatSpeed } from './format';

const WINDOW_MS = 8000;
/** Before this nothing is said: the first pieces arrive in bursts. */
const LEAST_MS = 1500;

type Sample = { atMs: number; loaded: number };

export class TransferRate {
  #samples: Sample[] = [];

  /** Forgets what was: after a pause, the time that nothing was asked for must not count. */
  reset(): void {
    this.#samples = [];
  }

  /** `loaded`: bytes present, which may begin far above 0 where a download resumes. */
  add(atMs: number, loaded: number): void {
    const last = this.#samples.at(-1);
    if (last && loaded < last.loaded) this.reset(); // damaged chunks are fetched again
    this.#samples.push({ atMs, loaded });
    while (this.#samples.length > 2 && this.#samples[1]!.atMs <= atMs - WINDOW_MS) this.#samples.shift();
  }

  /** Undefined until there is enough to say. */
  get bytesPerSecond(): number | undefined {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (!first || !last || last.atMs - first.atMs < LEAST_MS) return undefined;
    return ((last.loaded - first.loaded) / (last.atMs - first.atMs)) * 1000;
  }

  /** '48 MB/s, about 5 min left'; empty until there is enough to say. */
  describe(total: number): string {
    const rate = this.bytesPerSecond;
    if (rate === undefined) return '';
    if (rate === 0) return 'nothing arrives at the moment';
    const left = total - this.#samples.at(-1)!.loaded;
    return `${formatSpeed(rate)}${left > 0 ? `, about ${formatDuration(Math.max(1000, (left / rate) * 1000))} left` : ''}`;
  }
}

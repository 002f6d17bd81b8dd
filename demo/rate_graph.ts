/**
 * Tokens per second over the last half minute of replies, as a graph, and the bytes of weights that go with them. Drawn a few times a second
 * while a reply runs; no live region, and nothing that moves the page.
 */
import type { PlanReport } from '../src/api';
import { required } from './dom';
import { formatSpeed } from './format';

const SAMPLE_MS = 500;
const SAMPLES = 60;
const DRAW_MS = 250;

/** Counts tokens into samples of half a second. Pure. */
export class RateSamples {
  #counts: number[] = [];
  #startMs: number | undefined;

  /** A reply begins: between replies no time passes. */
  begin(): void {
    this.#startMs = undefined;
  }

  add(nowMs: number): void {
    this.#startMs ??= nowMs - SAMPLE_MS * this.#counts.length;
    const sample = Math.floor((nowMs - this.#startMs) / SAMPLE_MS);
    while (this.#counts.length <= sample) this.#counts.push(0);
    this.#counts[sample]!++;
    const over = this.#counts.length - SAMPLES;
    if (over <= 0) return;
    this.#counts.splice(0, over);
    this.#startMs += over * SAMPLE_MS;
  }

  /** Tokens per second, oldest first. The newest sample is not over yet, and so is left out. */
  get rates(): number[] {
    return this.#counts.slice(0, -1).map((count) => (count * 1000) / SAMPLE_MS);
  }

  clear(): void {
    this.#counts = [];
    this.#startMs = undefined;
  }
}

/** Bytes that computing one token reads: every weight once, of a mixture the experts it chooses, and from disk or network what streams. */
export function bytesPerToken(plan: PlanReport): { weights: number; streamed: number } {
  const { units, experts, streamedBytesPerToken, expectedExpertBytesPerToken } = plan;
  const chosen = experts ? experts.perToken * experts.slotBytes : 0;
  return {
    weights: units.reduce((sum, { bytes }) => sum + bytes, chosen),
    streamed: streamedBytesPerToken + expectedExpertBytesPerToken,
  };
}

export class RateGraph {
  readonly #line = required('graph-line', SVGPathElement);
  readonly #area = required('graph-area', SVGPathElement);
  readonly #best = required('graph-best', HTMLElement);
  readonly #bandwidth = required('status-bandwidth', HTMLElement);
  readonly #samples = new RateSamples();
  #drawnMs = 0;
  #bytes: { weights: number; streamed: number } | undefined;

  showModel(plan: PlanReport | undefined): void {
    this.#bytes = plan && bytesPerToken(plan);
    if (plan) return;
    this.#samples.clear();
    this.#draw();
    this.showRate(0);
  }

  begin(): void {
    this.#samples.begin();
  }

  token(): void {
    const now = performance.now();
    this.#samples.add(now);
    if (now - this.#drawnMs < DRAW_MS) return;
    this.#drawnMs = now;
    this.#draw();
  }

  /** tokens/s of the reply so far, or of all of it. */
  showRate(tokensPerSecond: number): void {
    const bytes = this.#bytes;
    if (!bytes || !(tokensPerSecond > 0)) {
      this.#bandwidth.textContent = '–';
      return;
    }
    const read = formatSpeed(bytes.weights * tokensPerSecond);
    this.#bandwidth.textContent =
      bytes.streamed > 0 ? `${read}, ${formatSpeed(bytes.streamed * tokensPerSecond)} streamed` : read;
  }

  #draw(): void {
    const { rates } = this.#samples;
    const best = Math.max(0, ...rates);
    const points = rates.map(
      (rate, i) => `${100 - (rates.length - 1 - i) * (100 / (SAMPLES - 1))},${23 - (best > 0 ? (rate / best) * 20 : 0)}`,
    );
    this.#line.setAttribute('d', points.length > 1 ? `M${points.join('L')}` : '');
    const from = points[0]?.split(',')[0];
    this.#area.setAttribute('d', points.length > 1 ? `M${from},24L${points.join('L')}L100,24Z` : '');
    this.#best.textContent = best > 0 ? `best ${best.toFixed(best < 100 ? 1 : 0)} tok/s` : '';
  }
}

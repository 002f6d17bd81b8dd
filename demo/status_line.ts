/** Model, adapter, speed of the last reply, GPU bytes. No live region: it changes several times a second. */
import type { EngineInfo, Timings } from '../src/api';
import { required } from './dom';
import { formatAdapter, formatBytes, formatCount, formatRate } from './format';

const LIVE_INTERVAL_MS = 250;

export class StatusLine {
  readonly #model = required('status-model', HTMLElement);
  readonly #adapter = required('status-adapter', HTMLElement);
  readonly #prefill = required('status-prefill', HTMLElement);
  readonly #decode = required('status-decode', HTMLElement);
  readonly #memory = required('status-memory', HTMLElement);
  readonly #context = required('status-context', HTMLElement);
  #liveMs = 0;

  showModel(label: string, info: EngineInfo | undefined): void {
    this.#model.textContent = info?.revision ? `${label} (${info.revision.slice(0, 8)})` : label;
    this.#model.title = this.#model.textContent;
    this.#adapter.textContent = info ? formatAdapter(info.adapter) : 'not in use yet';
    this.#adapter.title = this.#adapter.textContent;
    this.#memory.textContent = info ? formatBytes(info.gpuBytes) : '–';
    this.#context.textContent = info ? `${formatCount(info.contextTokens)} tokens, ${info.kv}` : '–';
    if (!info) this.clearRates();
  }

  /** False, with nothing done, where it was drawn a moment ago. */
  showLive({ tokens, ms }: { tokens: number; ms: number }): boolean {
    const now = performance.now();
    if (now - this.#liveMs < LIVE_INTERVAL_MS) return false;
    this.#liveMs = now;
    this.#decode.textContent = formatRate(tokens, ms);
    return true;
  }

  showTimings({ prefillTokens, prefillMs, decodeTokens, decodeMs }: Timings): void {
    this.#prefill.textContent = formatRate(prefillTokens, prefillMs);
    this.#decode.textContent = formatRate(decodeTokens, decodeMs);
  }

  clearRates(): void {
    this.#prefill.textContent = '–';
    this.#decode.textContent = '–';
  }
}

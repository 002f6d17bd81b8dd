/** The turns as the model is given them. Pure. */
import type { ChatMessage } from '../src/api';

export type Turn = { role: 'user' | 'assistant'; text: string };

/** A reply that failed or was stopped before its first word says nothing, so it is left out. */
export function toMessages(turns: readonly Turn[]): ChatMessage[] {
  return turns.filter(({ text }) => text !== '').map(({ role, text }) => ({ role, content: text }));
}

/** Tokens per second while a reply runs. The first token is prefill's, and a chunk is taken for one token. */
export class LiveRate {
  #chunks = 0;
  #firstMs = 0;

  /** Undefined until there is something to measure. */
  add(nowMs: number): { tokens: number; ms: number } | undefined {
    if (this.#chunks === 0) this.#firstMs = nowMs;
    const tokens = this.#chunks++;
    return tokens >= 3 ? { tokens, ms: nowMs - this.#firstMs } : undefined;
  }
}

/** What was said, and with whom. */
import type { AnsweredBy, ChatMessage } from '../api';

export type Turn = {
  role: 'user' | 'assistant';
  text: string;
  /** Of a reply: the host that made it, where that was not this device. */
  host?: string;
};

/** `begun`: how many of the turns somebody has seen. */
type KeptConversation = { turns: Turn[]; place: string | undefined; begun: number };

/** A conversation stays with whoever began to answer it: an endpoint sees none of what was said before it was agreed to. */
export class Conversation {
  #turns: Turn[] = [];
  /** 'device', or an origin; undefined before the first answer. */
  #place: string | undefined;
  /** Turns that `#place` was shown; the user's last one may not be among them yet. */
  #begun = 0;

  get turns(): readonly Turn[] {
    return this.#turns;
  }

  get empty(): boolean {
    return this.#turns.length === 0;
  }

  /** The user has the last word, and waits. */
  get waiting(): boolean {
    return this.#turns.at(-1)?.role === 'user';
  }

  add(turn: Turn): Turn {
    this.#turns.push(turn);
    return turn;
  }

  /** Whoever answers is shown all of it now. */
  begin(): void {
    this.#begun = this.#turns.length;
  }

  /** Takes back the last thing the user said, with what answered it. */
  takeBack(): Turn | undefined {
    const index = this.#turns.findLastIndex(({ role }) => role === 'user');
    this.#begun = Math.min(this.#begun, Math.max(0, index));
    return index < 0 ? undefined : this.#turns.splice(index)[0];
  }

  /** Takes back the reply at the end: nothing came of it, or it is made again. */
  takeBackReply(): void {
    if (this.#turns.at(-1)?.role === 'assistant') this.#turns.pop();
  }

  clear(): void {
    this.#turns = [];
    this.#place = undefined;
    this.#begun = 0;
  }

  /** Whether going on with `by` would show it what was said to somebody else. This device may see everything. */
  strange(by: AnsweredBy): boolean {
    return by.place === 'endpoint' && this.#place !== undefined && this.#place !== by.origin;
  }

  /** From here on `by` answers. A message that nobody has begun to answer may stay; others were for somebody else. */
  answeredBy(by: AnsweredBy): void {
    const pending = this.waiting && this.#begun < this.#turns.length ? this.#turns.at(-1) : undefined;
    if (this.strange(by)) {
      this.#turns = pending ? [pending] : [];
      this.#begun = 0;
    }
    this.#place = by.place === 'device' ? 'device' : by.origin;
  }

  messages(system: string | undefined): ChatMessage[] {
    const turns = this.#turns.map(({ role, text }): ChatMessage => ({ role, content: text }));
    return system ? [{ role: 'system', content: system }, ...turns] : turns;
  }

  keep(): KeptConversation {
    return { turns: this.#turns.map((turn) => ({ ...turn })), place: this.#place, begun: this.#begun };
  }

  /** From a file, which another version or another hand may have written: what does not fit is left out. */
  restore(kept: unknown): void {
    const { turns, place, begun } = (typeof kept === 'object' && kept !== null ? kept : {}) as Partial<KeptConversation>;
    this.#turns = Array.isArray(turns) ? turns.flatMap(turnOf) : [];
    this.#place = typeof place === 'string' ? place : undefined;
    this.#begun = Number.isInteger(begun) ? begun! : this.#turns.length;
  }
}

function turnOf(value: unknown): Turn[] {
  const { role, text, host } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  if ((role !== 'user' && role !== 'assistant') || typeof text !== 'string') return [];
  return [{ role, text, ...(typeof host === 'string' ? { host } : {}) }];
}

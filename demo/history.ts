/** The conversation, kept in this browser so that a reload, a crash or a closed tab costs none of it, tokens of a reply under way included. */
import { del, get, set } from 'idb-keyval';
import type { Turn } from './conversation';

/** `cutOff`: the last turn is a reply that had not ended. */
export type KeptChat = { turns: Turn[]; cutOff: boolean };

const KEY = 'sluice.chat';

/** Stored data is untrusted: another version of the page, or a person, may have written it. */
export function keptChatFrom(value: unknown): KeptChat | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { turns, cutOff } = value as Partial<KeptChat>;
  if (!Array.isArray(turns) || turns.length === 0 || typeof cutOff !== 'boolean') return undefined;
  const isTurn = (turn: Partial<Turn> | null, i: number) =>
    typeof turn === 'object' &&
    turn !== null &&
    turn.role === (i % 2 === 0 ? 'user' : 'assistant') &&
    typeof turn.text === 'string';
  if (!turns.every(isTurn) || turns.length % 2 !== 0) return undefined;
  return { turns: turns.map(({ role, text }: Turn) => ({ role, text })), cutOff };
}

export class History {
  /** What is to be written once the write under way is over. Only the newest matters. */
  #next: (() => KeptChat) | undefined;
  #writing: Promise<void> | undefined;

  async load(): Promise<KeptChat | undefined> {
    return keptChatFrom(await quietly(() => get(KEY)));
  }

  /** Writes as often as the disk keeps up with, so that a reply of many tokens does not queue as many writes. */
  keep(chat: () => KeptChat): void {
    this.#next = chat;
    this.#writing ??= this.#write();
  }

  async #write(): Promise<void> {
    while (this.#next) {
      const { turns, cutOff } = this.#next();
      this.#next = undefined;
      await quietly(() => (turns.length === 0 ? del(KEY) : set(KEY, { turns, cutOff })));
    }
    this.#writing = undefined;
  }
}

/** Storage may be switched off, full, or taken away: the page then works without a memory. */
async function quietly<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof DOMException || error instanceof ReferenceError) return undefined;
    throw error;
  }
}

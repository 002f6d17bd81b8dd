/** A conversation as a tree of turns: editing a message or making a reply anew adds a branch beside what was there. Pure. */
import type { ChatMessage } from '../src/api';
import { type Attachment, messageText } from './attachments';

export type ReplyEnd = 'stop' | 'length' | 'stopped' | 'failed' | 'cut-off';

/** `arguments`: JSON text, as the model wrote it. */
export type Call = { name: string; arguments: string };

export type Turn = {
  /** Index of the turn that this one answers or follows; -1 for the first. */
  parent: number;
  role: 'user' | 'assistant';
  text: string;
  attachments?: Attachment[];
  /** What the model thought before it answered. */
  thoughts?: string;
  calls?: Call[];
  /** How a reply ended; 'cut-off' until it has. */
  end?: ReplyEnd;
};

export type Conversation = {
  id: string;
  title: string;
  /** Milliseconds since 1970. */
  createdAt: number;
  updatedAt: number;
  turns: Turn[];
  /** The turn that the branch on the page ends with; -1 in an empty conversation. */
  leaf: number;
};

export function newConversation(now: number): Conversation {
  return { id: crypto.randomUUID(), title: '', createdAt: now, updatedAt: now, turns: [], leaf: -1 };
}

/** Indices of the turns from the first one down to `leaf`. */
export function pathOf({ turns, leaf }: Pick<Conversation, 'turns' | 'leaf'>): number[] {
  const path: number[] = [];
  for (let i = leaf; i >= 0; i = turns[i]!.parent) path.push(i);
  return path.reverse();
}

/** The turns that stand for each other at this place, `index` among them, oldest first. */
export function branchesAt({ turns }: Pick<Conversation, 'turns'>, index: number): number[] {
  const { parent } = turns[index]!;
  return turns.flatMap((turn, i) => (turn.parent === parent ? [i] : []));
}

/** The end of the newest branch that goes through `index`. */
export function newestLeaf({ turns }: Pick<Conversation, 'turns'>, index: number): number {
  const child = turns.findLastIndex(({ parent }) => parent === index);
  return child < 0 ? index : newestLeaf({ turns }, child);
}

/** The turns as the model is given them. A reply that failed or was stopped before its first word says nothing, so it is left out. */
export function toMessages(turns: readonly Turn[], system = ''): ChatMessage[] {
  const messages = turns
    .map(({ role, text, attachments }): ChatMessage => ({ role, content: messageText(text, attachments) }))
    .filter(({ content }) => content !== '');
  return system.trim() === '' ? messages : [{ role: 'system', content: system.trim() }, ...messages];
}

const MOST_TITLE = 60;

/** What a conversation is called until somebody names it: how its first message begins. */
export function titleOf({ text, attachments }: Pick<Turn, 'text' | 'attachments'>): string {
  const line = text.trim().split('\n', 1)[0]!.replace(/\s+/g, ' ') || attachments?.[0]?.name || 'Conversation';
  return line.length <= MOST_TITLE ? line : `${line.slice(0, MOST_TITLE - 1).trimEnd()}…`;
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

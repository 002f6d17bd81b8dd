/**
 * Conversations in this browser. Each has three records: the conversation, what the list and its search need of it, and a journal of the
 * reply under way, so that a reload, a crash or a closed tab costs no token and a token costs one small record. They are written and deleted
 * together.
 */
import { delMany, getMany, keys, set, setMany } from 'idb-keyval';
import type { Conversation, Turn } from './conversation';
import { CheckError, conversationFrom, turnFrom } from './conversation_check';
import { keptStore, quietly } from './kept_store';

/** `words`: what a search looks at, in lower case. */
export type Summary = { id: string; title: string; updatedAt: number; words: string };

/** Characters of a conversation that a search looks at. */
const MOST_WORDS = 50_000;

const chatKey = (id: string) => `chat:${id}`;
const summaryKey = (id: string) => `summary:${id}`;
const journalKey = (id: string) => `journal:${id}`;

export class ConversationStore {
  /** What is to be written once the write under way is over. Only the newest of each matters. */
  readonly #chats = new Map<string, Conversation>();
  readonly #journals = new Map<string, () => { index: number; turn: Turn }>();
  readonly #deleted = new Set<string>();
  #writing: Promise<void> | undefined;
  #closed = false;

  /** Newest first. */
  async list(): Promise<Summary[]> {
    await this.settled();
    if (this.#closed) return [];
    const found = await quietly(async () => {
      const names = (await keys<string>(keptStore)).filter((key) => String(key).startsWith('summary:'));
      return getMany<Summary>(names, keptStore);
    });
    return (found ?? []).filter(isSummary).sort((a, b) => b.updatedAt - a.updatedAt);
  }

  /** With what the journal has of a reply that was cut off. Undefined where there is none, or none that can be read. */
  async load(id: string): Promise<Conversation | undefined> {
    await this.settled();
    if (this.#closed) return undefined;
    const kept = await quietly(() => getMany<unknown>([chatKey(id), journalKey(id)], keptStore));
    return conversationOf(kept?.[0], kept?.[1]);
  }

  async all(): Promise<Conversation[]> {
    const found = await Promise.all((await this.list()).map(({ id }) => this.load(id)));
    return found.filter((conversation) => conversation !== undefined);
  }

  keep(conversation: Conversation): void {
    if (this.#closed || this.#deleted.has(conversation.id)) return;
    this.#chats.set(conversation.id, structuredClone(conversation));
    this.#writing ??= this.#write();
  }

  /** The reply under way, at `index` of its conversation. Written as often as the disk keeps up with. */
  keepReply(id: string, reply: () => { index: number; turn: Turn }): void {
    if (this.#closed || this.#deleted.has(id)) return;
    this.#journals.set(id, reply);
    this.#writing ??= this.#write();
  }

  /** All three records, and what is still to be written of them. */
  async delete(id: string): Promise<void> {
    this.#deleted.add(id);
    this.#chats.delete(id);
    this.#journals.delete(id);
    await this.settled();
    await quietly(() => delMany([chatKey(id), summaryKey(id), journalKey(id)], keptStore));
  }

  /** Nothing is read or written any more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#chats.clear();
    this.#journals.clear();
    await this.settled();
  }

  async settled(): Promise<void> {
    while (this.#writing) await this.#writing;
  }

  async #write(): Promise<void> {
    while (this.#chats.size + this.#journals.size > 0) {
      const chats = take(this.#chats);
      for (const chat of chats) await quietly(() => setMany(recordsOf(chat), keptStore));
      for (const [id, reply] of takeEntries(this.#journals)) await quietly(() => set(journalKey(id), reply(), keptStore));
    }
    this.#writing = undefined;
  }
}

function take<T>(map: Map<string, T>): T[] {
  return takeEntries(map).map(([, value]) => value);
}

function takeEntries<T>(map: Map<string, T>): [string, T][] {
  const entries = [...map];
  map.clear();
  return entries;
}

function recordsOf(chat: Conversation): [string, unknown][] {
  return [
    [chatKey(chat.id), chat],
    [summaryKey(chat.id), summaryOf(chat)],
  ];
}

export function summaryOf({ id, title, updatedAt, turns }: Conversation): Summary {
  const words = turns.map(({ text }) => text).join('\n');
  return { id, title, updatedAt, words: words.slice(0, MOST_WORDS).toLowerCase() };
}

/** Those in which every word of the question is found. */
export function search(summaries: readonly Summary[], question: string): Summary[] {
  const wanted = question.toLowerCase().split(/\s+/).filter(Boolean);
  return summaries.filter(({ title, words }) =>
    wanted.every((word) => title.toLowerCase().includes(word) || words.includes(word)),
  );
}

/** Stored data is untrusted: another version of the page, or a person, may have written it. */
export function conversationOf(kept: unknown, journal: unknown): Conversation | undefined {
  try {
    const conversation = conversationFrom(kept);
    const { index, turn } = (journal ?? {}) as { index?: number; turn?: unknown };
    const before = index === undefined ? undefined : conversation.turns[index];
    if (before?.end === 'cut-off') {
      const reply = turnFrom(turn, index!, 'journal');
      if (reply.parent === before.parent) conversation.turns[index!] = reply;
    }
    return conversation;
  } catch (error) {
    if (error instanceof CheckError) return undefined;
    throw error;
  }
}

function isSummary(value: Summary | undefined): value is Summary {
  const { id, title, updatedAt, words } = (value ?? {}) as Partial<Summary>;
  return typeof id === 'string' && typeof title === 'string' && typeof updatedAt === 'number' && typeof words === 'string';
}

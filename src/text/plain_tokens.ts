/**
 * Keeps text from outside from becoming control tokens. A template mixes its own '<|im_end|>' with the caller's words into one string, so
 * the caller's are marked before: a noncharacter, which no text holds, breaks each name of a token, and is taken out again where text
 * becomes ids. The alternative, encoding messages apart from the template, would part words that tokenizers join.
 */
import { EngineError } from '../errors';

/** Unicode's noncharacters for use inside a program. */
const MARKS = Array.from({ length: 32 }, (_, i) => String.fromCharCode(0xfdd0 + i));
/** What templates look for in a reply of the model, to take the thinking out of it. */
const THINKING = ['<think>', '</think>'];

export class TokenMarker {
  readonly mark: string;
  readonly #names: RegExp | undefined;
  readonly #namesButThinking: RegExp | undefined;

  /** `names`: texts of the added tokens. The mark is one that is not in `used`. @throws EngineError 'invalid-request' if there is none */
  constructor(names: Iterable<string>, used: string) {
    const breakable = [...names].filter((name) => [...name].length > 1);
    this.#names = anyOf(breakable);
    this.#namesButThinking = anyOf(breakable.filter((name) => !THINKING.includes(name)));
    const mark = MARKS.find((candidate) => !used.includes(candidate));
    if (mark === undefined) {
      throw new EngineError('invalid-request', 'The messages hold every noncharacter from U+FDD0 to U+FDEF. Remove them.');
    }
    this.mark = mark;
  }

  /** Plain messages (see `plainMessages`) with every name of a token in them broken, but the tags of thinking in a reply's own text. */
  markMessages(messages: readonly Record<string, unknown>[]): Record<string, unknown>[] {
    return messages.map((message) => {
      const { content } = message;
      const holdsThinking = message.role === 'assistant' && typeof message.reasoning_content !== 'string';
      const marked = this.markAll(message) as Record<string, unknown>;
      return holdsThinking && typeof content === 'string'
        ? { ...marked, content: this.#break(content, this.#namesButThinking) }
        : marked;
    });
  }

  /** The same value with every name of a token in its strings and keys broken. */
  markAll(value: unknown): unknown {
    if (typeof value === 'string') return this.#break(value, this.#names);
    if (Array.isArray(value)) return value.map((item) => this.markAll(item));
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [this.#break(key, this.#names), this.markAll(item)]));
  }

  #break(text: string, names: RegExp | undefined): string {
    if (!names) return text;
    let marked = text;
    // Again until nothing is found: breaking one name leaves what overlaps it.
    for (let before = ''; before !== marked; ) {
      before = marked;
      marked = before.replace(names, (name) => {
        const first = String.fromCodePoint(name.codePointAt(0)!).length;
        return name.slice(0, first) + this.mark + name.slice(first);
      });
    }
    return marked;
  }
}

/** Any of the texts, the longest where several begin at one place; undefined for none. */
export function anyOf(texts: readonly string[]): RegExp | undefined {
  if (texts.length === 0) return undefined;
  const escaped = [...texts].sort((a, b) => b.length - a.length).map((text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'));
  return new RegExp(escaped.join('|'), 'g');
}

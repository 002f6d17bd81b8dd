/** The tokens that a constrained reply may use. */
import { byteChars } from './byte_chars';

export type Vocabulary = {
  /** One more than the largest id. */
  size: number;
  /**
   * Its bytes as characters (`byte_chars.ts`): byte-level tokenizers hold them so, and at 150,000 tokens a copy of each counts.
   * Undefined for ids that are no text (padding rows, special tokens) or that a constrained reply must not use.
   */
  charsOf(id: number): string | undefined;
};

/** Tokens that are spaces and nothing else, and how many. */
export type Blanks = readonly { id: number; spaces: number }[];

const space = byteChars(Uint8Array.of(0x20));

export function blanksOf(vocabulary: Vocabulary): Blanks {
  const found: { id: number; spaces: number }[] = [];
  for (let id = 0; id < vocabulary.size; id++) {
    const chars = vocabulary.charsOf(id);
    if (chars?.startsWith(space + space) && chars === space.repeat(chars.length)) found.push({ id, spaces: chars.length });
  }
  return found;
}

/** Longer tokens are runs of blanks and rules of dashes, which no closing holds. */
const longest = 32;

/** Tokens by their bytes, to spell a text in as few as can be. */
export class TokenSpeller {
  readonly #ids = new Map<string, number>();

  constructor(vocabulary: Vocabulary) {
    for (let id = 0; id < vocabulary.size; id++) {
      const chars = vocabulary.charsOf(id);
      if (chars && chars.length <= longest && !this.#ids.has(chars)) this.#ids.set(chars, id);
    }
  }

  /** No text of so many bytes takes fewer tokens. */
  static leastTokens(bytes: number): number {
    return Math.ceil(bytes / longest);
  }

  /** The fewest tokens that spell `bytes`; undefined where the vocabulary cannot. */
  spell(bytes: Uint8Array): number[] | undefined {
    const text = byteChars(bytes);
    const fewest = new Array<number>(text.length + 1).fill(Number.POSITIVE_INFINITY);
    const chosen = new Array<{ id: number; to: number }>(text.length);
    fewest[text.length] = 0;
    for (let from = text.length - 1; from >= 0; from--) {
      for (let to = from + 1; to <= Math.min(text.length, from + longest); to++) {
        if (fewest[to]! + 1 >= fewest[from]!) continue;
        const id = this.#ids.get(text.slice(from, to));
        if (id === undefined) continue;
        fewest[from] = fewest[to]! + 1;
        chosen[from] = { id, to };
      }
    }
    if (fewest[0] === Number.POSITIVE_INFINITY) return undefined;
    const ids: number[] = [];
    for (let at = 0; at < text.length; at = chosen[at]!.to) ids.push(chosen[at]!.id);
    return ids;
  }
}

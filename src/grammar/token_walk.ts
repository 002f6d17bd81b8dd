/** Every token of a vocabulary against one position, exactly: tokens sorted, so that common beginnings are read once. */
import type { Position } from './automaton';
import { byteOfCode } from './byte_chars';
import type { Vocabulary } from './vocabulary';

export class TokenWalk {
  readonly #ids: Uint32Array;
  readonly #tokens: readonly string[];
  /** How many bytes token i has in common with the one before it. */
  readonly #common: Uint16Array;

  /** About 200 ms for 150,000 tokens. */
  constructor(vocabulary: Vocabulary) {
    const tokens: { id: number; chars: string }[] = [];
    for (let id = 0; id < vocabulary.size; id++) {
      const chars = vocabulary.charsOf(id);
      if (chars) tokens.push({ id, chars });
    }
    tokens.sort((a, b) => (a.chars < b.chars ? -1 : 1));
    this.#ids = Uint32Array.from(tokens, ({ id }) => id);
    this.#tokens = tokens.map(({ chars }) => chars);
    this.#common = Uint16Array.from(this.#tokens, (chars, i) => (i === 0 ? 0 : commonLength(this.#tokens[i - 1]!, chars)));
  }

  /** Clears from `mask` every token that cannot be read at `position`; bits of ids that are no token stay. */
  keepReadable(mask: Uint32Array, position: Position): void {
    const path: Position[] = [position];
    /** Bytes of the last token that could be read. */
    let read = 0;
    for (let i = 0; i < this.#ids.length; i++) {
      const common = this.#common[i]!;
      const chars = this.#tokens[i]!;
      // A beginning that failed before fails here too.
      const fails = common > read;
      if (!fails) {
        read = common;
        for (; read < chars.length; read++) {
          const next = path[read]!.readByte(byteOfCode[chars.charCodeAt(read)]!);
          if (!next) break;
          path[read + 1] = next;
        }
      }
      if (fails || read < chars.length) clear(mask, this.#ids[i]!);
    }
  }
}

function clear(mask: Uint32Array, id: number): void {
  mask[id >> 5]! &= ~(1 << (id & 31));
}

function commonLength(a: string, b: string): number {
  let length = 0;
  while (length < a.length && length < b.length && a.charCodeAt(length) === b.charCodeAt(length)) length++;
  return length;
}

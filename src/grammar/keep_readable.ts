/** Tokens of a mask against one position, exactly. */
import type { Position } from './automaton';
import { byteOfCode } from './byte_chars';
import type { Vocabulary } from './vocabulary';

/**
 * Clears from `mask` every token that cannot be read at `position`; bits of ids that are no token stay. Positions remember where their
 * bytes lead, so tokens need not be sorted by common beginnings: sorting 150,000 of them takes as long as ten such walks.
 */
export function keepReadable(mask: Uint32Array, position: Position, vocabulary: Vocabulary): void {
  for (let word = 0; word < mask.length; word++) {
    for (let bits = mask[word]! | 0; bits !== 0; bits &= bits - 1) {
      const bit = 31 - Math.clz32(bits & -bits);
      const chars = vocabulary.charsOf(word * 32 + bit);
      if (chars && !isReadable(chars, position)) mask[word]! &= ~(1 << bit);
    }
  }
}

function isReadable(chars: string, from: Position): boolean {
  let position: Position | undefined = from;
  for (let i = 0; i < chars.length && position; i++) position = position.readByte(byteOfCode[chars.charCodeAt(i)]!);
  return position !== undefined;
}

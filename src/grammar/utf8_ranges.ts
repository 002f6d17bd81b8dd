/** Code points as bytes: what a byte-level vocabulary, xgrammar's classes and the automaton work on. */
import type { CodeRange } from './expression';

/** Bytes from `low` to `high`, both included. */
export type ByteRange = readonly [low: number, high: number];

/** Largest code point of one, two, three and four bytes. */
const limits = [0x7f, 0x7ff, 0xffff, 0x10ffff];

/**
 * The ranges as sequences of byte ranges: a text matches exactly one of them. Code points must be free of surrogates, so no sequence
 * admits what UTF-8 forbids (overlong forms, halves of pairs, values past U+10FFFF).
 */
export function utf8Ranges(ranges: readonly CodeRange[]): ByteRange[][] {
  return ranges.flatMap(([low, high]) =>
    limits.flatMap((limit, i) => {
      const from = Math.max(low, i === 0 ? 0 : limits[i - 1]! + 1);
      const to = Math.min(high, limit);
      return from <= to ? sameLength(from, to, i + 1) : [];
    }),
  );
}

/** Splits until every byte but the leading ones spans its whole range, so that the product of byte ranges is the range itself. */
function sameLength(low: number, high: number, bytes: number): ByteRange[][] {
  for (let tail = 1; tail < bytes; tail++) {
    const mask = (1 << (6 * tail)) - 1;
    if (low >> (6 * tail) === high >> (6 * tail)) continue;
    if ((low & mask) !== 0) return [...sameLength(low, low | mask, bytes), ...sameLength((low | mask) + 1, high, bytes)];
    if ((high & mask) !== mask) return [...sameLength(low, (high & ~mask) - 1, bytes), ...sameLength(high & ~mask, high, bytes)];
  }
  const [first, last] = [encode(low, bytes), encode(high, bytes)];
  return [first.map((byte, i): ByteRange => [byte, last[i]!])];
}

function encode(codePoint: number, bytes: number): number[] {
  if (bytes === 1) return [codePoint];
  const lead = [0, 0, 0xc0, 0xe0, 0xf0][bytes]!;
  const tails = Array.from({ length: bytes - 1 }, (_, i) => 0x80 | ((codePoint >> (6 * (bytes - 2 - i))) & 0x3f));
  return [lead | (codePoint >> (6 * (bytes - 1))), ...tails];
}

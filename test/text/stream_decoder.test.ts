import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { StopFilter } from '../../src/text/stop_filter';
import { StreamDecoder } from '../../src/text/stream_decoder';
import { byteLevelTokenBytes } from '../../src/text/token_bytes';

const utf8 = new TextEncoder();
/** Pieces of characters, whole characters, a BOM, nothing, and letters that make stop strings likely. */
const vocabulary: Uint8Array[] = [
  ...['', 'a', 'b', 'ab', 'aa', 'ba', ' ', '\n', 'é', '€', '😀', 'a😀b', '\uFEFF', '\uFFFD'].map((text) => utf8.encode(text)),
  ...[
    [0xf0],
    [0x9f],
    [0x98, 0x80],
    [0xf0, 0x9f, 0x98],
    [0x80],
    [0xe2, 0x82],
    [0xac],
    [0xc3],
    [0xa9],
    [0xff],
    [0xc0],
    [0xed, 0xa0],
    [0xef, 0xbb],
    [0xbf],
  ].map((bytes) => Uint8Array.from(bytes)),
];
const SPECIAL = 5;
const tokenBytes = (id: number) => vocabulary[id];
const isSpecial = (id: number) => id === SPECIAL;

function decodeAll(ids: number[]): string {
  const bytes = ids.filter((id) => !isSpecial(id)).flatMap((id) => [...(tokenBytes(id) ?? [])]);
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes));
}

/** The obvious way: the first end at which a stop string is complete; the longest of those decides the cut. */
function cutAtStop(text: string, stops: string[]): { text: string; stopped: boolean } {
  for (let end = 1; end <= text.length; end++) {
    const hits = stops.filter((stop) => stop !== '' && text.slice(0, end).endsWith(stop));
    if (hits.length > 0) return { text: text.slice(0, end - Math.max(...hits.map((stop) => stop.length))), stopped: true };
  }
  return { text, stopped: false };
}

const ids = fc.array(fc.integer({ min: 0, max: vocabulary.length + 1 }), { maxLength: 60 }); // two ids stand for nothing
const stop = fc.oneof(
  fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 6 }), // overlaps itself and others
  fc.constantFrom('', 'aab', 'abab', '😀', '\n\n', 'é€', '\uFFFD', ' ', 'a😀'),
);
const stops = fc.array(stop, { maxLength: 4 });

test('what is emitted is the decoded text up to the first stop string, whatever the pieces', () => {
  fc.assert(
    fc.property(ids, stops, (ids, stops) => {
      const decoder = new StreamDecoder({ tokenBytes, isSpecial, stop: stops });
      const expected = cutAtStop(decodeAll(ids), stops);
      let emitted = '';
      for (const id of ids) {
        const piece = decoder.push(id);
        expect(piece).not.toMatch(/[\uD800-\uDFFF]/u); // never half a surrogate pair
        emitted += piece;
        expect(expected.text.startsWith(emitted)).toBe(true); // nothing is taken back, no part of a stop string gets out
      }
      emitted += decoder.finish();
      expect(emitted).toBe(expected.text);
      expect(decoder.stopped).toBe(expected.stopped);
      expect(decoder.push(1) + decoder.finish()).toBe(decoder.stopped ? '' : 'a');
    }),
    { numRuns: 3000 },
  );
});

test('nothing is held back without need', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 40 }), stops, (text, stops) => {
      const filter = new StopFilter(stops);
      let emitted = '';
      for (let i = 0; i < text.length && !filter.stopped; i++) {
        emitted += filter.push(text[i]!);
        if (filter.stopped) return;
        const seen = text.slice(0, i + 1);
        const beginsStop = (tail: string) => stops.some((stop) => stop.startsWith(tail));
        let held = 0;
        for (let length = 1; length <= seen.length; length++) if (beginsStop(seen.slice(-length))) held = length;
        expect(emitted).toBe(seen.slice(0, seen.length - held));
      }
    }),
    { numRuns: 2000 },
  );
});

describe('by hand', () => {
  const letters = (text: string, stop: string[]) => {
    const filter = new StopFilter(stop);
    const pieces = [...text].map((letter) => filter.push(letter));
    return { pieces: [...pieces, filter.finish()], stopped: filter.stopped };
  };
  test.each([
    { text: 'aaab', stop: ['aab'], pieces: ['', '', 'a', '', ''], stopped: true, why: 'a stop string that overlaps itself' },
    {
      text: 'ababc',
      stop: ['abc'],
      pieces: ['', '', 'ab', '', '', ''],
      stopped: true,
      why: 'a false start that is another start',
    },
    {
      text: 'abcx',
      stop: ['abcd', 'bc'],
      pieces: ['', '', 'a', '', ''],
      stopped: true,
      why: 'a shorter one complete within a longer one',
    },
    { text: 'abc', stop: ['bc', 'abc'], pieces: ['', '', '', ''], stopped: true, why: 'two complete at once: the longer' },
    { text: 'ab', stop: ['abc'], pieces: ['', '', 'ab'], stopped: false, why: 'the end frees what was held' },
    { text: 'ab', stop: ['', '\uD83D'], pieces: ['a', 'b', ''], stopped: false, why: 'stop strings that can never be text' },
  ])('$why', ({ text, stop, pieces, stopped }) => expect(letters(text, stop)).toEqual({ pieces, stopped }));

  test('an emoji in four tokens comes out whole, an unfinished one as U+FFFD', () => {
    const bytes = [0xf0, 0x9f, 0x98, 0x80];
    const options = { tokenBytes: (id: number) => Uint8Array.of(bytes[id]!), isSpecial: () => false, stop: [] };
    const whole = new StreamDecoder(options);
    expect([0, 1, 2, 3].map((id) => whole.push(id))).toEqual(['', '', '', '😀']);
    expect(whole.finish()).toBe('');
    const half = new StreamDecoder(options);
    expect([half.push(0), half.push(1), half.finish()]).toEqual(['', '', '\uFFFD']);
  });
});

test('the byte map: every byte has a character, other characters are text', () => {
  const chars = Array.from({ length: 0x144 }, (_, code) => String.fromCharCode(code)).filter(
    (c) => byteLevelTokenBytes(c).length === 1,
  );
  const bytes = new Set(chars.filter((c) => c !== ' ').map((c) => byteLevelTokenBytes(c)[0]));
  expect(bytes.size).toBe(256);
  expect([...byteLevelTokenBytes('ĠhÃ©')]).toEqual([0x20, 0x68, 0xc3, 0xa9]);
  expect([...byteLevelTokenBytes('▁a')]).toEqual([...utf8.encode('▁a')]);
});

test('the cost of a push does not grow with what came before', () => {
  const decoder = new StreamDecoder({
    tokenBytes: () => utf8.encode('aa'),
    isSpecial: () => false,
    stop: [`${'a'.repeat(100_000)}b`],
  });
  const start = performance.now();
  let length = 0;
  for (let i = 0; i < 200_000; i++) length += decoder.push(0).length;
  expect(length).toBe(300_000);
  expect(performance.now() - start).toBeLessThan(2000);
});

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ChunkBoard, WorkQueue } from '../../src/storage/store/board';
import { planFetch } from '../../src/storage/store/chunk_io';
import { createXxh64 } from '../../src/storage/store/hash';
import { chunkId, formatLine, type JournalLine, replay, StoredState } from '../../src/storage/store/journal';
import { originSpans, spanAt } from '../../src/storage/store/origin_map';
import type { SourceRange, StoreChunk } from '../../src/storage/store/types';
import { byteSourceContract } from './contract';
import { openTab } from './store/kit';
import { loggedSources } from './store/sources';

const range = fc.record({
  file: fc.constantFrom('a', 'b'),
  byteOffset: fc.nat(300_000),
  byteLength: fc.nat(60_000),
}) satisfies fc.Arbitrary<SourceRange>;

function chunk(sources: SourceRange[], targets: SourceRange[] = []): StoreChunk {
  return { sources, targets, assemble: () => [], disassemble: () => [] };
}

describe('the requests of a chunk', () => {
  test('cover every source, in the buffer where it is looked for, and are never closer than the gap', () => {
    fc.assert(
      fc.property(fc.array(range, { maxLength: 12 }), (sources) => {
        const { runs, offsets, byteLength } = planFetch(sources);
        const ends = runs.map(({ at, byteLength }) => at + byteLength);
        expect(ends.at(-1) ?? 0).toBe(byteLength);
        for (const [i, source] of sources.entries()) {
          if (source.byteLength === 0) continue;
          const run = runs.find(({ at, byteLength }) => offsets[i]! >= at && offsets[i]! < at + byteLength)!;
          expect(run.file).toBe(source.file);
          expect(run.byteOffset + offsets[i]! - run.at).toBe(source.byteOffset);
          expect(offsets[i]! + source.byteLength).toBeLessThanOrEqual(run.at + run.byteLength);
        }
        for (const [i, run] of runs.slice(1).entries()) {
          const before = runs[i]!;
          if (run.file === before.file) expect(run.byteOffset - before.byteOffset - before.byteLength).toBeGreaterThan(32 << 10);
        }
      }),
    );
  });
});

describe('the journal', () => {
  const line = fc.oneof(
    fc.record({
      present: fc.constantFrom('x', 'y', 'z'),
      hash: fc.string({ maxLength: 16 }),
      targets: fc.array(fc.tuple(fc.constantFrom('f', 'g'), fc.nat(), fc.nat()), { maxLength: 3 }),
    }),
    fc.record({ dropped: fc.constantFrom('x', 'y', 'z') }),
    fc.record({ sha256: fc.constantFrom('a', 'b'), position: fc.nat(), state: fc.constantFrom('00ff', 'abcd') }),
    fc.record({ matched: fc.constantFrom('a', 'b') }),
  ) as fc.Arbitrary<JournalLine>;

  test('cut at any byte holds exactly the lines before the cut', async () => {
    const hash = await createXxh64();
    fc.assert(
      fc.property(fc.array(line, { minLength: 1, maxLength: 8 }), fc.nat(), (lines, at) => {
        const parts = lines.map((entry) => formatLine(entry, hash));
        const bytes = Buffer.concat(parts);
        const cut = at % (bytes.byteLength + 1);
        const state = new StoredState();
        const end = replay(bytes.subarray(0, cut), hash, state);
        const expected = new StoredState();
        let length = 0;
        for (const [i, part] of parts.entries()) {
          if (length + part.byteLength > cut) break;
          length += part.byteLength;
          expected.apply(lines[i]!);
        }
        expect(end).toBe(length);
        expect(state).toEqual(expected);
      }),
    );
  });

  test('with any bit flipped loses the line it is in and invents none', async () => {
    const hash = await createXxh64();
    const lines: JournalLine[] = ['p', 'q', 'r'].map((present) => ({ present, hash: present, targets: [[present, 0, 9]] }));
    const bytes = Buffer.concat(lines.map((entry) => formatLine(entry, hash)));
    for (let bit = 0; bit < bytes.byteLength * 8; bit++) {
      const damaged = Buffer.from(bytes);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      const state = new StoredState();
      replay(damaged, hash, state);
      expect(state.present.size).toBeLessThan(3);
      for (const [id, { hash }] of state.present) expect(hash).toBe(id);
    }
  });

  test('names chunks by what they hold and where', async () => {
    const hash = await createXxh64();
    const source = { file: 'a', byteOffset: 1, byteLength: 2 };
    const id = chunkId(chunk([source], [source]), hash);
    expect(id).toMatch(/^[0-9a-f]{16}$/);
    expect(chunkId(chunk([{ ...source }], [{ ...source }]), hash)).toBe(id);
    expect(chunkId(chunk([source], [{ ...source, byteOffset: 2 }]), hash)).not.toBe(id);
    expect(chunkId(chunk([source, source], []), hash)).not.toBe(id);
  });
});

describe('the spans of an original', () => {
  test('follow one another from its first byte to its last, whatever the chunks hold', () => {
    fc.assert(
      fc.property(fc.array(range, { maxLength: 10 }), fc.nat(1000), (sources, headerBytes) => {
        const chunks = sources.map((source) => chunk([source]));
        const byteLength = 400_000;
        const spans = originSpans({ file: 'a', byteLength, headerBytes }, chunks);
        let end = 0;
        for (const [i, span] of spans.entries()) {
          expect(span.start).toBe(end);
          expect(span.end).toBeGreaterThan(span.start);
          expect(spanAt(spans, span.start)).toBe(i);
          expect(spanAt(spans, span.end - 1)).toBe(i);
          end = span.end;
          const holders = sources.filter(
            ({ file, byteOffset: start, byteLength }) =>
              file === 'a' && byteLength > 0 && start < span.end && start + byteLength > span.start,
          );
          if (span.kind === 'gap') expect(holders).toEqual([]);
          if (span.kind !== 'chunk') continue;
          const source = chunks[span.chunk]!.sources[span.source]!;
          expect(source.byteOffset + span.from).toBe(span.start);
          expect(source.byteOffset + source.byteLength).toBe(span.end);
        }
        expect(end).toBe(byteLength);
      }),
    );
  });
});

describe('the board', () => {
  const four = Array.from({ length: 4 }, (_, i) => chunk([], [{ file: 'f', byteOffset: 10 * i, byteLength: 10 }]));
  const board = () => new ChunkBoard(four, ['0', '1', '2', '3']);

  test('finds the chunks of a range, half-open', () => {
    const found = (start: number, end: number) => board().covering('f', start, end);
    expect([found(0, 1), found(9, 10), found(9, 11), found(10, 30), found(35, 99), found(40, 50)]).toEqual([
      ...[[0], [0], [0, 1], [1, 2], [3]],
      [],
    ]);
    expect(board().covering('g', 0, 10)).toEqual([]);
  });

  test('waits for what is missing, puts it first, and loses what is dropped', async () => {
    const b = board();
    b.present(0, 'h');
    await b.ready('f', 0, 10);
    expect(b.toFetch.peek()).toBe(1);
    let done = false;
    const waiting = b.ready('f', 25, 35).then(() => {
      done = true;
    });
    expect(b.toFetch.peek()).toBe(2);
    b.busy(2);
    expect(b.toFetch.peek()).toBe(3);
    b.busy(3);
    expect(b.toFetch.peek()).toBe(1);
    b.missing(3); // a pause: it is still waited for
    expect(b.toFetch.peek()).toBe(3);
    b.present(2, 'h');
    await Promise.resolve();
    expect(done).toBe(false);
    b.present(3, 'h');
    await waiting;
    expect([b.storedBytes, b.presentCount, b.allPresent]).toEqual([30, 3, false]);
    b.missing(0);
    expect(b.toFetch.peek()).toBe(0);
    expect(b.storedBytes).toBe(20);
    b.fail(new Error('gone'));
    await expect(b.ready('f', 0, 10)).rejects.toThrow('gone');
    await b.ready('f', 20, 40);
  });

  test('a queue gives each wanted number once, urgent ones first', () => {
    fc.assert(
      fc.property(fc.array(fc.array(fc.nat(9), { maxLength: 4 }), { maxLength: 5 }), (urgencies) => {
        const wanted = new Set(Array.from({ length: 10 }, (_, i) => i));
        const queue = new WorkQueue(10, (index) => wanted.has(index));
        const order: number[] = [];
        const next = () => {
          const index = queue.peek();
          if (index === undefined) return false;
          order.push(index);
          return wanted.delete(index);
        };
        for (const urgent of urgencies) {
          queue.first(urgent);
          const expected = urgent.find((index) => wanted.has(index));
          if (next() && expected !== undefined) expect(order.at(-1)).toBe(expected);
        }
        while (next());
        expect([...order].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
      }),
    );
  });
});

describe('a stored file keeps the byte source contract', () => {
  test.each(byteSourceContract.filter(({ needs }) => !needs).map(({ name, run }) => [name, run] as const))(
    '%s',
    async (_, run) => {
      const { store } = await openTab();
      await run({
        async open(bytes) {
          const { byteLength } = bytes;
          const whole = { file: 'one', byteOffset: 0, byteLength };
          const same = (parts: readonly Uint8Array[]) => [...parts];
          const entry = await store.create({
            ...{ key: `one-${byteLength}`, label: 'one', layoutVersion: 1, texts: {} },
            files: [{ name: 'one', byteLength }],
            origins: [{ file: 'one', byteLength, headerBytes: 0 }],
          });
          const chunks = byteLength > 0 ? [{ sources: [whole], targets: [whole], assemble: same, disassemble: same }] : [];
          await entry.download(chunks, loggedSources(new Map([['one', bytes]])).sources).done;
          return entry.open('one');
        },
      });
    },
  );
});

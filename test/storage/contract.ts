/**
 * What every ByteSource promises, as cases that need no test framework: vitest runs them in Node, a browser page runs the same
 * ones over OPFS.
 */
import { EngineError, isAbort } from '../../src/errors';
import type { ByteSource } from '../../src/storage/byte_source';

export type Subject = {
  /** A source over exactly these bytes. */
  open(bytes: Uint8Array<ArrayBuffer>): Promise<ByteSource>;
  /**
   * A source over these bytes that delivers only the first `length` of them, although its size still counts all: a file cut off, a
   * connection closed. Absent where that cannot happen (memory).
   */
  openTruncated?(bytes: Uint8Array<ArrayBuffer>, length: number): Promise<ByteSource>;
};

export type ContractCase = { name: string; needs?: 'openTruncated'; run(subject: Subject): Promise<void> };

/** More than one piece of every source's own buffering would make this slow; odd so that no alignment helps. */
const SIZE = 200_003;

export function patternBytes(size = SIZE): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: size }, (_, i) => (Math.imul(i, 2_654_435_761) >>> 24) ^ (i & 255));
}

export const byteSourceContract: ContractCase[] = [
  {
    name: 'reads exact half-open ranges, odd offsets included, and touches nothing around the buffer',
    async run(subject) {
      const bytes = patternBytes();
      await using_(await subject.open(bytes), async (source) => {
        same(source.size, SIZE, 'size');
        for (const [start, end] of [
          [0, 1],
          [0, 8],
          [1, 4],
          [8, 8 + 65_536],
          [65_535, 65_537],
          [131_071, 199_999],
          [SIZE - 1, SIZE],
          [0, SIZE],
        ]) {
          const room = new Uint8Array(end! - start! + 2).fill(0xa5);
          await source.read(start!, room.subarray(1, -1));
          sameBytes(room.subarray(1, -1), bytes.subarray(start, end), `[${start}, ${end})`);
          same(room[0] === 0xa5 && room.at(-1) === 0xa5, true, `bytes around [${start}, ${end})`);
        }
      });
    },
  },
  {
    name: 'an empty range reads nothing, at the end too',
    async run(subject) {
      await using_(await subject.open(patternBytes()), async (source) => {
        await source.read(0, new Uint8Array(0));
        await source.read(SIZE, new Uint8Array(0));
      });
    },
  },
  {
    name: 'an empty file has size 0',
    async run(subject) {
      await using_(await subject.open(new Uint8Array(0)), async (source) => {
        same(source.size, 0, 'size');
        await source.read(0, new Uint8Array(0));
        await rejectsStorage(source.read(0, new Uint8Array(1)), 'one byte of an empty file');
      });
    },
  },
  {
    name: 'a range past the end is an error and not zeros',
    async run(subject) {
      await using_(await subject.open(patternBytes()), async (source) => {
        for (const [offset, length] of [
          [SIZE - 1, 2],
          [SIZE, 1],
          [SIZE + 5, 1],
          [0, SIZE + 1],
          [-1, 2],
          [0.5, 1],
          [Number.NaN, 1],
        ]) {
          await rejectsStorage(source.read(offset!, new Uint8Array(length!)), `[${offset}, +${length})`);
        }
      });
    },
  },
  {
    name: 'a short read is an error',
    needs: 'openTruncated',
    async run(subject) {
      await using_(await subject.openTruncated!(patternBytes(), 150_000), async (source) => {
        await rejectsStorage(source.read(140_000, new Uint8Array(20_000)), 'a range across the cut');
        await rejectsStorage(source.read(160_000, new Uint8Array(10)), 'a range behind the cut');
      });
    },
  },
  {
    name: 'aborts before and during a read, and works afterwards',
    async run(subject) {
      const bytes = patternBytes();
      await using_(await subject.open(bytes), async (source) => {
        await rejectsAbort(source.read(0, new Uint8Array(10), AbortSignal.abort(new Error('own reason'))), 'aborted before');
        const controller = new AbortController();
        const running = source.read(70_000, new Uint8Array(100_000), controller.signal);
        controller.abort();
        // A source that reads synchronously may be done already: then the bytes stand. Anything else is an AbortError.
        await running.catch((error) => same(isAbort(error), true, `aborted during: ${error}`));
        const into = new Uint8Array(10);
        await source.read(5, into);
        sameBytes(into, bytes.subarray(5, 15), 'a read after an abort');
      });
    },
  },
  {
    name: 'many reads at once each get their own bytes',
    async run(subject) {
      const bytes = patternBytes();
      await using_(await subject.open(bytes), async (source) => {
        const starts = Array.from({ length: 16 }, (_, i) => (i * 77_777) % (SIZE - 20_000));
        const buffers = await Promise.all(
          starts.map(async (start) => {
            const into = new Uint8Array(20_000);
            await source.read(start, into);
            return into;
          }),
        );
        for (const [i, start] of starts.entries()) sameBytes(buffers[i]!, bytes.subarray(start, start + 20_000), `read ${i}`);
      });
    },
  },
  {
    name: 'a read after close is an error; closing twice is not',
    async run(subject) {
      const source = await subject.open(patternBytes());
      source.close();
      source.close();
      await rejectsStorage(source.read(0, new Uint8Array(1)), 'a read after close');
    },
  },
];

async function using_(source: ByteSource, use: (source: ByteSource) => Promise<void>): Promise<void> {
  try {
    await use(source);
  } finally {
    source.close();
  }
}

function same(actual: unknown, expected: unknown, what: string): void {
  if (!Object.is(actual, expected)) throw new Error(`${what}: expected ${String(expected)}, got ${String(actual)}`);
}

function sameBytes(actual: Uint8Array, expected: Uint8Array, what: string): void {
  same(actual.byteLength, expected.byteLength, `${what}: length`);
  const bad = actual.findIndex((byte, i) => byte !== expected[i]);
  if (bad >= 0) throw new Error(`${what}: byte ${bad} is ${actual[bad]}, expected ${expected[bad]}`);
}

async function rejectsStorage(read: Promise<void>, what: string): Promise<void> {
  const error = await failureOf(read, what);
  if (!(error instanceof EngineError) || error.code !== 'storage')
    throw new Error(`${what}: expected EngineError 'storage', got ${error}`);
}

async function rejectsAbort(read: Promise<void>, what: string): Promise<void> {
  const error = await failureOf(read, what);
  if (!isAbort(error)) throw new Error(`${what}: expected AbortError, got ${error}`);
}

async function failureOf(read: Promise<void>, what: string): Promise<unknown> {
  return read.then(
    () => {
      throw new Error(`${what}: succeeded`);
    },
    (error: unknown) => error,
  );
}

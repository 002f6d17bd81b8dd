import { describe, expect, test } from 'vitest';
import { abortError } from '../../src/errors';
import type { ByteSource } from '../../src/storage/byte_source';
import { memorySource } from '../../src/storage/memory';
import { windowCache } from '../../src/storage/window_cache';
import { byteSourceContract, patternBytes } from './contract';

const mib = 1024 * 1024;

/** Counts what reaches the source behind the cache. */
function counting(source: ByteSource): ByteSource & { reads: number; bytes: number } {
  return {
    label: source.label,
    size: source.size,
    reads: 0,
    bytes: 0,
    read(byteOffset, into, signal) {
      this.reads += 1;
      this.bytes += into.byteLength;
      return source.read(byteOffset, into, signal);
    },
    close: () => source.close(),
  };
}

test.each(
  byteSourceContract.filter(({ needs }) => needs === undefined || needs.length === 0).map((each) => [each.name, each] as const),
)('contract: %s', async (_, each) => {
  await each.run({ open: async (bytes) => windowCache(memorySource(bytes)) });
});

test('a thousand neighbouring small reads are few reads of the source, and give its bytes', async () => {
  const bytes = patternBytes(9 * mib + 17);
  const source = counting(memorySource(bytes));
  const cache = windowCache(source);
  const size = Math.ceil(bytes.byteLength / 1000);
  for (let at = 0; at < bytes.byteLength; at += size) {
    const piece = new Uint8Array(Math.min(size, bytes.byteLength - at));
    await cache.read(at, piece);
    expect(Buffer.compare(piece, bytes.subarray(at, at + piece.byteLength))).toBe(0);
  }
  expect(source.reads).toBe(10); // windows of 1 MiB
  expect(source.bytes).toBe(bytes.byteLength);
});

test('the last eight windows are kept, and no more', async () => {
  const source = counting(memorySource(patternBytes(12 * mib)));
  const cache = windowCache(source);
  const touch = (window: number) => cache.read(window * mib + 5, new Uint8Array(10));
  for (let window = 0; window < 8; window++) await touch(window);
  await touch(0);
  expect(source.reads).toBe(8);
  await touch(8); // in place of window 1, which has waited longest
  await touch(0);
  expect(source.reads).toBe(9);
  await touch(1);
  expect(source.reads).toBe(10);
});

test('reads of a window or more go straight through', async () => {
  const source = counting(memorySource(patternBytes(3 * mib)));
  await windowCache(source).read(1, new Uint8Array(2 * mib));
  expect(source.reads).toBe(1);
});

test('cancelling one reader of a window does not fail another', async () => {
  const cache = windowCache(memorySource(patternBytes(1000)));
  const controller = new AbortController();
  const cancelled = cache.read(0, new Uint8Array(10), controller.signal);
  const other = cache.read(5, new Uint8Array(10));
  controller.abort();
  await expect(cancelled).rejects.toMatchObject({ name: 'AbortError' });
  await other;
});

describe('a source that answers when it is told to', () => {
  /** Reads wait for `answer`; a read whose signal aborts fails. */
  function slow() {
    const inner = memorySource(patternBytes(1000));
    let answer = () => {};
    const answered = new Promise<void>((resolve) => {
      answer = resolve;
    });
    const signals: AbortSignal[] = [];
    const source: ByteSource = {
      label: 'slow',
      size: inner.size,
      etag: '"v1"',
      async read(byteOffset, into, signal) {
        signals.push(signal!);
        await Promise.race([answered, new Promise((_, reject) => signal!.addEventListener('abort', () => reject(abortError())))]);
        await inner.read(byteOffset, into, signal);
      },
      close() {},
    };
    return { cache: windowCache(source), signals, answer: () => answer() };
  }

  test('a cancelled reader stops waiting at once; the window still comes for the other', async () => {
    const { cache, signals, answer } = slow();
    const controller = new AbortController();
    const cancelled = cache.read(0, new Uint8Array(10), controller.signal);
    const other = cache.read(5, new Uint8Array(10));
    controller.abort(new Error('own reason'));
    await expect(cancelled).rejects.toMatchObject({ name: 'AbortError' });
    expect(signals.map(({ aborted }) => aborted)).toEqual([false]);
    answer();
    await other;
  });

  test('when the last reader has left, the read itself is cancelled, and the next reader starts another', async () => {
    const { cache, signals, answer } = slow();
    const controllers = [new AbortController(), new AbortController()];
    const reads = controllers.map(({ signal }) => cache.read(0, new Uint8Array(10), signal));
    const failures = Promise.allSettled(reads);
    controllers[0]!.abort();
    expect(signals[0]!.aborted).toBe(false);
    controllers[1]!.abort();
    expect(signals[0]!.aborted).toBe(true);
    const next = cache.read(0, new Uint8Array(10)); // before the failure of the first has come through
    expect((await failures).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    answer();
    await next;
    expect(signals).toHaveLength(2);
  });

  test('the ETag is that of the source', () => expect(slow().cache.etag).toBe('"v1"'));
});

test('a failed window is read again', async () => {
  let fails = true;
  const inner = memorySource(patternBytes(100));
  const flaky: ByteSource = {
    label: 'flaky',
    size: 100,
    read(...args) {
      if (!fails) return inner.read(...args);
      fails = false;
      return Promise.reject(new Error('once'));
    },
    close() {},
  };
  const cache = windowCache(flaky);
  await expect(cache.read(0, new Uint8Array(4))).rejects.toThrow('once');
  await cache.read(0, new Uint8Array(4));
});

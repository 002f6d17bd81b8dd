import { expect, test } from 'vitest';
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
  expect(source.reads).toBe(3); // windows of 4 MiB
  expect(source.bytes).toBe(bytes.byteLength);
});

test('reads of a window or more go straight through', async () => {
  const source = counting(memorySource(patternBytes(6 * mib)));
  await windowCache(source).read(1, new Uint8Array(5 * mib));
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

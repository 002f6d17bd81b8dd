import fc from 'fast-check';
import { createXXHash64 } from 'hash-wasm';
import { expect, test } from 'vitest';
import { PlainXxh64 } from '../../src/storage/store/xxh64';

test('without WebAssembly the same digits, however the bytes are cut', async () => {
  const reference = await createXXHash64();
  const plain = new PlainXxh64();
  const piece = fc.uint8Array({ maxLength: 200 });
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      reference.init();
      plain.init();
      for (const bytes of pieces) {
        reference.update(bytes);
        plain.update(bytes);
      }
      expect(plain.digest()).toBe(reference.digest());
    }),
    { numRuns: 500 },
  );
});

test('known digests', () => {
  const plain = new PlainXxh64();
  const of = (text: string) => {
    plain.init();
    plain.update(new TextEncoder().encode(text));
    return plain.digest();
  };
  expect(of('')).toBe('ef46db3751d8e999');
  expect(of('a')).toBe('d24ec4f1a98c6e5b');
  expect(of('abc')).toBe('44bc2cf5ad770999');
});

test('a large piece whose bytes are all ones, where carries are longest', async () => {
  const bytes = new Uint8Array(1_000_003).fill(255);
  const reference = await createXXHash64();
  const plain = new PlainXxh64();
  reference.init();
  plain.init();
  plain.update(bytes);
  expect(plain.digest()).toBe(reference.update(bytes).digest());
});

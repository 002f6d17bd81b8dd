/** Windows with pairs apart: they cover an image as others do, fit a piece in raw form, and interleaved hold the same bytes. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Block, Fill } from '../../src/plan/blocks';
import { fillBytes, rawPairs, type SlotImage, type Window, windowsOf } from '../../src/plan/windows';
import { memorySource } from '../../src/storage/memory';
import { interleave, WindowFiller } from '../../src/stream/fill';

const file = Uint8Array.from({ length: 60_000 }, (_, i) => Math.imul(i, 2_654_435_761) >>> 21);
const sources = new Map([['file', memorySource(file)]]);
const align16 = (bytes: number) => Math.ceil(bytes / 16) * 16;

/** A matrix: words, then `count` pairs of elements of `bytes` bytes. */
type Matrix = { words: number; count: number; bytes: 2 | 4 };

/** Matrices back to back in one image; their sources lie anywhere in the file, odd bytes too. */
function imageOf(matrices: readonly Matrix[]): SlotImage {
  const blocks: SlotImage['blocks'] = [];
  let byteOffset = 0;
  for (const [i, { words, count, bytes }] of matrices.entries()) {
    const range = (n: number, byteLength: number) => ({ file: 'file', byteOffset: 1_013 * i + 331 * n, byteLength });
    const pairsAt = align16(4 * words);
    const fills: Fill[] = [
      { kind: 'copy', at: 0, from: range(0, 4 * words) },
      { kind: 'pairs', at: pairsAt, scales: range(1, count * bytes), biases: range(2, count * bytes), bytes },
    ];
    const block: Block = { label: `matrix ${i}`, bytes: align16(pairsAt + 2 * count * bytes), fills };
    blocks.push({ block, byteOffset });
    byteOffset += block.bytes;
  }
  return { label: 'image', bytes: byteOffset, blocks };
}

/** The image's bytes, with what a GPU would interleave interleaved; padding behind woven pairs is 0. */
async function assembled(image: SlotImage, windowBytes: number, weave: boolean) {
  const bytes = new Uint8Array(image.bytes);
  const filler = new WindowFiller(sources);
  const windows = windowsOf(image, windowBytes, { weave });
  let at = 0;
  for (const window of windows) {
    expect(window.at).toBe(at);
    expect(window.at % 16).toBe(0);
    expect(window.bytes).toBeGreaterThan(0);
    expect(window.bytes).toBeLessThanOrEqual(windowBytes);
    at += window.bytes;
    const staging = new Uint8Array(windowBytes).fill(0xa5);
    await filler.fill(window, staging);
    bytes.set(woven(window, staging), window.at);
  }
  expect(at).toBe(image.bytes);
  return { bytes, windows };
}

function woven({ bytes, weave, fills }: Window, staging: Uint8Array<ArrayBuffer>): Uint8Array {
  if (!weave) return staging.subarray(0, bytes);
  const raw = rawPairs(weave);
  const length = weave.scales.byteLength;
  expect(raw.bytes % 4).toBe(0);
  expect(raw.bytes).toBeLessThanOrEqual(staging.byteLength);
  expect([weave.at, fills]).toEqual([0, []]);
  const pairs = new Uint8Array(bytes);
  expect(fillBytes(weave)).toBeLessThanOrEqual(bytes);
  interleave(
    staging.slice(0, length),
    staging.slice(raw.biasesAt, raw.biasesAt + length),
    pairs.subarray(0, 2 * length),
    weave.bytes,
  );
  return pairs;
}

describe('windows with pairs apart', () => {
  const matrix = fc.record({
    words: fc.integer({ min: 1, max: 600 }),
    count: fc.integer({ min: 1, max: 900 }),
    bytes: fc.constantFrom<2 | 4>(2, 4),
  });

  test('hold the bytes that windows without hold, at any size', async () => {
    const images = fc.array(matrix, { minLength: 1, maxLength: 5 });
    const sizes = fc.integer({ min: 1, max: 300 }).map((units) => 16 * units);
    await fc.assert(
      fc.asyncProperty(images, sizes, async (matrices, windowBytes) => {
        const image = imageOf(matrices);
        const apart = await assembled(image, windowBytes, true);
        const plain = await assembled(image, windowBytes, false);
        expect(Buffer.compare(apart.bytes, plain.bytes)).toBe(0);
        expect(plain.windows.every(({ weave }) => weave === undefined)).toBe(true);
        const largest = Math.max(...matrices.map(({ count, bytes }) => 2 * count * bytes));
        expect(apart.windows.some(({ weave }) => weave !== undefined)).toBe(largest >= windowBytes / 64);
      }),
    );
  });

  test('leave pairs that are a sliver of a window among the others', () => {
    const image = imageOf([
      { words: 600, count: 15, bytes: 2 },
      { words: 600, count: 16, bytes: 2 },
      { words: 600, count: 15, bytes: 2 },
    ]);
    const kinds = windowsOf(image, 4096, { weave: true }).map(({ weave, fills }) => weave?.kind ?? fills.map(({ kind }) => kind));
    expect(kinds).toEqual([['copy', 'pairs', 'copy'], ['copy'], 'pairs', ['copy', 'pairs']]);
  });

  test('an odd last element fits a full window, padded', () => {
    const image = imageOf([{ words: 4, count: 15, bytes: 2 }]);
    const [, pairs] = windowsOf(image, 64, { weave: true });
    expect(pairs).toMatchObject({ at: 16, bytes: 64, weave: { at: 0, scales: { byteLength: 30 } } });
    expect(rawPairs(pairs!.weave!)).toEqual({ biasesAt: 32, bytes: 64 });
  });
});

test('one read of two that fails is an error only when the other has ended too', async () => {
  let finish = () => {};
  const biases = memorySource(file);
  biases.read = () => new Promise<void>((resolve) => (finish = resolve));
  const filler = new WindowFiller(new Map([['biases', biases]]).set('scales', memorySource(new Uint8Array(4))));
  const range = (name: string) => ({ file: name, byteOffset: 0, byteLength: 64 });
  const weave = { kind: 'pairs' as const, at: 0, scales: range('scales'), biases: range('biases'), bytes: 2 as const };
  let ended = false;
  const filled = filler.fill({ at: 0, bytes: 128, gaps: false, fills: [], weave }, new Uint8Array(128)).finally(() => {
    ended = true;
  });
  filled.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(ended).toBe(false);
  finish();
  await expect(filled).rejects.toMatchObject({ code: 'storage' });
});

import { createInterleavePairs, interleavePairsBytes, packInterleavePairs, pairWords } from '../kernels/interleave_pairs';
import { interleavePairsReference } from '../kernels/reference/interleave_pairs';
import { compare, type KernelCase, onBench, random, worst } from './harness';

type Row = { count: number; bytes: 2 | 4; before?: number; behind?: number; grid?: readonly [number, number]; why: string };

const rows: Row[] = [
  { count: 1, bytes: 2, why: "the smallest: half a word each, and the word behind the pair is another's" },
  { count: 1, bytes: 4, behind: 3, why: 'the smallest of whole words' },
  { count: 2, bytes: 2, behind: 1, why: 'one word each' },
  { count: 127, bytes: 2, before: 4, behind: 1, why: 'an odd count that ends within a workgroup, somewhere in the slab' },
  { count: 128, bytes: 2, before: 12, behind: 4, why: 'exactly one workgroup' },
  { count: 4_099, bytes: 2, before: 1_000, behind: 100, why: 'many workgroups, an odd count' },
  { count: 4_099, bytes: 4, before: 1_000, behind: 100, why: 'many workgroups of whole words' },
  { count: 1_001, bytes: 2, before: 4, behind: 5, grid: [3, 4], why: 'a grid folded into y, with workgroups past the end' },
  { count: 501, bytes: 4, before: 4, behind: 5, grid: [3, 4], why: 'the same of whole words' },
];

/** What the kernel must leave alone, as a u32; as an f32 it is no number, which a copy of floats might spoil. */
const untouched = 0xffa5a5a5;

export const interleavePairsCases: KernelCase[] = rows.map(({ count, bytes, before = 0, behind = 0, grid, why }) => ({
  kernel: 'interleave_pairs',
  name: `${count} of ${bytes} bytes at word ${before}${grid ? `, grid ${grid}` : ''}`,
  why,
  run: (gpu) =>
    onBench(gpu, async (bench) => {
      const next = random(11);
      const elements = () => Uint32Array.from({ length: count }, () => next() * 256 ** bytes);
      const [scales, biases] = [elements(), elements()];
      const words = pairWords({ count, bytes });
      const raw = new Uint32Array(2 * words + 8).fill(0xdeadbeef); // staging holds leftovers, behind an odd element too
      put(raw, 0, scales, bytes);
      put(raw, words, biases, bytes);
      const want = interleavePairsReference(scales, biases, bytes);
      const slab = bench.output(asFloats(new Uint32Array(before + want.length + behind).fill(untouched)));
      const params = new Uint32Array(interleavePairsBytes / 4);
      packInterleavePairs({ count, byteOffset: 4 * before, bytes }, params);
      const kernel = createInterleavePairs(gpu);
      await bench.run({
        kernel: grid ? { ...kernel, grid: () => grid } : kernel,
        bindings: { raw: bench.input(raw), slab, params: bench.input(params) },
        tokens: words,
      });
      const got = asWords(await bench.read(slab));
      const junk = (length: number) => new Uint32Array(length).fill(untouched);
      return worst(
        compare('before', got.subarray(0, before), junk(before), 0),
        compare('pairs', got.subarray(before, before + want.length), want, 0),
        compare('behind', got.subarray(before + want.length), junk(behind), 0),
      );
    }),
}));

/** Elements from word `at` on, little-endian. */
function put(raw: Uint32Array<ArrayBuffer>, at: number, elements: ArrayLike<number>, bytes: 2 | 4): void {
  const view = new DataView(raw.buffer, 4 * at);
  for (let i = 0; i < elements.length; i++) {
    if (bytes === 2) view.setUint16(2 * i, elements[i]!, true);
    else view.setUint32(4 * i, elements[i]!, true);
  }
}

const asFloats = (words: Uint32Array<ArrayBuffer>) => new Float32Array(words.buffer);
const asWords = (floats: Float32Array) => new Uint32Array(floats.buffer, floats.byteOffset, floats.length);

import source from '../../wgsl/interleave_pairs.wgsl?raw';
import type { Gpu } from '../gpu/device';
import { createKernel, fold, type Kernel } from '../gpu/kernel';

/** `count` pairs of elements of `bytes` bytes, to `byteOffset` of the slab, a multiple of 4. */
export type InterleavePairs = { count: number; byteOffset: number; bytes: 2 | 4 };

/** Bytes of the uniform that `packInterleavePairs` fills. */
export const interleavePairsBytes = 16;

/**
 * Scales and biases apart -> pairs s0 b0 s1 b1 …
 * raw u32 [2 * pairWords]: the scales, padded to whole words, then the biases -> slab u32, `count` pairs and nothing around them.
 * The grid is that of `pairWords`.
 */
export function createInterleavePairs(gpu: Gpu): Kernel {
  return createKernel(gpu, {
    label: 'interleave_pairs',
    sources: [source],
    bindings: { raw: 'read', slab: 'write', params: 'uniform' },
    grid: (words) => fold(Math.ceil(words / 64)),
  });
}

/** Words that `count` scales take: threads of one dispatch. */
export function pairWords({ count, bytes }: Pick<InterleavePairs, 'count' | 'bytes'>): number {
  return bytes === 4 ? count : Math.ceil(count / 2);
}

export function packInterleavePairs({ count, byteOffset, bytes }: InterleavePairs, into: Uint32Array<ArrayBuffer>): void {
  into[0] = count;
  into[1] = byteOffset / 4;
  into[2] = bytes === 4 ? 1 : 0;
}

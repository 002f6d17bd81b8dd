/** Where resident blocks lie: slabs of at most `slabBytes`, filled in the order of use. */
import type { Block } from './blocks';

export type Place = { slab: number; byteOffset: number };
export type Placement = { slabs: { bytes: number }[]; places: ReadonlyMap<Block, Place> };

export type SlabLimits = { maxBufferSize: number; maxStorageBufferBindingSize: number };

const mib = 1024 * 1024;

/** Many slabs of at most 256 MiB rather than one: every target can allocate that, and none needs a larger binding. */
export function slabBytesFor(limits: SlabLimits): number {
  return Math.min(256 * mib, limits.maxBufferSize, limits.maxStorageBufferBindingSize);
}

/** Places every block whole, 16-byte aligned; a slab is as large as what it holds. Blocks are at most slabBytes each. */
export function placeResident(blocks: readonly Block[], slabBytes: number): Placement {
  const slabs: { bytes: number }[] = [];
  const places = new Map<Block, Place>();
  for (const block of blocks) {
    let slab = slabs.length - 1;
    if (slab < 0 || slabs[slab]!.bytes + block.bytes > slabBytes) slab = slabs.push({ bytes: 0 }) - 1;
    places.set(block, { slab, byteOffset: slabs[slab]!.bytes });
    slabs[slab]!.bytes += block.bytes;
  }
  return { slabs, places };
}

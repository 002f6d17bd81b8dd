/** Where every block lies: in a resident slab, or in whatever slot of the ring its image passes through. */
import type { Block } from './blocks';
import type { SlotImage } from './windows';

/** `byteOffset` counts from the start of the slab, or of the slot that holds `image`. */
export type Place = { slab: number; byteOffset: number } | { image: SlotImage; byteOffset: number };
export type Placement = {
  /** Resident slabs; `images` lie back to back in each. */
  slabs: { bytes: number; images: { image: SlotImage; byteOffset: number }[] }[];
  places: ReadonlyMap<Block, Place>;
};

export type SlabLimits = { maxBufferSize: number; maxStorageBufferBindingSize: number };

const mib = 1024 * 1024;
/** Images start where any kernel or copy may begin. */
export const imageAlignment = 256;

/**
 * Many slabs of at most 256 MiB rather than one: every target can allocate that, and none needs a larger binding. Where `residentBytes` are
 * gigabytes the device is a large one, which finds the pages of fewer, larger buffers faster (27B on an NVIDIA H200: 2 % of a token).
 */
export function slabBytesFor(limits: SlabLimits, residentBytes = 0): number {
  const wanted = residentBytes >= 4096 * mib ? 1024 * mib : 256 * mib;
  return Math.min(wanted, limits.maxBufferSize, limits.maxStorageBufferBindingSize);
}

/** Places resident images whole, in the order of use; a slab is as large as what it holds. Images are at most slabBytes each. */
export function placeImages(resident: readonly SlotImage[], streamed: readonly SlotImage[], slabBytes: number): Placement {
  const slabs: Placement['slabs'] = [];
  const places = new Map<Block, Place>();
  for (const image of resident) {
    let slab = slabs.length - 1;
    if (slab < 0 || aligned(slabs[slab]!.bytes) + image.bytes > slabBytes) slab = slabs.push({ bytes: 0, images: [] }) - 1;
    const byteOffset = aligned(slabs[slab]!.bytes);
    slabs[slab]!.images.push({ image, byteOffset });
    slabs[slab]!.bytes = byteOffset + image.bytes;
    for (const { block, byteOffset: inImage } of image.blocks) places.set(block, { slab, byteOffset: byteOffset + inImage });
  }
  for (const image of streamed) for (const { block, byteOffset } of image.blocks) places.set(block, { image, byteOffset });
  return { slabs, places };
}

const aligned = (bytes: number): number => Math.ceil(bytes / imageAlignment) * imageAlignment;

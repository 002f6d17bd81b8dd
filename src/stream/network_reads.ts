/** How the originals of a model are read over a network for its tokens: small parameters together, an expert by its own extents. */
import type { CheckpointTensors } from '../format/types';
import { expertLayer } from '../plan/experts';
import { sourcesOf } from '../plan/windows';
import type { ByteSource } from '../storage/byte_source';
import { windowCache } from '../storage/window_cache';

type Extent = { begin: number; end: number };

/**
 * Norms and scales are kilobytes, lie side by side and are read one after another: they come together. An expert is chosen alone, and what
 * lies beside its matrices is of others that are not.
 */
export function networkReads(tensors: CheckpointTensors): (file: string, source: ByteSource) => ByteSource {
  let extents: ReturnType<typeof expertExtents> | undefined; // a plan reads nothing, and of 30,000 experts this takes half a second
  return (file, source) => {
    const ofExpert = (at: number) => {
      extents ??= expertExtents(tensors);
      return isWithin(extents.get(file) ?? [], at);
    };
    const near = windowCache(source);
    return {
      label: source.label,
      size: source.size,
      get etag() {
        return source.etag;
      },
      read: (byteOffset, into, signal) => (ofExpert(byteOffset) ? source : near).read(byteOffset, into, signal),
      close: () => near.close(),
    };
  };
}

/** By file, in order, neighbours as one. */
function expertExtents(tensors: CheckpointTensors): ReadonlyMap<string, readonly Extent[]> {
  const extents = new Map<string, Extent[]>();
  for (const { moe } of tensors.layers) {
    if (!moe) continue;
    const { count, image } = expertLayer('experts', moe);
    for (let expert = 0; expert < count; expert++) {
      const ranges = image(expert).blocks.flatMap(({ block }) => block.fills.flatMap(sourcesOf));
      for (const { file, byteOffset, byteLength } of ranges) {
        const own = extents.get(file) ?? [];
        own.push({ begin: byteOffset, end: byteOffset + byteLength });
        extents.set(file, own);
      }
    }
  }
  return new Map([...extents].map(([file, own]) => [file, joined(own)]));
}

function joined(extents: Extent[]): Extent[] {
  const result: Extent[] = [];
  for (const { begin, end } of extents.sort((a, b) => a.begin - b.begin)) {
    const last = result.at(-1);
    if (last && begin <= last.end) last.end = Math.max(last.end, end);
    else result.push({ begin, end });
  }
  return result;
}

function isWithin(extents: readonly Extent[], at: number): boolean {
  let [low, high] = [0, extents.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (extents[middle]!.end > at) high = middle;
    else low = middle + 1;
  }
  return low < extents.length && extents[low]!.begin <= at;
}

/** Reads every resident block into its slab, a few at a time, with a bound on what is queued for upload. The caller owns the slabs. */
import { throwIfAborted } from '../errors';
import type { Gpu } from '../gpu/device';
import { submittedWorkDone } from '../gpu/readback';
import type { Block } from '../plan/blocks';
import type { Placement } from '../plan/placement';
import { fillBlock, type Sources } from './fill';

/** Bytes that may wait in the queue: past this, browsers allocate without bound. */
const uploadWindowBytes = 16 * 1024 * 1024;
const blocksInFlight = 4;

/** One buffer per slab, empty. @throws EngineError 'budget' when the GPU is out of memory. */
export async function createSlabs(gpu: Gpu, placement: Placement): Promise<GPUBuffer[]> {
  const slabs: GPUBuffer[] = [];
  for (const [index, { bytes }] of placement.slabs.entries()) {
    const label = `slab ${index}`;
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
    slabs.push(await gpu.memory.guarded(label, () => gpu.memory.create(label, bytes, usage)));
  }
  return slabs;
}

/** @throws EngineError 'storage' when bytes cannot be read, 'device-lost'; AbortError. */
export async function fillSlabs(
  gpu: Gpu,
  placement: Placement,
  slabs: readonly GPUBuffer[],
  sources: Sources,
  { signal, onBytes }: { signal?: AbortSignal; onBytes?: (bytes: number) => void },
): Promise<void> {
  const queue = [...placement.places.keys()];
  const stop = new AbortController(); // one failed block ends the other readers
  const joined = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  let queued = 0;
  let draining: Promise<void> | undefined;

  const upload = async (block: Block) => {
    const { slab, byteOffset } = placement.places.get(block)!;
    for await (const { at, bytes } of fillBlock(block, sources, joined)) {
      gpu.device.queue.writeBuffer(slabs[slab]!, byteOffset + at, bytes);
      onBytes?.(bytes.byteLength);
      queued += bytes.byteLength;
      if (queued >= uploadWindowBytes) {
        queued = 0;
        gpu.device.queue.submit([]);
        draining = submittedWorkDone(gpu);
      }
      await draining;
    }
  };
  const reader = async () => {
    for (let block = queue.shift(); block; block = queue.shift()) {
      throwIfAborted(joined);
      await upload(block);
    }
  };
  const readers = Array.from({ length: blocksInFlight }, reader);
  try {
    await Promise.all(readers);
  } catch (error) {
    stop.abort();
    await Promise.allSettled(readers);
    throw error;
  }
}

import type { Gpu } from '../gpu/device';
import { settled } from '../gpu/readback';

/** Offsets and lengths in bytes, multiples of 4. */
export type Range = { buffer: GPUBuffer; byteOffset: number; byteLength: number };

/** Pieces of buffers, one after another. @throws EngineError 'device-lost'. */
export async function readRanges(gpu: Gpu, ranges: readonly Range[]): Promise<ArrayBuffer> {
  const bytes = ranges.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const staging = gpu.memory.create('bench readback', bytes, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
  try {
    const encoder = gpu.device.createCommandEncoder();
    let at = 0;
    for (const { buffer, byteOffset, byteLength } of ranges) {
      encoder.copyBufferToBuffer(buffer, byteOffset, staging, at, byteLength);
      at += byteLength;
    }
    gpu.device.queue.submit([encoder.finish()]);
    await settled(gpu, staging.mapAsync(GPUMapMode.READ));
    return staging.getMappedRange().slice(0, bytes);
  } finally {
    gpu.memory.destroy(staging);
  }
}

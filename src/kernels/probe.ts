/**
 * Do subgroups reduce as the kernels assume? They take lane index / subgroup size for the subgroup's number and full subgroups
 * for granted, which WGSL does not promise, and drivers have been known to report one size and run another.
 */
import type { Gpu } from '../gpu/device';
import { Readback } from '../gpu/readback';
import { createDeltaQkNorm } from './delta';

const dim = 128;

/** Runs one real reduction on this device and compares. False: use the variants without subgroups. @throws EngineError 'device-lost' */
export async function subgroupsWork(gpu: Gpu): Promise<boolean> {
  const own: Gpu = { ...gpu, memory: gpu.memory.scope() };
  try {
    const kernel = createDeltaQkNorm(own, { keyHeads: 1, valueHeads: 1, keyDim: dim, valueDim: 16 });
    await kernel.ready;
    const input = Float32Array.from({ length: 2 * dim + 16 }, (_, i) => 1 + (i % dim));
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffer = own.memory.create('subgroup probe', input.byteLength, usage);
    own.device.queue.writeBuffer(buffer, 0, input);
    const readback = new Readback(own, 'subgroup probe readback', input.byteLength);
    const encoder = own.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(kernel.pipeline(1));
    pass.setBindGroup(0, kernel.bind({ qkv: { buffer } }));
    const [x, y = 1] = kernel.grid(1, 0);
    pass.dispatchWorkgroups(x, y);
    pass.end();
    readback.copyFrom(encoder, buffer, 0, input.byteLength);
    own.device.queue.submit([encoder.finish()]);
    return isNormed(await readback.floats(input.byteLength));
  } finally {
    own.memory.release();
  }
}

/** The key head holds (1, 2, … dim) / its norm. A lost lane would show in every element. */
function isNormed(output: Float32Array): boolean {
  const norm = Math.sqrt((dim * (dim + 1) * (2 * dim + 1)) / 6);
  return output.subarray(dim, 2 * dim).every((value, i) => Math.abs(value * norm - (i + 1)) < 1e-4 * (i + 1));
}

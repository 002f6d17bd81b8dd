/** What goes between the CPU's memory and the GPU's at best: the ways that weights come up and logits come down. */
import { clockTick } from '../gpu/clock';
import type { Gpu } from '../gpu/device';
import { Readback, submittedWorkDone } from '../gpu/readback';
import { bytesPerSecondOf, createMappedUpload, createWriteUpload } from '../stream/upload';
import type { Ceiling } from './ceilings';
import { summarise } from './statistics';

export type Transfers = {
  /** From an array into a buffer, the faster of the engine's two ways. */
  uploadGBps: Ceiling;
  /** From a buffer into an array: a copy that is mapped and read. */
  readbackGBps: Ceiling;
};

const mib = 2 ** 20;
const rounds = 5;

export async function measureTransfers(gpu: Gpu): Promise<Transfers> {
  const own = { ...gpu, memory: gpu.memory.scope() };
  try {
    return { uploadGBps: await uploadRate(own), readbackGBps: await readbackRate(own, (gpu.adapter.isCpu ? 1 : 64) * mib) };
  } finally {
    own.memory.release();
  }
}

async function uploadRate(gpu: Gpu): Promise<Ceiling> {
  const target = gpu.memory.create('bench target', 16 * mib, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST);
  const ways: Ceiling[] = [];
  for (const create of [createMappedUpload, createWriteUpload]) {
    const path = create(gpu);
    const rates: number[] = [];
    for (let i = 0; i < rounds; i++) rates.push((await bytesPerSecondOf(path, target)) / 1e9);
    path.destroy();
    ways.push(ceiling(rates));
  }
  return ways.reduce((best, each) => (each.value > best.value ? each : best));
}

async function readbackRate(gpu: Gpu, bytes: number): Promise<Ceiling> {
  const source = gpu.memory.create('bench source', bytes, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC);
  const readback = new Readback(gpu, 'bench readback', bytes);
  const tick = clockTick();
  const rates: number[] = [];
  for (let i = 0; i <= rounds; i++) {
    await submittedWorkDone(gpu);
    const started = performance.now();
    const encoder = gpu.device.createCommandEncoder();
    readback.copyFrom(encoder, source, 0, bytes);
    gpu.device.queue.submit([encoder.finish()]);
    await readback.floats(bytes);
    if (i > 0) rates.push(bytes / Math.max(performance.now() - started, tick) / 1e6); // the first one makes the array
  }
  return ceiling(rates);
}

function ceiling(rates: readonly number[]): Ceiling {
  const { median, spread } = summarise(rates);
  return { value: median, spread };
}

/**
 * Reading results and waiting for the GPU. Firefox notices finished work only on a 100 ms timer (Mozilla bug 1870699)
 * unless something is submitted, so while one of these waits is pending an empty submit goes out every millisecond.
 */
import { EngineError } from '../errors';
import type { Gpu } from './device';

const nudgeNeeded = typeof navigator !== 'undefined' && /Firefox\//.test(navigator.userAgent ?? '');

/** Waits for `pending`, nudging where that is needed. @throws EngineError 'device-lost' */
async function settled<T>(gpu: Gpu, pending: Promise<T>): Promise<T> {
  const timer = nudgeNeeded ? setInterval(() => gpu.device.queue.submit([]), 1) : undefined;
  let failure: unknown;
  try {
    const result = await pending;
    if (!gpu.loss.info) return result;
  } catch (error) {
    failure = error;
  } finally {
    clearInterval(timer);
  }
  const why = gpu.loss.info?.message ? `: ${gpu.loss.info.message}` : '';
  throw new EngineError('device-lost', `The GPU device was lost${why}. Load the model again.`, { cause: failure });
}

/** Resolves when all work submitted so far is done. @throws EngineError 'device-lost'. */
export async function submittedWorkDone(gpu: Gpu): Promise<void> {
  await settled(gpu, gpu.device.queue.onSubmittedWorkDone());
}

/** A reusable staging buffer that results are copied into and mapped from. */
export class Readback {
  readonly #gpu: Gpu;
  readonly #buffer: GPUBuffer;

  constructor(gpu: Gpu, label: string, bytes: number) {
    this.#gpu = gpu;
    this.#buffer = gpu.memory.create(label, bytes, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
  }

  /** Records the copy of `bytes` from `source` at `byteOffset`. */
  copyFrom(encoder: GPUCommandEncoder, source: GPUBuffer, byteOffset: number, bytes: number): void {
    encoder.copyBufferToBuffer(source, byteOffset, this.#buffer, 0, bytes);
  }

  /** The first `bytes` copied, as f32; call after the copy was submitted. @throws EngineError 'device-lost'. */
  async floats(bytes: number): Promise<Float32Array<ArrayBuffer>> {
    await settled(this.#gpu, this.#buffer.mapAsync(GPUMapMode.READ, 0, bytes));
    try {
      return new Float32Array(this.#buffer.getMappedRange(0, bytes).slice(0));
    } finally {
      this.#buffer.unmap();
    }
  }

  destroy(): void {
    this.#gpu.memory.destroy(this.#buffer);
  }
}

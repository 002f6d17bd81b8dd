/**
 * Reading results and waiting for the GPU. Firefox notices finished work only on a 100 ms timer (Mozilla bug 1870699)
 * unless something is submitted, so while one of these waits is pending an empty submit goes out every millisecond.
 */
import { EngineError } from '../errors';
import type { Gpu } from './device';

const nudgeNeeded = typeof navigator !== 'undefined' && /Firefox\//.test(navigator.userAgent ?? '');

/** How many waits a device has pending, and the timer that serves them all. */
type Nudge = { waits: number; timer: ReturnType<typeof setInterval> };
const nudges = new WeakMap<GPUDevice, Nudge>();

/**
 * Waits for something that the GPU will do, nudging where that is needed; many may wait at once.
 * @throws EngineError 'device-lost', whatever `pending` rejects with.
 */
export async function settled<T>(gpu: Gpu, pending: Promise<T>): Promise<T> {
  if (nudgeNeeded) startNudging(gpu.device);
  let failure: unknown;
  try {
    const result = await pending;
    if (!gpu.loss.info) return result;
  } catch (error) {
    failure = error;
  } finally {
    if (nudgeNeeded) stopNudging(gpu.device);
  }
  throw deviceLostError(gpu, failure);
}

export function deviceLostError(gpu: Gpu, cause?: unknown): EngineError {
  const why = gpu.loss.info?.message ? `: ${gpu.loss.info.message}` : '';
  return new EngineError('device-lost', `The GPU device was lost${why}. Load the model again.`, { cause });
}

function startNudging(device: GPUDevice): void {
  const nudge = nudges.get(device);
  if (nudge) nudge.waits++;
  else nudges.set(device, { waits: 1, timer: setInterval(() => device.queue.submit([]), 1) });
}

function stopNudging(device: GPUDevice): void {
  const nudge = nudges.get(device)!;
  if (--nudge.waits > 0) return;
  clearInterval(nudge.timer);
  nudges.delete(device);
}

/** Resolves when all work submitted so far is done. @throws EngineError 'device-lost'. */
export async function submittedWorkDone(gpu: Gpu): Promise<void> {
  await settled(gpu, gpu.device.queue.onSubmittedWorkDone());
}

/** A reusable staging buffer that results are copied into and mapped from. */
export class Readback {
  readonly #gpu: Gpu;
  readonly #buffer: GPUBuffer;
  #copy: Float32Array<ArrayBuffer> | undefined;

  constructor(gpu: Gpu, label: string, bytes: number) {
    this.#gpu = gpu;
    this.#buffer = gpu.memory.create(label, bytes, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
  }

  /** Records the copy of `bytes` from `source` at `byteOffset`. */
  copyFrom(encoder: GPUCommandEncoder, source: GPUBuffer, byteOffset: number, bytes: number): void {
    encoder.copyBufferToBuffer(source, byteOffset, this.#buffer, 0, bytes);
  }

  /**
   * The first `bytes` copied, as f32; call after the copy was submitted. The array is this object's own: the next call overwrites it.
   * @throws EngineError 'device-lost'.
   */
  async floats(bytes: number): Promise<Float32Array<ArrayBuffer>> {
    await settled(this.#gpu, this.#buffer.mapAsync(GPUMapMode.READ, 0, bytes));
    try {
      this.#copy ??= new Float32Array(this.#buffer.size / 4); // not at load: most runs read far less than the largest result
      const values = this.#copy.subarray(0, bytes / 4);
      values.set(new Float32Array(this.#buffer.getMappedRange(0, bytes)));
      return values;
    } finally {
      this.#buffer.unmap();
    }
  }

  destroy(): void {
    this.#gpu.memory.destroy(this.#buffer);
  }
}

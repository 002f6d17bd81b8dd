/**
 * Uploads through a ring of mapped buffers: the CPU (a sync handle's read, say) writes where the GPU copies from, and mapAsync tells
 * when a buffer may be written again. A mapping is as large as its buffer, and Chromium copies all of it between its processes:
 * uploads much smaller than a piece cost as much as a whole one.
 */
import type { Gpu } from '../gpu/device';
import { settled } from '../gpu/readback';
import { StagedUpload, type StagingSlot } from './staged_upload';
import { stagingSizes } from './staging';
import type { AfterCopy, UploadOptions, UploadPath } from './upload';

/** @throws EngineError 'budget' when the staging buffers do not fit. */
export function createMappedUpload(gpu: Gpu, options?: UploadOptions): UploadPath {
  const { pieceBytes, buffers } = stagingSizes('mapped', options);
  const memory = gpu.memory.scope();
  try {
    const slots = Array.from({ length: buffers }, (_, index) => {
      const usage = GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC;
      return new MappedSlot(gpu, memory.create(`upload staging ${index}`, pieceBytes, usage));
    });
    return new StagedUpload(gpu, 'mapped', pieceBytes, slots, () => memory.release());
  } catch (error) {
    memory.release();
    throw error;
  }
}

class MappedSlot implements StagingSlot {
  readonly #gpu: Gpu;
  readonly #buffer: GPUBuffer;
  /** Asked for once per mapping: ranges of one mapping may not overlap, and an upload that failed leaves its mapping to the next. */
  #range: ArrayBuffer | undefined;

  constructor(gpu: Gpu, buffer: GPUBuffer) {
    this.#gpu = gpu;
    this.#buffer = buffer;
  }

  ready(): Promise<void> {
    return settled(this.#gpu, this.#buffer.mapAsync(GPUMapMode.WRITE));
  }

  open(bytes: number): Uint8Array<ArrayBuffer> {
    this.#range ??= this.#buffer.getMappedRange();
    return new Uint8Array(this.#range, 0, bytes);
  }

  send(target: GPUBuffer, byteOffset: number, bytes: number, after: AfterCopy | undefined): Promise<void> {
    const { device } = this.#gpu;
    const encoder = device.createCommandEncoder({ label: 'upload' });
    encoder.copyBufferToBuffer(this.#buffer, 0, target, byteOffset, bytes);
    after?.(encoder);
    const commands = encoder.finish();
    this.#buffer.unmap();
    this.#range = undefined;
    device.queue.submit([commands]);
    return this.ready();
  }
}

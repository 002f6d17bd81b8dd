/**
 * Uploads through queue.writeBuffer, which copies at once into staging of the browser's own and never pushes back. So a piece's array
 * is not used again before its write has reached the GPU, and what is in flight is never more than the arrays hold.
 */
import type { Gpu } from '../gpu/device';
import { submittedWorkDone } from '../gpu/readback';
import { StagedUpload, type StagingSlot } from './staged_upload';
import { stagingSizes } from './staging';
import type { AfterCopy, UploadOptions, UploadPath } from './upload';

/** @throws EngineError 'budget' when the reserve for the browser's staging does not fit. */
export function createWriteUpload(gpu: Gpu, options?: UploadOptions): UploadPath {
  const { pieceBytes, buffers } = stagingSizes('write', options);
  const reserve = gpu.memory.reserve('upload staging', pieceBytes * buffers);
  const slots = Array.from({ length: buffers }, () => new WriteSlot(gpu, pieceBytes));
  return new StagedUpload(gpu, 'write', pieceBytes, slots, () => reserve.release());
}

class WriteSlot implements StagingSlot {
  readonly #gpu: Gpu;
  readonly #bytes: ArrayBuffer;

  constructor(gpu: Gpu, pieceBytes: number) {
    this.#gpu = gpu;
    this.#bytes = new ArrayBuffer(pieceBytes);
  }

  async ready(): Promise<void> {}

  open(bytes: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#bytes, 0, bytes);
  }

  send(target: GPUBuffer, byteOffset: number, bytes: number, after: AfterCopy | undefined): Promise<void> {
    const commands = after ? [this.#record(after)] : [];
    const { queue } = this.#gpu.device;
    queue.writeBuffer(target, byteOffset, this.#bytes, 0, bytes);
    queue.submit(commands); // also where there are none: a write waits for the next submit, and so would its end
    return submittedWorkDone(this.#gpu);
  }

  #record(after: AfterCopy): GPUCommandBuffer {
    const encoder = this.#gpu.device.createCommandEncoder({ label: 'upload' });
    after(encoder);
    return encoder.finish();
  }
}

/**
 * From the CPU to a GPU buffer through a bounded number of staging buffers, in one of two ways: into mapped buffers that the GPU
 * copies from, or through queue.writeBuffer. In Chromium on a discrete GPU the first moves 8 to 12 GB/s and the second 1.7 to 3
 * (testing notes); on WebKit a write into an idle queue is a plain memcpy. So `chooseUpload` measures.
 */
import type { StagingOptions } from './staging';

export { bytesPerSecondOf, type ChoiceOptions, type ChosenUpload, chooseUpload } from './choose_upload';
export { stagingBytes } from './staging';
export { createMappedUpload } from './upload_mapped';
export { createWriteUpload } from './upload_write';

export type UploadKind = 'mapped' | 'write';
export type UploadOptions = StagingOptions;

/** Writes every byte that matters of `into`; it may be called for several uploads at once and may be asynchronous. */
export type FillStaging = (into: Uint8Array<ArrayBuffer>) => void | Promise<void>;

/** Records commands that want the uploaded bytes. Runs right before the submit: what it writes through the queue comes before them. */
export type AfterCopy = (encoder: GPUCommandEncoder) => void;

/** One way from the CPU to a GPU buffer, with a bounded number of staging buffers. */
export interface UploadPath {
  readonly kind: UploadKind;
  /** Largest `bytes` of one upload. */
  readonly pieceBytes: number;
  /**
   * Takes a free staging buffer (waits for one, first come first served: this is the back-pressure), lets `fill` write the first
   * `bytes` of it, waits for `turn`, then queues the copy into `target` at `byteOffset`. Resolves when the copy is in the queue, so
   * whatever is submitted later sees it and whatever was submitted earlier does not.
   *
   * `bytes` and `byteOffset` are multiples of 4. `into` holds leftovers of earlier uploads, and is not to be kept after `fill`.
   * `fill` runs in a task that has not lasted long: between synchronous fills the event loop gets its turn every few milliseconds.
   * If `fill` or `turn` rejects or `signal` aborts, the staging buffer is given back and the error thrown, but never before `fill`
   * has ended: until then the buffer is its own.
   * `after` goes with the copy: nothing comes between the two, so uploads with it may share one target.
   * @throws EngineError 'device-lost', 'shape' (sizes); AbortError, also after `destroy`; what `fill`, `turn` or `after` throws.
   */
  upload(
    target: GPUBuffer,
    byteOffset: number,
    bytes: number,
    fill: FillStaging,
    options?: { turn?: Promise<void>; signal?: AbortSignal; after?: AfterCopy },
  ): Promise<void>;
  /** Resolves when every upload so far has reached the GPU and all staging buffers are free. @throws EngineError 'device-lost'; AbortError. */
  idle(): Promise<void>;
  /** Gives the memory back. Uploads that are not in the queue yet reject with AbortError; what `fill` still writes goes nowhere. */
  destroy(): void;
}

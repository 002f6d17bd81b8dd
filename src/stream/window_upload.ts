/**
 * Windows on their way up. Where a checkpoint is not repacked, a ninth of a 4-bit model's bytes are scales and biases that must be
 * interleaved; one thread of JavaScript does that at 3 GB/s, far slower than a page cache reads. With a weaver they go up as they
 * are, into a scratch buffer, and the GPU interleaves them from there into their place.
 */
import type { PairsFill, SlotImage, Window } from '../plan/windows';
import { rawPairs, windowsOf } from '../plan/windows';
import type { FillStaging, UploadPath } from './upload';

/** Interleaves on the GPU; the engine's, because kernels are above this room. */
export interface PairWeaver {
  /** At least an upload piece. One is enough for all: see `record`. */
  readonly scratch: GPUBuffer;
  /** Resolves when `record` may be called. */
  readonly ready: Promise<void>;
  /**
   * Records scratch -> pairs at `byteOffset` of `target`. Parameters go through the queue at once, so this is submitted together
   * with the copy into the scratch buffer before anything else is queued: each use has its bytes and parameters to itself then,
   * because the queue keeps the order.
   */
  record(encoder: GPUCommandEncoder, target: GPUBuffer, byteOffset: number, pairs: PairsFill): void;
}

export class WindowUpload {
  readonly #upload: UploadPath;
  readonly #weaver: PairWeaver | undefined;

  constructor(upload: UploadPath, weaver: PairWeaver | undefined) {
    this.#upload = upload;
    this.#weaver = weaver;
  }

  windowsOf(image: SlotImage): Window[] {
    return windowsOf(image, this.#upload.pieceBytes, { weave: this.#weaver !== undefined });
  }

  /** As `UploadPath.upload`; `fill` gets room for what `WindowFiller.fill` writes. @throws EngineError 'internal' if a pipeline fails. */
  async send(
    { bytes, weave }: Window,
    target: GPUBuffer,
    byteOffset: number,
    fill: FillStaging,
    options: { turn?: Promise<void>; signal?: AbortSignal },
  ): Promise<void> {
    const weaver = this.#weaver;
    if (!weave || !weaver) return this.#upload.upload(target, byteOffset, bytes, fill, options);
    const after = (encoder: GPUCommandEncoder) => weaver.record(encoder, target, byteOffset, weave);
    const fillRaw = async (into: Uint8Array<ArrayBuffer>) => {
      await fill(into);
      await weaver.ready;
    };
    await this.#upload.upload(weaver.scratch, 0, rawPairs(weave).bytes, fillRaw, { ...options, after });
  }
}

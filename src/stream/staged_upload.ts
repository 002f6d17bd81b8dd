import { abortError, EngineError } from '../errors';
import type { Gpu } from '../gpu/device';
import { deviceLostError } from '../gpu/readback';
import { giveWay } from '../storage/store/turns';
import { StagingPool } from './staging';
import type { AfterCopy, FillStaging, UploadKind, UploadPath } from './upload';

/** One staging buffer. */
export interface StagingSlot {
  /** Resolves when it may be filled for the first time. */
  ready(): Promise<void>;
  /** Its first `bytes`, for writing. */
  open(bytes: number): Uint8Array<ArrayBuffer>;
  /**
   * Queues the copy of its first `bytes` and what `after` records behind it; resolves when it may be filled again. If this throws,
   * the slot is as it was and nothing is queued.
   */
  send(target: GPUBuffer, byteOffset: number, bytes: number, after: AfterCopy | undefined): Promise<void>;
}

/** What both ways have in common: slots from a pool, filled, sent in turn, and given back when the GPU is done with them. */
export class StagedUpload implements UploadPath {
  readonly kind: UploadKind;
  readonly pieceBytes: number;
  readonly #gpu: Gpu;
  readonly #pool: StagingPool<StagingSlot>;
  readonly #release: () => void;

  constructor(gpu: Gpu, kind: UploadKind, pieceBytes: number, slots: readonly StagingSlot[], release: () => void) {
    this.#gpu = gpu;
    this.kind = kind;
    this.pieceBytes = pieceBytes;
    this.#release = release;
    this.#pool = new StagingPool(slots.length);
    for (const slot of slots) this.#giveAfter(slot, slot.ready());
    void gpu.device.lost.then(() => this.#pool.end(deviceLostError(gpu)));
  }

  async upload(
    target: GPUBuffer,
    byteOffset: number,
    bytes: number,
    fill: FillStaging,
    { turn, signal, after }: { turn?: Promise<void>; signal?: AbortSignal; after?: AfterCopy } = {},
  ): Promise<void> {
    this.#requireSizes(byteOffset, bytes);
    turn?.catch(() => {}); // where fill throws first, nobody else would hear it
    const slot = await this.#pool.take(signal);
    let into: Uint8Array<ArrayBuffer> | undefined;
    let again: Promise<void>;
    try {
      await giveWay();
      this.#pool.check(signal);
      into = slot.open(bytes);
      await fill(into);
      if (turn) await this.#pool.during(turn, signal);
      this.#pool.check(signal);
      again = slot.send(target, byteOffset, bytes, after);
    } catch (error) {
      this.#pool.give(slot);
      throw await this.#reason(error, into);
    }
    this.#giveAfter(slot, again);
  }

  async idle(): Promise<void> {
    await this.#pool.idle();
  }

  destroy(): void {
    this.#pool.end(abortError('The upload path was destroyed.'));
    this.#release();
  }

  #giveAfter(slot: StagingSlot, usable: Promise<void>): void {
    usable.then(
      () => this.#pool.give(slot),
      (error: unknown) => this.#pool.end(error),
    );
  }

  #requireSizes(byteOffset: number, bytes: number): void {
    if (bytes % 4 === 0 && byteOffset % 4 === 0 && bytes >= 0 && bytes <= this.pieceBytes) return;
    throw new EngineError(
      'shape',
      `An upload of ${bytes} bytes to offset ${byteOffset} is not possible: both must be multiples of 4, and at most ${this.pieceBytes} bytes fit a staging buffer.`,
    );
  }

  /** A lost device unmaps at once and says so later: `fill` has then failed on a detached array, which is not its fault. */
  async #reason(error: unknown, into: Uint8Array | undefined): Promise<unknown> {
    if (this.#pool.ended === undefined && into && into.buffer.byteLength === 0) {
      await Promise.race([this.#gpu.device.lost, new Promise((resolve) => setTimeout(resolve, 1000))]);
    }
    return this.#pool.ended ?? error;
  }
}

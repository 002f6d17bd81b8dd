import { EngineError } from '../errors';

/** Every GPU byte the engine holds is created here, so that the sum can be reported and held to a budget. */
export class GpuMemory {
  #bytes = 0;
  #peakBytes = 0;
  readonly #device: GPUDevice;
  readonly #parent: GpuMemory | undefined;
  /** Bytes of each buffer and reservation that is alive. */
  readonly #alive = new Map<GPUBuffer | Reservation, number>();
  #limit: number | undefined;

  constructor(device: GPUDevice, parent?: GpuMemory) {
    this.#device = device;
    this.#parent = parent;
  }

  /** Bytes of the buffers and reservations that are alive now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The most bytes that were ever alive at once. */
  get peakBytes(): number {
    return this.#peakBytes;
  }

  /** Memory whose buffers can be released together, whoever made them; counted here as well. */
  scope(): GpuMemory {
    return new GpuMemory(this.#device, this);
  }

  /**
   * From now on `create` and `reserve`, here and in scopes of this memory, throw rather than take the counted bytes above `bytes`.
   * Undefined lifts the limit. One below what is alive now takes nothing away: it only lets nothing more be made.
   */
  limit(bytes: number | undefined): void {
    this.#limit = bytes;
  }

  /**
   * @param size bytes; rounded up to a multiple of 16, because kernels address vec4.
   * @throws EngineError 'budget' if the device's largest buffer or, for storage, its largest binding is smaller, or the limit is.
   */
  create(label: string, size: number, usage: GPUBufferUsageFlags): GPUBuffer {
    const bytes = Math.max(16, Math.ceil(size / 16) * 16);
    const { maxBufferSize, maxStorageBufferBindingSize } = this.#device.limits;
    const limit = usage & GPUBufferUsage.STORAGE ? Math.min(maxBufferSize, maxStorageBufferBindingSize) : maxBufferSize;
    if (bytes > limit) {
      throw new EngineError(
        'budget',
        `${label} needs one buffer of ${bytes} bytes; this device allows ${limit}. Lower contextTokens or chunkTokens, or choose a smaller model.`,
      );
    }
    this.#requireWithinLimit(label, bytes);
    const buffer = this.#device.createBuffer({ label, size: bytes, usage });
    this.#count(buffer, buffer.size);
    return buffer;
  }

  /**
   * Counts bytes that the browser holds for us without a buffer that we could see. Ends with its `release`, or with the scope's.
   * @throws EngineError 'budget' if the limit is smaller.
   */
  reserve(label: string, bytes: number): Reservation {
    this.#requireWithinLimit(label, bytes);
    const reservation: Reservation = { bytes, release: () => this.#forget(reservation) };
    this.#count(reservation, bytes);
    return reservation;
  }

  destroy(buffer: GPUBuffer): void {
    this.#forget(buffer);
    buffer.destroy();
  }

  /** Destroys every buffer made here that is still alive, and ends every reservation. */
  release(): void {
    for (const each of [...this.#alive.keys()]) {
      if ('release' in each) each.release();
      else this.destroy(each);
    }
  }

  /**
   * Runs `allocate` inside out-of-memory and validation scopes: on Safari 26 a failure outside a scope is silent.
   * @throws EngineError 'budget' when the device is out of memory, 'internal' when it calls something invalid. What was made
   *   until then stays alive: release the scope.
   */
  async guarded<T>(what: string, allocate: () => T): Promise<T> {
    this.#device.pushErrorScope('validation');
    this.#device.pushErrorScope('out-of-memory');
    let result: T;
    try {
      result = allocate();
    } catch (error) {
      await this.#popScopes(); // left on the stack, they would swallow every later error
      throw error;
    }
    const [outOfMemory, validation] = await this.#popScopes();
    if (outOfMemory) {
      throw new EngineError(
        'budget',
        `The GPU is out of memory for ${what} (${this.#bytes} bytes asked for in all). Lower gpuBudget or contextTokens, or choose a smaller model.`,
      );
    }
    if (validation) throw new EngineError('internal', `${what}: ${validation.message}`);
    return result;
  }

  #popScopes(): Promise<[GPUError | null, GPUError | null]> {
    return Promise.all([this.#device.popErrorScope(), this.#device.popErrorScope()]);
  }

  /** Counting comes before making, so that no moment exceeds the limit. */
  #requireWithinLimit(label: string, bytes: number): void {
    if (this.#limit !== undefined && this.#bytes + bytes > this.#limit) {
      throw new EngineError(
        'budget',
        `${label} needs ${bytes} bytes of GPU memory; of the budget of ${this.#limit} bytes, ${this.#bytes} are taken. Raise gpuBudget, lower contextTokens, or choose a smaller model.`,
      );
    }
    if (this.#parent) this.#parent.#requireWithinLimit(label, bytes);
  }

  #count(key: GPUBuffer | Reservation, bytes: number): void {
    this.#alive.set(key, bytes);
    this.#bytes += bytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
    if (this.#parent) this.#parent.#count(key, bytes);
  }

  #forget(key: GPUBuffer | Reservation): void {
    const bytes = this.#alive.get(key);
    if (bytes === undefined) return; // destroying twice must not count twice
    this.#alive.delete(key);
    this.#bytes -= bytes;
    if (this.#parent) this.#parent.#forget(key);
  }
}

/** Bytes that are counted without a buffer. */
export type Reservation = { readonly bytes: number; release(): void };

/** A piece of a buffer, as a bind group wants it. */
export type BufferRange = { buffer: GPUBuffer; offset?: number; size?: number };

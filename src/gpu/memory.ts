import { EngineError } from '../errors';

/** Every GPU byte the engine holds is created here, so that the sum can be reported and held to a budget. */
export class GpuMemory {
  #bytes = 0;
  #peakBytes = 0;
  readonly #device: GPUDevice;
  readonly #parent: GpuMemory | undefined;
  readonly #alive = new Set<GPUBuffer>();

  constructor(device: GPUDevice, parent?: GpuMemory) {
    this.#device = device;
    this.#parent = parent;
  }

  /** Bytes of the buffers that are alive now. */
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
   * @param size bytes; rounded up to a multiple of 16, because kernels address vec4.
   * @throws EngineError 'budget' if the device's largest buffer or, for storage, its largest binding is smaller.
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
    const buffer = this.#device.createBuffer({ label, size: bytes, usage });
    this.#count(buffer);
    return buffer;
  }

  destroy(buffer: GPUBuffer): void {
    this.#forget(buffer);
    buffer.destroy();
  }

  /** Destroys every buffer made here that is still alive. */
  release(): void {
    for (const buffer of [...this.#alive]) this.destroy(buffer);
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
        `The GPU is out of memory for ${what} (${this.#bytes} bytes asked for in all). Lower contextTokens or choose a smaller model.`,
      );
    }
    if (validation) throw new EngineError('internal', `${what}: ${validation.message}`);
    return result;
  }

  #popScopes(): Promise<[GPUError | null, GPUError | null]> {
    return Promise.all([this.#device.popErrorScope(), this.#device.popErrorScope()]);
  }

  #count(buffer: GPUBuffer): void {
    this.#alive.add(buffer);
    this.#bytes += buffer.size;
    this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
    if (this.#parent) this.#parent.#count(buffer);
  }

  #forget(buffer: GPUBuffer): void {
    if (!this.#alive.delete(buffer)) return; // destroying twice must not count twice
    this.#bytes -= buffer.size;
    if (this.#parent) this.#parent.#forget(buffer);
  }
}

/** A piece of a buffer, as a bind group wants it. */
export type BufferRange = { buffer: GPUBuffer; offset?: number; size?: number };

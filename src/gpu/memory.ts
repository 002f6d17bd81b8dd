import { EngineError } from '../errors';

/** Every GPU byte the engine holds is created here, so that the sum can be reported and held to a budget. */
export class GpuMemory {
  #bytes = 0;
  #peakBytes = 0;
  readonly #device: GPUDevice;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Bytes of the buffers that are alive now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The most bytes that were ever alive at once. */
  get peakBytes(): number {
    return this.#peakBytes;
  }

  /**
   * @param size bytes; rounded up to a multiple of 16, because kernels address vec4.
   * @throws EngineError 'budget' if the device's largest buffer is smaller.
   */
  create(label: string, size: number, usage: GPUBufferUsageFlags): GPUBuffer {
    const bytes = Math.max(16, Math.ceil(size / 16) * 16);
    const limit = this.#device.limits.maxBufferSize;
    if (bytes > limit) {
      throw new EngineError(
        'budget',
        `${label} needs one buffer of ${bytes} bytes; this device allows ${limit}. Lower contextTokens or choose a smaller model.`,
      );
    }
    const buffer = this.#device.createBuffer({ label, size: bytes, usage });
    this.#bytes += bytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
    return buffer;
  }

  destroy(buffer: GPUBuffer): void {
    this.#bytes -= buffer.size;
    buffer.destroy();
  }

  /**
   * Runs `allocate` inside out-of-memory and validation scopes: on Safari 26 a failure outside a scope is silent.
   * @throws EngineError 'budget' when the device is out of memory.
   */
  async guarded<T>(what: string, allocate: () => T): Promise<T> {
    this.#device.pushErrorScope('validation');
    this.#device.pushErrorScope('out-of-memory');
    const result = allocate();
    const [outOfMemory, validation] = await Promise.all([this.#device.popErrorScope(), this.#device.popErrorScope()]);
    if (outOfMemory) {
      throw new EngineError(
        'budget',
        `The GPU is out of memory for ${what} (${this.#bytes} bytes asked for in all). Lower contextTokens or choose a smaller model.`,
      );
    }
    if (validation) throw new EngineError('internal', `${what}: ${validation.message}`);
    return result;
  }
}

/** A piece of a buffer, as a bind group wants it. */
export type BufferRange = { buffer: GPUBuffer; offset?: number; size?: number };

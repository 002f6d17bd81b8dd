/** Turns the fills of a window into its bytes: reads ranges of files and, where a checkpoint is not repacked, interleaves and converts. */
import { dtypeBytes, type FloatDtype } from '../format/types';
import type { Fill } from '../plan/blocks';
import { type PairsFill, rawPairs, type Window } from '../plan/windows';
import type { ByteSource } from '../storage/byte_source';

/** By the name that FileRange.file carries. */
export type Sources = ReadonlyMap<string, ByteSource>;

type Of<Kind extends Fill['kind']> = Extract<Fill, { kind: Kind }>;

/** Fills one window at a time. Its scratch memory grows to the largest window and is then reused: nothing is made per window. */
export class WindowFiller {
  readonly #sources: Sources;
  #scratch = new Uint8Array(0);

  constructor(sources: Sources) {
    this.#sources = sources;
  }

  /**
   * `into` has at least window.bytes bytes, at a multiple of 4. Of a window to `weave` it gets scales and biases as `rawPairs` says.
   * @throws EngineError 'storage' when bytes cannot be read; AbortError. No read is under way then.
   */
  async fill(window: Window, into: Uint8Array<ArrayBuffer>, signal?: AbortSignal): Promise<void> {
    if (window.weave) {
      const { scales, biases } = window.weave;
      const { biasesAt } = rawPairs(window.weave);
      await this.#both(
        window.weave,
        into.subarray(0, scales.byteLength),
        into.subarray(biasesAt, biasesAt + biases.byteLength),
        signal,
      );
      return;
    }
    if (window.gaps) into.fill(0, 0, window.bytes);
    for (const fill of window.fills) await this.#fill(fill, into, signal);
  }

  #fill(fill: Fill, into: Uint8Array<ArrayBuffer>, signal: AbortSignal | undefined): Promise<void> {
    switch (fill.kind) {
      case 'copy':
        return this.#read(fill.from.file, fill.from.byteOffset, into.subarray(fill.at, fill.at + fill.from.byteLength), signal);
      case 'pairs':
        return this.#pairs(fill, into, signal);
      case 'rows':
        return this.#rows(fill, into, signal);
      case 'f32':
        return this.#floats(fill, into, signal);
    }
  }

  #read(file: string, byteOffset: number, into: Uint8Array<ArrayBuffer>, signal: AbortSignal | undefined): Promise<void> {
    return this.#sources.get(file)!.read(byteOffset, into, signal);
  }

  /** One that fails waits for the other: until then that writes into what belongs to the next window. */
  async #both(
    { scales, biases }: PairsFill,
    intoScales: Uint8Array<ArrayBuffer>,
    intoBiases: Uint8Array<ArrayBuffer>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const ends = await Promise.allSettled([
      this.#read(scales.file, scales.byteOffset, intoScales, signal),
      this.#read(biases.file, biases.byteOffset, intoBiases, signal),
    ]);
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }

  async #pairs(fill: PairsFill, into: Uint8Array<ArrayBuffer>, signal?: AbortSignal): Promise<void> {
    const { at, scales, bytes } = fill;
    const length = scales.byteLength;
    const room = Math.ceil(length / 8) * 8;
    const scratch = this.#room(2 * room);
    const [s, b] = [scratch.subarray(0, length), scratch.subarray(room, room + length)];
    await this.#both(fill, s, b, signal);
    interleave(s, b, into.subarray(at, at + 2 * length), bytes);
  }

  async #rows({ at, from, rowBytes, stride }: Of<'rows'>, into: Uint8Array<ArrayBuffer>, signal?: AbortSignal): Promise<void> {
    const packed = this.#room(from.byteLength).subarray(0, from.byteLength);
    await this.#read(from.file, from.byteOffset, packed, signal);
    for (let r = 0; r * rowBytes < packed.byteLength; r++) {
      into.set(packed.subarray(r * rowBytes, (r + 1) * rowBytes), at + r * stride);
    }
  }

  async #floats({ at, from, dtype, transform }: Of<'f32'>, into: Uint8Array<ArrayBuffer>, signal?: AbortSignal): Promise<void> {
    const raw = this.#room(from.byteLength).subarray(0, from.byteLength);
    await this.#read(from.file, from.byteOffset, raw, signal);
    const values = new Float32Array(into.buffer, into.byteOffset + at, from.byteLength / dtypeBytes[dtype]);
    values.set(toFloat32(raw, dtype));
    if (transform === 'addOne') for (let i = 0; i < values.length; i++) values[i]! += 1;
    if (transform === 'negExp') for (let i = 0; i < values.length; i++) values[i] = -Math.exp(values[i]!);
  }

  #room(bytes: number): Uint8Array<ArrayBuffer> {
    if (this.#scratch.byteLength < bytes) this.#scratch = new Uint8Array(bytes);
    return this.#scratch;
  }
}

/** s0 b0 s1 b1 … of elements of `bytes` bytes. `scales` and `biases` start on multiples of 4, `into` too. */
export function interleave(
  scales: Uint8Array<ArrayBuffer>,
  biases: Uint8Array<ArrayBuffer>,
  into: Uint8Array<ArrayBuffer>,
  bytes: 2 | 4,
): void {
  const count = scales.byteLength / bytes;
  const whole = bytes === 4 ? count : count >> 1; // words of scales
  const s = new Uint32Array(scales.buffer, scales.byteOffset, whole);
  const b = new Uint32Array(biases.buffer, biases.byteOffset, whole);
  const out = new Uint32Array(into.buffer, into.byteOffset, 2 * whole);
  if (bytes === 4) {
    for (let i = 0; i < whole; i++) {
      out[2 * i] = s[i]!;
      out[2 * i + 1] = b[i]!;
    }
    return;
  }
  // Two pairs for each word of scales: this loop runs at memory speed, one element at a time does not.
  for (let i = 0; i < whole; i++) {
    const scale = s[i]!;
    const bias = b[i]!;
    out[2 * i] = (scale & 0xffff) | (bias << 16);
    out[2 * i + 1] = (scale >>> 16) | (bias & 0xffff0000);
  }
  if (count % 2 === 1) {
    into.set(scales.subarray(2 * count - 2), 4 * count - 4);
    into.set(biases.subarray(2 * count - 2), 4 * count - 2);
  }
}

/** Little-endian BF16, F16 or F32 bytes as f32; exact. */
export function toFloat32(raw: Uint8Array<ArrayBuffer>, dtype: FloatDtype): Float32Array<ArrayBuffer> {
  if (dtype === 'F32') return new Float32Array(raw.slice().buffer);
  const halves = new Uint16Array(raw.slice().buffer);
  if (dtype === 'BF16') return new Float32Array(Uint32Array.from(halves, (h) => h << 16).buffer);
  return Float32Array.from(halves, halfToFloat);
}

function halfToFloat(h: number): number {
  const sign = h & 0x8000 ? -1 : 1;
  const exponent = (h >> 10) & 31;
  const fraction = h & 1023;
  if (exponent === 0) return sign * 2 ** -24 * fraction;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
}

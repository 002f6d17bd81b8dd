/**
 * Turns a block's fills into aligned pieces of bytes for the GPU, in file order and in bounded memory: a piece is at most
 * `pieceBytes`, which keeps a queue.writeBuffer inside the upload ring of every browser (platform notes: 4 MiB in Chrome).
 */
import type { FloatDtype } from '../format/types';
import type { Block, Fill } from '../plan/blocks';
import type { ByteSource } from '../storage/byte_source';

export const pieceBytes = 4 * 1024 * 1024;

/** Bytes for the block from `at` on; `bytes` is a multiple of 4 and valid until the next piece is asked for. */
export type Piece = { at: number; bytes: Uint8Array<ArrayBuffer> };
export type Sources = ReadonlyMap<string, ByteSource>;

export async function* fillBlock(block: Block, sources: Sources, signal?: AbortSignal): AsyncGenerator<Piece> {
  for (const fill of block.fills) yield* pieces(fill, sources, signal);
}

function pieces(fill: Fill, sources: Sources, signal: AbortSignal | undefined): AsyncGenerator<Piece> {
  switch (fill.kind) {
    case 'copy':
      return copy(fill, sources, signal);
    case 'rows':
      return rows(fill, sources, signal);
    case 'pairs':
      return pairs(fill, sources, signal);
    case 'f32':
      return floats(fill, sources, signal);
  }
}

type Of<Kind extends Fill['kind']> = Extract<Fill, { kind: Kind }>;

async function* copy({ from, at }: Of<'copy'>, sources: Sources, signal?: AbortSignal): AsyncGenerator<Piece> {
  for (let done = 0; done < from.byteLength; done += pieceBytes) {
    const length = Math.min(pieceBytes, from.byteLength - done);
    const bytes = new Uint8Array(Math.ceil(length / 4) * 4); // GPU writes are multiples of 4; blocks are padded for it
    await sources.get(from.file)!.read(from.byteOffset + done, bytes.subarray(0, length), signal);
    yield { at: at + done, bytes };
  }
}

async function* rows({ from, at, rowBytes, stride }: Of<'rows'>, sources: Sources, signal?: AbortSignal): AsyncGenerator<Piece> {
  const total = from.byteLength / rowBytes;
  const most = Math.max(1, Math.floor(pieceBytes / stride));
  for (let first = 0; first < total; first += most) {
    const count = Math.min(most, total - first);
    const packed = new Uint8Array(count * rowBytes);
    await sources.get(from.file)!.read(from.byteOffset + first * rowBytes, packed, signal);
    const bytes = new Uint8Array(count * stride);
    for (let r = 0; r < count; r++) bytes.set(packed.subarray(r * rowBytes, (r + 1) * rowBytes), r * stride);
    yield { at: at + first * stride, bytes };
  }
}

async function* pairs(
  { scales, biases, at, bytes: width }: Of<'pairs'>,
  sources: Sources,
  signal?: AbortSignal,
): AsyncGenerator<Piece> {
  for (let done = 0; done < scales.byteLength; done += pieceBytes / 2) {
    const length = Math.min(pieceBytes / 2, scales.byteLength - done);
    const make = () => (width === 2 ? new Uint16Array(length / 2) : new Uint32Array(length / 4));
    const [s, b] = [make(), make()];
    await Promise.all([
      sources.get(scales.file)!.read(scales.byteOffset + done, new Uint8Array(s.buffer), signal),
      sources.get(biases.file)!.read(biases.byteOffset + done, new Uint8Array(b.buffer), signal),
    ]);
    const both = width === 2 ? new Uint16Array(length) : new Uint32Array(length / 2);
    for (let i = 0; i < s.length; i++) {
      both[2 * i] = s[i]!;
      both[2 * i + 1] = b[i]!;
    }
    yield { at: at + 2 * done, bytes: new Uint8Array(both.buffer) };
  }
}

async function* floats({ from, at, dtype, transform }: Of<'f32'>, sources: Sources, signal?: AbortSignal): AsyncGenerator<Piece> {
  const raw = new Uint8Array(from.byteLength);
  await sources.get(from.file)!.read(from.byteOffset, raw, signal);
  const values = toFloat32(raw, dtype);
  if (transform === 'addOne') for (let i = 0; i < values.length; i++) values[i]! += 1;
  if (transform === 'negExp') for (let i = 0; i < values.length; i++) values[i] = -Math.exp(values[i]!);
  yield { at, bytes: new Uint8Array(values.buffer) };
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

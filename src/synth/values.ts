/**
 * The values of a synthetic checkpoint, made at the speed of a memory copy: a block of random words, and blocks of random scales,
 * biases and BF16 weights per standard deviation, each repeated for ever. A matrix takes the next stretch of its stream, straight from
 * the block, so no byte is computed twice. Blocks have a prime length, so that no two matrices of a model start at one place, and rows
 * that meet the same words again meet them shifted.
 */
import { Random } from '../engine/random';
import { bf16Bits, bf16Value } from '../kernels/reference/half';
import { type Content, type Lean, type SyntheticTensor, subjects, type VectorKind, type WeightFormat } from './tensors';

/** Primes. 64 MiB of words; 2 MiB of scales, biases or weights for each standard deviation. */
const MAX_WORDS = 16_777_213;
const MAX_HALVES = 1_048_573;
/** Different values that a scale or weight may take. */
const TABLE = 1 << 12;

type Bytes = Uint8Array<ArrayBuffer>;

export class SyntheticValues {
  readonly #seed: number;
  readonly #naming: WeightFormat['naming'];
  readonly #tied: boolean;
  readonly #starts = new Map<string, number>();
  readonly #blocks = new Map<string, Bytes>();
  readonly #wanted = new Map<string, number>();

  /** @param tensors in the order of use: it alone decides who gets which stretch. */
  constructor(
    tensors: readonly SyntheticTensor[],
    { seed, naming, tied }: { seed: number; naming: WeightFormat['naming']; tied: boolean },
  ) {
    this.#seed = seed;
    this.#naming = naming;
    this.#tied = tied;
    for (const { name, shape, content } of tensors) {
      if (content.kind === 'vector') continue;
      const stream = streamOf(content);
      const start = this.#wanted.get(stream) ?? 0;
      this.#starts.set(name, start);
      this.#wanted.set(stream, start + elementsOf(shape));
    }
  }

  /** Element of its block that a matrix starts at. */
  startOf(tensor: SyntheticTensor): number {
    return (this.#starts.get(tensor.name) ?? 0) % this.#blockLength(streamOf(tensor.content));
  }

  /** The tensor's bytes as views of the blocks, in order. They must not be changed. */
  *pieces(tensor: SyntheticTensor): Generator<Bytes, void, undefined> {
    const { content, shape } = tensor;
    if (content.kind === 'vector') {
      yield this.#vector(content.of, content.index, elementsOf(shape), tensor.dtype === 'F32');
      return;
    }
    if (content.kind === 'biases' && content.lean) {
      yield this.#leaning(tensor, content.lean);
      return;
    }
    yield* this.#stretch(tensor, content);
  }

  *#stretch(tensor: SyntheticTensor, content: Exclude<Content, { kind: 'vector' }>): Generator<Bytes, void, undefined> {
    const { shape } = tensor;
    const block = this.#block(content);
    const itemBytes = content.kind === 'q' ? 4 : 2;
    let at = this.startOf(tensor) * itemBytes;
    for (let left = elementsOf(shape) * itemBytes; left > 0; ) {
      const bytes = Math.min(left, block.byteLength - at);
      yield block.subarray(at, at + bytes);
      left -= bytes;
      at = 0;
    }
  }

  /** Biases with something added along directions of signs, one for every 64 columns. */
  #leaning(tensor: SyntheticTensor, { rows, common, own, groupSize }: Lean): Bytes {
    const halves = new Uint16Array(elementsOf(tensor.shape));
    const bytes = new Uint8Array(halves.buffer);
    let at = 0;
    for (const piece of this.#stretch(tensor, tensor.content as Exclude<Content, { kind: 'vector' }>)) {
      bytes.set(piece, at);
      at += piece.byteLength;
    }
    const groups = tensor.shape.at(-1)!;
    const direction = new Random(this.#seed ^ hash('direction'));
    const columns = Math.ceil((groups * groupSize) / 64);
    const signs = Array.from({ length: 1 + subjects }, () =>
      Array.from({ length: columns }, () => (direction.next() < 0.5 ? -1 : 1)),
    );
    const chance = new Random(this.#seed ^ hash(tensor.name));
    const amounts = new Float64Array(1 + subjects); // along the common direction, and each subject's
    for (let row = 0; row * groups < halves.length; row++) {
      amounts[0] = common * (rows === 'tokens' ? 1 : normal(chance));
      for (let i = 1; i <= subjects; i++)
        amounts[i] = own === 0 ? 0 : own * (rows === 'tokens' ? Number(row % subjects === i - 1) : normal(chance));
      const lean = Float64Array.from({ length: columns }, (_, column) =>
        amounts.reduce((sum, amount, i) => sum + amount * signs[i]![column]!, 0),
      );
      for (let group = 0; group < groups; group++) {
        const i = row * groups + group;
        halves[i] = bf16Bits(bf16Value(halves[i]!) + lean[Math.floor((group * groupSize) / 64)]!);
      }
    }
    return bytes;
  }

  /** Short for a small model, where every matrix then has words of its own. */
  #blockLength(stream: string): number {
    return Math.min(this.#wanted.get(stream) ?? 1, stream === 'q' ? MAX_WORDS : MAX_HALVES);
  }

  #block(content: Exclude<Content, { kind: 'vector' }>): Bytes {
    const stream = streamOf(content);
    let block = this.#blocks.get(stream);
    if (!block) {
      const length = this.#blockLength(stream);
      block = content.kind === 'q' ? randomWords(this.#seed, length) : this.#halves(content, length);
      this.#blocks.set(stream, block);
    }
    return block;
  }

  #halves(content: Exclude<Content, { kind: 'vector' | 'q' }>, length: number): Bytes {
    const table = content.kind === 'bf16' ? weightTable(content.deviation) : pairTable(content)[content.kind];
    const seed = this.#seed ^ hash(`${content.deviation}`); // the same picks for a matrix's scales and its biases
    const picks = new Uint16Array(randomWords(seed, Math.ceil(length / 2)).buffer);
    const halves = new Uint16Array(length);
    for (let i = 0; i < length; i++) halves[i] = table[picks[i]! % TABLE]!;
    return new Uint8Array(halves.buffer);
  }

  #vector(of: VectorKind, index: number, length: number, f32: boolean): Bytes {
    const random = new Random(this.#seed * 2 ** 20 + index);
    const zeroCentred = this.#naming === 'original' && of !== 'plainNorm' && /norm$/i.test(of);
    const draw = () => vectorValue(of, random, this.#tied) - (zeroCentred ? 1 : 0);
    const values = Float32Array.from({ length }, draw);
    return new Uint8Array(f32 ? values.buffer : Uint16Array.from(values, bf16Bits).buffer);
  }
}

/** Streams that never share a block. A matrix has as many scales as biases, so it begins at the same element of both streams. */
function streamOf(content: Content): string {
  if (content.kind === 'q' || content.kind === 'vector') return content.kind;
  return content.kind === 'bf16' ? `bf16 ${content.deviation}` : `${content.kind} ${content.bits} ${content.deviation}`;
}

function elementsOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Of deviation 1, by the sum of twelve. */
function normal(random: Random): number {
  let sum = -6;
  for (let i = 0; i < 12; i++) sum += random.next();
  return sum;
}

function spread(random: Random, mean: number, deviation: number): number {
  return mean + deviation * Math.sqrt(12) * (random.next() - 0.5);
}

function vectorValue(of: VectorKind, random: Random, tied: boolean): number {
  switch (of) {
    case 'norm':
    case 'plainNorm':
      return spread(random, 1, 0.1);
    case 'qkNorm': // scores of deviation 2, so that attention picks out a few tokens even of a long context
      return spread(random, 1.4, 0.1);
    case 'finalNorm': {
      // With a tied head the stream still holds its own token's row, whose logit would win for ever; random signs hide it.
      const value = spread(random, 1, 0.1);
      return tied && random.next() < 0.5 ? -value : value;
    }
    case 'conv':
      return spread(random, 0, 0.5);
    case 'aLog': // A in [0.5, 16) and steps of 0.001 to 0.1, as the architecture is initialised: memories of 1 to 2,000 tokens
      return Math.log(0.5 + 15.5 * random.next());
    case 'dtBias':
      return Math.log(Math.expm1(10 ** (-3 + 2 * random.next())));
  }
}

/**
 * Scales with either sign and within a quarter of their mean, cut to 4 significant bits, so that the bias -scale * (2^bits - 1) / 2 is
 * exact in BF16 and every group has mean 0. Uniform q has standard deviation sqrt((4^bits - 1) / 12).
 */
function pairTable({ bits, deviation }: { bits: number; deviation: number }): { scales: Uint16Array; biases: Uint16Array } {
  const mean = deviation / Math.sqrt((4 ** bits - 1) / 12) / Math.sqrt(1 + 0.25 ** 2 / 3);
  const scales = Float64Array.from({ length: TABLE }, (_, i) => {
    const size = mean * (0.75 + (0.5 * (i >> 1)) / (TABLE / 2 - 1));
    const unit = 2 ** (Math.floor(Math.log2(size)) - 3);
    return Math.round(size / unit) * unit * (i % 2 === 0 ? 1 : -1);
  });
  const bias = -(2 ** bits - 1) / 2;
  return { scales: Uint16Array.from(scales, bf16Bits), biases: Uint16Array.from(scales, (scale) => bf16Bits(scale * bias)) };
}

/** Uniform weights of mean 0. */
function weightTable(deviation: number): Uint16Array {
  return Uint16Array.from({ length: TABLE }, (_, i) => bf16Bits(deviation * Math.sqrt(12) * ((i + 0.5) / TABLE - 0.5)));
}

/** FNV-1a, to give every stream a seed of its own. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value >>> 0;
}

/** xoroshiro64* of Blackman and Vigna: 64 bits of state, a few times as fast as Random. */
function randomWords(seed: number, length: number): Bytes {
  const start = new Random(seed);
  let s0 = (start.next() * 2 ** 32) | 1;
  let s1 = (start.next() * 2 ** 32) | 0;
  const words = new Uint32Array(length);
  for (let i = 0; i < length; i++) {
    words[i] = Math.imul(s0, 0x9e3779bb);
    s1 ^= s0;
    s0 = ((s0 << 26) | (s0 >>> 6)) ^ s1 ^ (s1 << 9);
    s1 = (s1 << 13) | (s1 >>> 19);
  }
  return new Uint8Array(words.buffer);
}

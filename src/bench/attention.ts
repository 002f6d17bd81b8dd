/** Times the ways to attend for several tokens at several places of a context, and checks a sample of rows against float64. */
import { Random } from '../engine/random';
import { EngineError } from '../errors';
import type { Gpu } from '../gpu/device';
import { encode } from '../gpu/dispatch';
import type { Kernel } from '../gpu/kernel';
import { type AttentionShape, attentionCandidates } from '../kernels/attention';
import { attentionReference } from '../kernels/reference/attention';
import { halfBits, halfValue } from '../kernels/reference/half';
import { packStep } from '../kernels/step';
import type { Effort } from './ceilings';
import { sample } from './check';
import { createFiller } from './probes';
import { readRanges } from './read_ranges';
import { relativeError } from './statistics';
import { timeWork } from './timing';

export type AttentionBench = {
  shape: AttentionShape;
  tokens: readonly number[];
  /** Positions of the first token: keys before the step. */
  contexts: readonly number[];
  effort: Effort;
  /** A part of `attention <tokens> at <context> <candidate>`. */
  only?: string;
  onRows?(rows: readonly AttentionRow[]): void;
};

export type AttentionRow = {
  tokens: number;
  context: number;
  candidate: string;
  outcome: 'right' | 'wrong' | 'failed';
  error?: number;
  reason?: string;
  us?: number;
  spread?: number;
  tflops?: number;
  best: boolean;
};

const tolerance = 1e-4;
const sampledRows = 4;
/** Keys and values repeat after so many positions: a prime, so that no block of keys is another's twin. */
const period = 4093;

export async function benchAttention(gpu: Gpu, bench: AttentionBench): Promise<AttentionRow[]> {
  const all: AttentionRow[] = [];
  for (const context of bench.contexts) {
    for (const tokens of bench.tokens) {
      const own = { ...gpu, memory: gpu.memory.scope() };
      try {
        const rows = await benchPlace(own, bench, tokens, context);
        if (rows.length > 0) bench.onRows?.(rows);
        all.push(...rows);
      } finally {
        own.memory.release();
      }
    }
  }
  return all;
}

async function benchPlace(gpu: Gpu, bench: AttentionBench, tokens: number, context: number): Promise<AttentionRow[]> {
  const { shape, only = '', effort } = bench;
  const candidates = attentionCandidates(shape).filter(({ name }) => `attention ${tokens} at ${context} ${name}`.includes(only));
  if (candidates.length === 0) return [];
  const place = await Place.create(gpu, shape, tokens, context);
  const rows: AttentionRow[] = [];
  for (const { name, create } of candidates) {
    const row = { tokens, context, candidate: name, best: false };
    try {
      const kernel = create(gpu);
      await kernel.ready;
      const error = await place.check(kernel);
      const timing = await place.time(kernel, effort);
      const right = error <= tolerance;
      rows.push({ ...row, outcome: right ? 'right' : 'wrong', error, ...timing });
      if (!right) rows.at(-1)!.reason = `relative error ${error.toExponential(1)}`;
    } catch (error) {
      if (error instanceof EngineError && error.code === 'device-lost') throw error;
      rows.push({ ...row, outcome: 'failed', reason: (error as Error).message.split('\n')[0]! });
    }
  }
  const right = rows.filter(({ outcome }) => outcome === 'right');
  if (right.length > 0) right.reduce((best, row) => (row.us! < best.us! ? row : best)).best = true;
  return rows;
}

/** Queries, cache and a step at one place. */
class Place {
  readonly #gpu: Gpu;
  readonly #shape: AttentionShape;
  readonly #tokens: number;
  readonly #context: number;
  readonly #buffers: Record<'q' | 'qGate' | 'keys' | 'values' | 'y' | 'step', GPUBuffer>;
  #want: { rows: number[]; values: Float64Array } | undefined;

  private constructor(gpu: Gpu, shape: AttentionShape, tokens: number, context: number) {
    const { heads, kvHeads, headDim, kv } = shape;
    this.#gpu = gpu;
    this.#shape = shape;
    this.#tokens = tokens;
    this.#context = context;
    const { STORAGE, COPY_SRC, UNIFORM, COPY_DST } = GPUBufferUsage;
    const create = (name: string, bytes: number) => gpu.memory.create(`bench ${name}`, bytes, STORAGE | COPY_SRC | COPY_DST);
    const cacheBytes = (context + tokens) * kvHeads * headDim * (kv === 'f16' ? 2 : 4);
    const width = tokens * heads * headDim * 4;
    const step = packStep({ tokens, position: context });
    this.#buffers = {
      ...{ q: create('q', width), qGate: create('gate', 2 * width), y: create('y', width) },
      ...{ keys: create('keys', cacheBytes), values: create('values', cacheBytes) },
      step: gpu.memory.create('bench step', step.byteLength, UNIFORM | COPY_DST),
    };
    gpu.device.queue.writeBuffer(this.#buffers.step, 0, step);
  }

  static async create(gpu: Gpu, shape: AttentionShape, tokens: number, context: number): Promise<Place> {
    const place = await gpu.memory.guarded(`attention at ${context}`, () => new Place(gpu, shape, tokens, context));
    const filler = await createFiller(gpu, 4);
    filler.values(place.#buffers.q, { seed: 1, scale: 3 });
    filler.values(place.#buffers.qGate, { seed: 2, scale: 4 });
    place.#fillCache(place.#buffers.keys, 3);
    place.#fillCache(place.#buffers.values, 4);
    return place;
  }

  #fillCache(buffer: GPUBuffer, seed: number): void {
    const { kvHeads, headDim, kv } = this.#shape;
    const count = Math.min(period, this.#context + this.#tokens) * kvHeads * headDim;
    const random = new Random(seed);
    const numbers = Float32Array.from({ length: count }, () => 2 * random.next() - 1);
    const data = kv === 'f16' ? Uint16Array.from(numbers, halfBits) : numbers;
    for (let at = 0; at < buffer.size; at += data.byteLength) {
      const bytes = Math.min(data.byteLength, buffer.size - at);
      this.#gpu.device.queue.writeBuffer(buffer, at, data.buffer, 0, bytes);
    }
  }

  /** Relative error of a few tokens, all heads. @throws EngineError 'internal' with what WebGPU's validation says. */
  async check(kernel: Kernel): Promise<number> {
    this.#want ??= await this.#reference();
    const { heads, headDim } = this.#shape;
    const byteLength = heads * headDim * 4;
    const { y } = this.#buffers;
    await this.#gpu.memory.guarded(kernel.label, () => {
      const encoder = this.#gpu.device.createCommandEncoder();
      encoder.clearBuffer(y);
      const pass = encoder.beginComputePass();
      this.#encode(kernel)(pass, 0, 1);
      pass.end();
      this.#gpu.device.queue.submit([encoder.finish()]);
    });
    const bytes = await readRanges(
      this.#gpu,
      this.#want.rows.map((token) => ({ buffer: y, byteOffset: token * byteLength, byteLength })),
    );
    return relativeError(Array.from(new Float32Array(bytes)), this.#want.values);
  }

  async time(kernel: Kernel, effort: Effort): Promise<{ us: number; spread: number; tflops: number }> {
    const { heads, headDim } = this.#shape;
    const { median, spread } = await timeWork(this.#gpu, this.#encode(kernel), effort);
    const seen = this.#tokens * this.#context + (this.#tokens * (this.#tokens + 1)) / 2;
    return { us: 1000 * median, spread, tflops: (4 * heads * headDim * seen) / median / 1e9 };
  }

  #encode(kernel: Kernel): (pass: GPUComputePassEncoder, first: number, count: number) => void {
    const ranges = Object.fromEntries(Object.entries(this.#buffers).map(([name, buffer]) => [name, { buffer }]));
    const dispatch = { kernel, activations: kernel.bind(ranges), rows: 0 };
    return (pass, _, count) => {
      for (let i = 0; i < count; i++) encode(pass, [dispatch], this.#tokens);
    };
  }

  async #reference() {
    const { heads, headDim, kvHeads, kv } = this.#shape;
    const { q, qGate, keys, values } = this.#buffers;
    const rows = sample(this.#tokens, sampledRows, 5);
    const width = heads * headDim * 4;
    const all = async (buffer: GPUBuffer) => {
      const bytes = await readRanges(this.#gpu, [{ buffer, byteOffset: 0, byteLength: buffer.size }]);
      return kv === 'f16' ? Float32Array.from(new Uint16Array(bytes), halfValue) : new Float32Array(bytes);
    };
    const cache = { keys: await all(keys), values: await all(values) };
    const want: number[] = [];
    for (const token of rows) {
      const own = async (buffer: GPUBuffer, bytes: number) =>
        new Float32Array(await readRanges(this.#gpu, [{ buffer, byteOffset: token * bytes, byteLength: bytes }]));
      const inputs = { q: await own(q, width), qGate: await own(qGate, 2 * width), ...cache };
      const shape = { tokens: 1, position: this.#context + token, heads, kvHeads, headDim };
      want.push(...attentionReference(inputs, shape));
    }
    return { rows, values: Float64Array.from(want) };
  }
}

/** One matrix times a number of tokens, as a chain runs it: what a candidate is checked and timed on. */
import type { Gpu } from '../gpu/device';
import { type Dispatch, encode } from '../gpu/dispatch';
import type { Kernel } from '../gpu/kernel';
import { createQuantise } from '../kernels/gemv';
import { packStep } from '../kernels/step';
import { type ActivationDtype, type UnitDtype, unitBytes } from '../kernels/variants';
import type { Effort } from './ceilings';
import { checkProduct, type Expected, expectProduct, guardValues, poison, type SampledWeights, type Verdict } from './check';
import type { BenchMatrix } from './matrices';
import type { Filler } from './probes';
import { timeWork } from './timing';
import type { WeightPart, Weights } from './weights';

/**
 * How x comes to a kernel. `ready`: units that are there already, which is the product alone (its dispatches still follow one
 * another, since all of them write one y); else they are made anew before every product.
 */
export type Activations = { dtype: ActivationDtype; ready?: boolean };

export type ProductTime = { us: number; spread: number; batches: number; gbPerSecond: number; tflops: number };

/** Two buffers take turns as x and y. */
export class Product {
  readonly row: { matrix: string; rows: number; cols: number; perToken: number; tokens: number };
  readonly #gpu: Gpu;
  readonly #weights: Weights;
  readonly #sampled: SampledWeights;
  readonly #filler: Filler;
  readonly #activations: readonly [GPUBuffer, GPUBuffer];
  readonly #step: GPUBuffer;
  readonly #quantisers = new Map<UnitDtype, { kernel: Kernel; y: GPUBuffer }>();
  #expected: Expected | undefined;

  private constructor(
    gpu: Gpu,
    { label, rows, cols, perToken }: BenchMatrix,
    tokens: number,
    weights: Weights,
    sampled: SampledWeights,
    filler: Filler,
  ) {
    this.row = { matrix: label, rows, cols, perToken, tokens };
    this.#gpu = gpu;
    this.#weights = weights;
    this.#sampled = sampled;
    this.#filler = filler;
    const { STORAGE, COPY_SRC, UNIFORM, COPY_DST } = GPUBufferUsage;
    const bytes = (tokens * Math.max(rows, cols) + guardValues) * 4;
    const create = (label: string) => gpu.memory.create(label, bytes, STORAGE | COPY_SRC);
    this.#activations = [create('bench x'), create('bench y')];
    const step = packStep({ tokens });
    this.#step = gpu.memory.create('bench step', step.byteLength, UNIFORM | COPY_DST);
    gpu.device.queue.writeBuffer(this.#step, 0, step);
  }

  static create(
    gpu: Gpu,
    matrix: BenchMatrix,
    tokens: number,
    weights: Weights,
    sampled: SampledWeights,
    filler: Filler,
  ): Promise<Product> {
    return gpu.memory.guarded(
      `the activations of ${tokens} tokens`,
      () => new Product(gpu, matrix, tokens, weights, sampled, filler),
    );
  }

  destroy(): void {
    const codes = [...this.#quantisers.values()].map(({ y }) => y);
    for (const buffer of [...this.#activations, this.#step, ...codes]) this.#gpu.memory.destroy(buffer);
  }

  /** A kernel that is told no number of tokens takes one. */
  takes(kernel: Kernel): boolean {
    return this.row.tokens === 1 || kernel.bindings.includes('step');
  }

  /** @throws EngineError 'internal' with what WebGPU's validation says. */
  async check(kernel: Kernel, activations: Activations): Promise<Verdict> {
    const [x, y] = this.#activations;
    const { tokens, rows: outCols, cols } = this.row;
    this.#filler.values(x, { seed: 1, scale: 1 });
    this.#expected ??= await expectProduct(this.#gpu, this.#sampled, cols, { buffer: x, tokens });
    this.#filler.values(y, { seed: 0, scale: 0, offset: poison });
    const { dtype, ready } = activations;
    if (dtype !== 'f32') await this.#prepareQuantiser(dtype);
    const chain = this.#chain(kernel, activations);
    await this.#gpu.memory.guarded(kernel.label, () =>
      this.#submit((pass) => {
        if (ready && dtype !== 'f32') encode(pass, [this.#quantise(x, dtype)], tokens);
        encode(pass, chain(0), tokens);
      }),
    );
    return checkProduct(this.#gpu, this.#sampled, this.#expected, { buffer: y, tokens, outCols });
  }

  /** After a check. */
  async time(kernel: Kernel, activations: Activations, effort: Effort): Promise<ProductTime> {
    const { tokens, rows, cols } = this.row;
    const chain = this.#chain(kernel, activations);
    const { median, spread, count } = await timeWork(
      this.#gpu,
      (pass, first, count) => {
        for (let i = first; i < first + count; i++) encode(pass, chain(i), tokens);
      },
      {
        ...effort,
        warmUp: this.#gpu.adapter.isCpu ? 1 : this.#weights.copies.length,
        // Values that neither fade nor explode however many products a batch has: what a product costs may depend on them.
        before: () => {
          for (const buffer of this.#activations) this.#filler.values(buffer, { seed: 1, scale: 1 });
        },
      },
    );
    return {
      us: median * 1000,
      spread,
      batches: count,
      gbPerSecond: this.#weights.bytes / median / 1e6,
      tflops: (2 * rows * cols * tokens) / median / 1e9,
    };
  }

  /** What product `index` of a chain dispatches. */
  #chain(kernel: Kernel, { dtype, ready }: Activations): (index: number) => Dispatch[] {
    const [a, b] = this.#activations;
    const products = (x: GPUBuffer, y: GPUBuffer): Dispatch[][] =>
      this.#weights.copies.map((parts) =>
        parts.map((part) => ({ kernel, activations: this.#bind(kernel, x, y, part), slab: part.slab, rows: part.rows })),
      );
    const of = (copies: Dispatch[][], index: number): Dispatch[] => copies[index % copies.length]!;
    if (dtype === 'f32') {
      const ways = [products(a, b), products(b, a)] as const;
      return (index) => of(ways[index % 2]!, index);
    }
    const codes = this.#quantisers.get(dtype)!.y;
    const ways = [products(codes, b), products(codes, a)] as const;
    if (ready) return (index) => of(ways[0], index);
    const quantise = [this.#quantise(a, dtype), this.#quantise(b, dtype)] as const;
    return (index) => [quantise[index % 2]!, ...of(ways[index % 2]!, index)];
  }

  async #prepareQuantiser(dtype: UnitDtype): Promise<void> {
    if (this.#quantisers.has(dtype)) return;
    const { cols, tokens } = this.row;
    const kernel = createQuantise(this.#gpu, { cols, y: dtype });
    const y = this.#gpu.memory.create(`bench ${dtype}`, unitBytes(tokens * cols, dtype), GPUBufferUsage.STORAGE);
    this.#quantisers.set(dtype, { kernel, y });
    await kernel.ready;
  }

  #quantise(x: GPUBuffer, dtype: UnitDtype): Dispatch {
    const { kernel, y } = this.#quantisers.get(dtype)!;
    return {
      kernel,
      activations: kernel.bind({ x: { buffer: x }, units: { buffer: y }, step: { buffer: this.#step } }),
      rows: 0,
    };
  }

  /** Whole buffers, so that a write behind the end of y lands in the guard. */
  #bind(kernel: Kernel, x: GPUBuffer, y: GPUBuffer, part: WeightPart): GPUBindGroup {
    const ranges = { x: { buffer: x }, y: { buffer: y }, step: { buffer: this.#step } };
    return kernel.bind(Object.fromEntries(Object.entries(ranges).filter(([name]) => kernel.bindings.includes(name))), part);
  }

  #submit(record: (pass: GPUComputePassEncoder) => void): void {
    const { device } = this.#gpu;
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    record(pass);
    pass.end();
    device.queue.submit([encoder.finish()]);
  }
}

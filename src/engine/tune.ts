/**
 * Which kernel multiplies one token fastest by the matrices of a model on this device: those that stand to choose are run in a
 * recording's own place, on its own weights. What came out is kept by whoever gives a store; without one nothing is measured, and fixed
 * rules decide, as they always do for prompts: what was measured for a chunk ran alone, and on an H200 prompts of 9B shapes then took a
 * third longer.
 */
import { clockTick } from '../gpu/clock';
import type { Gpu } from '../gpu/device';
import { type Dispatch, encode } from '../gpu/dispatch';
import type { Kernel } from '../gpu/kernel';
import { submittedWorkDone } from '../gpu/readback';
import { type Candidate, type ProductShape, usualTolerance } from '../kernels/candidates';
import { createQuantise, gemvCandidates, gemvUnitCandidates } from '../kernels/gemv';
import { packStep } from '../kernels/step';
import { type ActivationDtype, isAffine4, unitBytes } from '../kernels/variants';
import { type RecordedProduct, rowsOf } from '../model/recorder';
import type { Scratch } from '../model/scratch';
import { Random } from './random';

/** Where names of kernels are kept, by text that says everything they depend on. */
export type ChoiceStore = { get(key: string): Promise<string | undefined>; set(key: string, name: string): Promise<unknown> };

/** What a measurement needs of a session. `read`: bytes of a buffer. */
export type TuneParts = {
  gpu: Gpu;
  products: readonly RecordedProduct[];
  scratch: Scratch;
  /** Default: all that src/kernels has. */
  candidates?: typeof candidatesFor;
  read(source: GPUBuffer, byteOffset: number, into: Uint8Array<ArrayBuffer>): Promise<void>;
};

/** Products of one shape: one kernel runs them all. */
type Group = {
  key: string;
  shape: ProductShape;
  x: ActivationDtype;
  products: RecordedProduct[];
  usual: Kernel;
  candidates: Candidate[];
};

/** Time for all of it. */
const mostMs = 1000;
/** Of one timing: several submits' worth, and so many ticks of the clock, which a browser may let stand for a millisecond. */
const timingMs = 5;
const timingTicks = 20;
/** Dispatches of one timing, which read different weights where there are any: more than a cache holds. */
const mostDispatches = 16;
/** What a kernel must save to take the usual one's place: less is noise. */
const leastGain = 0.05;
/** Stands for the kernel that fixed rules choose. */
const usualName = 'usual';

export class Tuner {
  readonly #parts: TuneParts;
  readonly #store: ChoiceStore;
  readonly #groups: Group[];
  readonly #known = new Set<Group>();

  constructor(parts: TuneParts, store: ChoiceStore) {
    this.#parts = parts;
    this.#store = store;
    this.#groups = parts.gpu.direct || parts.gpu.adapter.isCpu ? [] : groupsOf(parts);
  }

  /** Puts in place what was found before; to be called before anything is waited for that the usual kernels need. */
  async recall(): Promise<void> {
    for (const group of this.#groups) {
      const name = await this.#store.get(group.key).catch(() => undefined);
      if (name === undefined) continue;
      this.#known.add(group);
      const candidate = group.candidates.find((one) => one.name === name);
      if (candidate) this.#use(group, candidate.create(this.#parts.gpu));
    }
  }

  /**
   * Measures what is not known, at most a second in all; what is left waits for another time. All weights must be in place, and nothing
   * else may run.
   */
  async measure(ms = mostMs): Promise<void> {
    const until = performance.now() + ms;
    const leastMs = Math.max(timingMs, timingTicks * clockTick());
    const unknown = this.#groups.filter((group) => !this.#known.has(group));
    let next = unknown[0] && compile(this.#parts.gpu, unknown[0]);
    for (const [i, group] of unknown.entries()) {
      const compiled = await before(until, next!);
      if (!compiled || performance.now() >= until) return;
      next = unknown[i + 1] && compile(this.#parts.gpu, unknown[i + 1]!);
      const { best, whole } = await this.#fastest(group, compiled, { until, leastMs });
      if (best) this.#use(group, best.kernel);
      // Cut short with all the time there is, it would be again; one that came late has its turn the next time.
      if (!whole && i > 0) return;
      await this.#store.set(group.key, best?.candidate.name ?? usualName).catch(() => {}); // measured again next time
    }
  }

  /** Of those that compute what the usual kernel does and save time; undefined where none does. */
  async #fastest(
    group: Group,
    compiled: readonly Compiled[],
    { until, leastMs }: { until: number; leastMs: number },
  ): Promise<{ best: Compiled | undefined; whole: boolean }> {
    await this.#prepare(group);
    const want = await this.#results(group, group.usual);
    const repeats = Math.min(64, Math.ceil(leastMs / (await this.#ms(group, group.usual, 1))));
    const timed = async (kernel: Kernel) =>
      Math.min(await this.#ms(group, kernel, repeats), await this.#ms(group, kernel, repeats));
    let bestMs = (await timed(group.usual)) * (1 - leastGain);
    let best: Compiled | undefined;
    for (const one of compiled) {
      if (performance.now() > until) return { best, whole: false };
      const { kernel, candidate } = one;
      const error = relativeError(await this.#results(group, kernel), want);
      if (!(error <= (candidate.tolerance ?? usualTolerance))) continue;
      const ms = await timed(kernel);
      if (ms < bestMs) [bestMs, best] = [ms, one];
    }
    return { best, whole: true };
  }

  /** x of every dispatch: random values, or what quantise makes of them. */
  async #prepare({ shape: { cols }, x, products }: Group): Promise<void> {
    const { gpu, scratch } = this.#parts;
    const { step, ...buffers } = scratch;
    const { buffer, offset = 0 } = products[0]!.input;
    if (x === 'f32') return fill(gpu, buffer, offset, cols);
    const values = [buffers.qGate, buffers.gate, buffers.qkv].find(({ size }) => size >= cols * 4)!;
    fill(gpu, values, 0, cols);
    gpu.device.queue.writeBuffer(step, 0, packStep({ tokens: 1 }));
    const kernel = createQuantise(gpu, { cols, y: x });
    await kernel.ready;
    const y = { buffer, offset, size: unitBytes(cols, x) };
    const activations = kernel.bind({ units: y, x: { buffer: values }, step: { buffer: step } });
    await this.#run((pass) => encode(pass, [{ kernel, activations, rows: 0 }], 1));
    // What a product convolves is the same however often, and the state stays as it is, in a step of no tokens.
    gpu.device.queue.writeBuffer(step, 0, packStep({ tokens: 0 }));
  }

  /** What the first product gives. */
  async #results({ products }: Group, kernel: Kernel): Promise<Float32Array> {
    const { output } = products[0]!;
    const { buffer, offset = 0, size = buffer.size } = output;
    await this.#run((pass) => encode(pass, [placed(products[0]!, kernel)], 1), output);
    const all = new Uint8Array(size);
    await this.#parts.read(buffer, offset, all);
    return new Float32Array(all.buffer);
  }

  async #ms({ products }: Group, kernel: Kernel, repeats: number): Promise<number> {
    const dispatches = products.slice(0, mostDispatches).map((one) => placed(one, kernel));
    const started = performance.now();
    await this.#run((pass) => {
      for (let i = 0; i < repeats; i++) encode(pass, dispatches, 1);
    });
    return performance.now() - started;
  }

  async #run(record: (pass: GPUComputePassEncoder) => void, clear?: { buffer: GPUBuffer; offset?: number; size?: number }) {
    const { gpu } = this.#parts;
    const encoder = gpu.device.createCommandEncoder({ label: 'tune' });
    if (clear) encoder.clearBuffer(clear.buffer, clear.offset, clear.size);
    const pass = encoder.beginComputePass();
    record(pass);
    pass.end();
    gpu.device.queue.submit([encoder.finish()]);
    await submittedWorkDone(gpu);
  }

  #use({ products }: Group, kernel: Kernel): void {
    for (const product of products) Object.assign(product.dispatch, placed(product, kernel));
  }
}

const placed = ({ rows, dispatch }: RecordedProduct, kernel: Kernel): Dispatch => ({
  ...dispatch,
  kernel,
  rows: rowsOf(kernel, rows),
});

/** The largest first: it is worth most to know them. */
function groupsOf(parts: TuneParts): Group[] {
  const groups = new Map<string, Group>();
  for (const product of parts.products) {
    const { shape, x } = product;
    if (!isAffine4(shape.format)) continue;
    const id = JSON.stringify([shape, x]);
    const known = groups.get(id);
    if (known) known.products.push(product);
    else groups.set(id, newGroup(parts, product));
  }
  const size = ({ shape, products }: Group) => shape.cols * shape.outCols * products.length;
  return [...groups.values()].sort((a, b) => size(b) - size(a));
}

function newGroup({ gpu, candidates: list = candidatesFor }: TuneParts, product: RecordedProduct): Group {
  const { x, dispatch, shape } = product;
  const usual = dispatch.kernel;
  const candidates = list(gpu, shape, x);
  const { vendor, architecture, description } = gpu.adapter;
  const host = globalThis.navigator?.userAgent ?? '';
  const names = candidates.map(({ name }) => name);
  const key = JSON.stringify([2, vendor, architecture, description, host, gpu.subgroups, shape, x, names, usual.digest]);
  return { key, shape, x, products: [product], usual, candidates };
}

function candidatesFor(gpu: Gpu, shape: ProductShape, x: ActivationDtype): Candidate[] {
  return x === 'f32' ? gemvCandidates(gpu, shape) : gemvUnitCandidates(gpu, shape).filter((one) => one.x === x);
}

type Compiled = { candidate: Candidate; kernel: Kernel };

/** Side by side; those that do not compile are out. */
async function compile(gpu: Gpu, { candidates, usual }: Group): Promise<Compiled[]> {
  const all = await Promise.all(
    candidates.map(async (candidate): Promise<Compiled[]> => {
      try {
        const kernel = candidate.create(gpu);
        await kernel.ready;
        return kernel.digest !== usual.digest ? [{ candidate, kernel }] : [];
      } catch {
        return [];
      }
    }),
  );
  return all.flat();
}

/** What `promise` gives, unless that takes longer than until `time`. */
function before<T>(time: number, promise: Promise<T>): Promise<T | undefined> {
  return Promise.race([
    promise,
    new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), Math.max(0, time - performance.now()))),
  ]);
}

/** `count` f32 in [-1, 1), the same ones each time. */
function fill(gpu: Gpu, buffer: GPUBuffer, offset: number, count: number): void {
  const random = new Random(1);
  gpu.device.queue.writeBuffer(
    buffer,
    offset,
    Float32Array.from({ length: count }, () => 2 * random.next() - 1),
  );
}

/** Infinite, or not a number, where values are. */
function relativeError(got: Float32Array, want: Float32Array): number {
  let off = 0;
  let size = 0;
  for (const [i, value] of want.entries()) {
    off += (got[i]! - value) ** 2;
    size += value ** 2;
  }
  return Math.sqrt(off / size);
}

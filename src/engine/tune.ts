/**
 * Which kernel multiplies fastest by the matrices of a model on this device: those that stand to choose are run in a recording's own
 * place, on its own weights. What came out is kept by whoever gives a store; without one nothing is measured, and fixed rules decide.
 */
import type { Gpu } from '../gpu/device';
import { type Dispatch, encode } from '../gpu/dispatch';
import { type Kernel, kernelByTokens } from '../gpu/kernel';
import { submittedWorkDone } from '../gpu/readback';
import { type Candidate, type ProductShape, usualTolerance } from '../kernels/candidates';
import { gemmCandidates } from '../kernels/gemm';
import { createQuantise, gemvCandidates, gemvFastCandidates } from '../kernels/gemv';
import { packStep } from '../kernels/step';
import { type ActivationDtype, intBytes, isAffine4 } from '../kernels/variants';
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
  chunkTokens: number;
  /** Default: all that src/kernels has. */
  candidates?: typeof candidatesFor;
  read(source: GPUBuffer, byteOffset: number, into: Uint8Array<ArrayBuffer>): Promise<void>;
};

/** Products of one shape: one kernel runs them all. */
type Group = {
  key: string;
  tokens: number;
  shape: ProductShape;
  x: ActivationDtype;
  products: RecordedProduct[];
  usual: Kernel;
  candidates: Candidate[];
};

/** Time for all of it. */
const mostMs = 1000;
/** Of one timing: several submits' worth. */
const timingMs = 5;
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
    const unknown = this.#groups.filter((group) => !this.#known.has(group));
    let next = unknown[0] && compile(this.#parts.gpu, unknown[0]);
    for (const [i, group] of unknown.entries()) {
      const compiled = await before(until, next!);
      if (!compiled || performance.now() >= until) return;
      next = unknown[i + 1] && compile(this.#parts.gpu, unknown[i + 1]!);
      // What a slow GPU has no time for is not tried again: the next time it would be as slow.
      const best = await this.#fastest(group, compiled, until);
      if (best) this.#use(group, best.kernel);
      await this.#store.set(group.key, best?.candidate.name ?? usualName).catch(() => {}); // measured again next time
    }
  }

  /** Of those that compute what the usual kernel does and save time; undefined where none does. */
  async #fastest(group: Group, compiled: readonly Compiled[], until: number): Promise<Compiled | undefined> {
    await this.#prepare(group);
    const want = await this.#results(group, group.usual);
    const repeats = Math.min(64, Math.ceil(timingMs / (await this.#ms(group, group.usual, 1))));
    const usualMs = await this.#ms(group, group.usual, repeats);
    let bestMs = usualMs * (1 - leastGain);
    let best: Compiled | undefined;
    for (const one of compiled) {
      if (performance.now() > until) break;
      const { kernel, candidate } = one;
      const error = relativeError(await this.#results(group, kernel), want);
      if (!(error <= (candidate.tolerance ?? usualTolerance))) continue;
      const ms = Math.min(await this.#ms(group, kernel, repeats), await this.#ms(group, kernel, repeats));
      if (ms < bestMs) [bestMs, best] = [ms, one];
    }
    return best;
  }

  /** x of every dispatch: random values, or what quantise makes of them. */
  async #prepare({ tokens, shape: { cols }, x, products }: Group): Promise<void> {
    const { gpu, scratch } = this.#parts;
    const { step, ...buffers } = scratch;
    gpu.device.queue.writeBuffer(step, 0, packStep({ tokens }));
    const { buffer, offset = 0 } = products[0]!.input;
    if (x === 'f32') return fill(gpu, buffer, offset, tokens * cols);
    const values = [buffers.qGate, buffers.gate, buffers.qkv].find(({ size }) => size >= cols * 4)!;
    fill(gpu, values, 0, cols);
    const kernel = createQuantise(gpu, { cols, y: x });
    await kernel.ready;
    const y = { buffer, offset, size: intBytes(cols, x) };
    const activations = kernel.bind({ y, x: { buffer: values }, step: { buffer: step } });
    await this.#run((pass) => encode(pass, [{ kernel, activations, rows: 0 }], tokens));
  }

  /** What the first product gives: all of a token, and of the last one. */
  async #results(group: Group, kernel: Kernel): Promise<Float32Array> {
    const { tokens, products, shape } = group;
    const { output } = products[0]!;
    const { buffer, offset = 0, size = buffer.size } = output;
    await this.#run((pass) => encode(pass, [placed(products[0]!, kernel)], tokens), output);
    const bytes = tokens === 1 ? size : shape.outCols * 4; // parts of one dispatch lie apart
    const all = new Uint8Array(Math.min(tokens, 2) * bytes);
    await this.#parts.read(buffer, offset, all.subarray(0, bytes));
    if (tokens > 1) await this.#parts.read(buffer, offset + (tokens - 1) * bytes, all.subarray(bytes));
    return new Float32Array(all.buffer);
  }

  async #ms({ tokens, products }: Group, kernel: Kernel, repeats: number): Promise<number> {
    const dispatches = products.slice(0, tokens > 1 ? 1 : mostDispatches).map((one) => placed(one, kernel));
    const started = performance.now();
    await this.#run((pass) => {
      for (let i = 0; i < repeats; i++) encode(pass, dispatches, tokens);
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

  /** Short steps of a prompt keep what the rules say for them. */
  #use({ tokens, products, usual }: Group, kernel: Kernel): void {
    const used =
      tokens === 1
        ? kernel
        : kernelByTokens([
            { upTo: Math.floor(tokens / 2), kernel: usual },
            { upTo: Number.POSITIVE_INFINITY, kernel },
          ]);
    for (const product of products) Object.assign(product.dispatch, placed(product, used));
  }
}

const placed = ({ rows, dispatch }: RecordedProduct, kernel: Kernel): Dispatch => ({
  ...dispatch,
  kernel,
  rows: rowsOf(kernel, rows),
});

/** Of decoding, the largest first: it is worth most to know them. */
function groupsOf(parts: TuneParts): Group[] {
  const groups = new Map<string, Group>();
  for (const product of parts.products) {
    const { shape, x } = product;
    if (!isAffine4(shape.format)) continue;
    const tokens = shape.tokens === 1 ? 1 : parts.chunkTokens;
    // What was measured for a prompt's chunk ran alone: on an H200 prompts of 9B shapes then took a third longer than by fixed rules.
    if (tokens > 1) continue;
    const id = JSON.stringify([shape, tokens, x]);
    const known = groups.get(id);
    if (known) known.products.push(product);
    else groups.set(id, newGroup(parts, product, tokens));
  }
  const size = ({ shape, products }: Group) => shape.cols * shape.outCols * products.length;
  return [...groups.values()].sort((a, b) => a.tokens - b.tokens || size(b) - size(a));
}

function newGroup({ gpu, candidates: list = candidatesFor }: TuneParts, product: RecordedProduct, tokens: number): Group {
  const { x, dispatch } = product;
  const shape = { ...product.shape, tokens };
  const usual = dispatch.kernel;
  const candidates = list(gpu, shape, x);
  const { vendor, architecture, description } = gpu.adapter;
  const host = globalThis.navigator?.userAgent ?? '';
  const names = candidates.map(({ name }) => name);
  const key = JSON.stringify([1, vendor, architecture, description, host, gpu.subgroups, shape, x, names, usual.digest]);
  return { key, tokens, shape, x, products: [product], usual, candidates };
}

function candidatesFor(gpu: Gpu, shape: ProductShape, x: ActivationDtype): Candidate[] {
  if (shape.tokens > 1) return gemmCandidates(shape);
  return x === 'f32' ? gemvCandidates(gpu, shape) : gemvFastCandidates(gpu, shape).filter((one) => one.x === x);
}

type Compiled = { candidate: Candidate; kernel: Kernel };

/** Side by side; those that do not compile, or cannot stand in the usual one's place, are out. */
async function compile(gpu: Gpu, { candidates, usual, products }: Group): Promise<Compiled[]> {
  const several = products.some(({ rows }) => rows.length > 1);
  const all = await Promise.all(
    candidates.map(async (candidate): Promise<Compiled[]> => {
      try {
        const kernel = candidate.create(gpu);
        await kernel.ready;
        const suits = kernel.bindings.join() === usual.bindings.join() && (!several || kernel.rowsPerWorkgroup !== undefined);
        return suits && kernel.digest !== usual.digest ? [{ candidate, kernel }] : [];
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

const blockValues = 1 << 16;
let block: Float32Array<ArrayBuffer> | undefined;

/** `count` f32 in [-1, 1); a large buffer holds the same ones several times. */
function fill(gpu: Gpu, buffer: GPUBuffer, offset: number, count: number): void {
  const random = new Random(1);
  block ??= Float32Array.from({ length: blockValues }, () => 2 * random.next() - 1);
  for (let done = 0; done < count; done += blockValues)
    gpu.device.queue.writeBuffer(buffer, offset + done * 4, block, 0, Math.min(blockValues, count - done));
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

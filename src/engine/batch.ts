/** Dispatches and copies on their way to the queue: one command encoder, passes opened and closed as needed, then one submit. */
import type { Gpu } from '../gpu/device';
import { type Dispatch, encode, type PassState } from '../gpu/dispatch';
import type { SlabRef } from '../gpu/kernel';
import { settled, submittedWorkDone } from '../gpu/readback';

/** Submits that may wait in the GPU's queue: enough that it never runs dry, few enough that a cancel takes effect soon. */
const submitsInFlight = 2;

export class Batches {
  readonly #gpu: Gpu;
  readonly #pending: Promise<unknown>[] = [];
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #state: PassState = {};
  /** Runs in the batch that is open. */
  sections = 0;

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  run(dispatches: readonly Dispatch[], tokens: number): void {
    if (!this.#pass) {
      this.#pass = this.encoder().beginComputePass();
      this.#state = {};
    }
    encode(this.#pass, dispatches, tokens, this.#state);
    this.sections += 1;
  }

  copy(source: GPUBuffer, sourceOffset: number, target: GPUBuffer, targetOffset: number, bytes: number): void {
    this.encoder().copyBufferToBuffer(source, sourceOffset, target, targetOffset, bytes);
  }

  /** The encoder, outside a pass. */
  encoder(): GPUCommandEncoder {
    this.#pass?.end();
    this.#pass = undefined;
    this.#encoder ??= this.#gpu.device.createCommandEncoder();
    return this.#encoder;
  }

  submit(): void {
    if (!this.submitUnwatched()) return;
    const done = this.#gpu.device.queue.onSubmittedWorkDone();
    done.catch(() => {}); // reported to whoever waits next
    this.#pending.push(done);
  }

  /** Leaves waiting to whoever reads the results. Returns whether there was anything. */
  submitUnwatched(): boolean {
    if (!this.#encoder) return false;
    this.#gpu.device.queue.submit([this.encoder().finish()]);
    this.#encoder = undefined;
    this.sections = 0;
    return true;
  }

  /** Waits until few submits are left in the queue. @throws EngineError 'device-lost'. */
  async room(): Promise<void> {
    if (this.#pending.length <= submitsInFlight) return;
    const old = this.#pending.splice(0, this.#pending.length - submitsInFlight);
    await settled(this.#gpu, Promise.all(old));
  }

  /** Leaves waiting to whoever reads the results. */
  forget(): void {
    this.#pending.length = 0;
  }

  /** Waits for all of it. @throws EngineError 'device-lost'. */
  async done(): Promise<void> {
    this.#pending.length = 0;
    await submittedWorkDone(this.#gpu);
  }

  /** Forgets what was encoded and not submitted. */
  drop(): void {
    this.#pass?.end();
    this.#pass = undefined;
    this.#encoder = undefined;
    this.sections = 0;
  }
}

const parts = new WeakMap<readonly Dispatch[], Dispatch[][]>();

/** Dispatches in runs that read one slab of matrices each. Runs may be submitted apart, so that copies get their turn in between. */
export function bySlab(dispatches: readonly Dispatch[]): readonly Dispatch[][] {
  const known = parts.get(dispatches);
  if (known) return known;
  const runs: Dispatch[][] = [];
  let slab: SlabRef | undefined;
  for (const dispatch of dispatches) {
    const read = dispatch.rows > 0 ? dispatch.slab : undefined;
    if (runs.length === 0 || (read && slab && read !== slab)) runs.push([]);
    slab = read ?? slab;
    runs.at(-1)!.push(dispatch);
  }
  parts.set(dispatches, runs);
  return runs;
}

/**
 * Time per unit of work on the GPU, by the wall clock around submits and their end. A batch is encoded before its time starts and
 * submitted in pieces: a driver translates a submit before the GPU sees anything of it, so one large submit would count that
 * translation in, where pieces hide it behind the piece before. Batches are long enough that what one costs once does not matter.
 */
import { clockTick } from '../gpu/clock';
import type { Gpu } from '../gpu/device';
import { submittedWorkDone } from '../gpu/readback';
import { type Summary, summarise } from './statistics';

/** Encodes work items [first, first + count) into a pass. */
export type Encode = (pass: GPUComputePassEncoder, first: number, count: number) => void;

export type TimingOptions = {
  /** How long to go on measuring, warm-up excluded. */
  seconds: number;
  /** Shortest batch. */
  batchMs: number;
  batches: { least: number; most: number };
  /** Work items before which a batch does not end its warm-up: once through buffers that rotate. */
  warmUp?: number;
  /** Submitted and done before each batch, outside its time. */
  before?(): void;
};

const piecesPerBatch = 8;
/** Of the clock, in a batch: in fewer, rounding would be what is measured, and in none there is no rate. */
const leastTicks = 3;

/** Milliseconds per work item, and items per batch. */
export type Timing = Summary & { itemsPerBatch: number };

export async function timeWork(gpu: Gpu, encode: Encode, options: TimingOptions): Promise<Timing> {
  const { seconds, batchMs, batches } = options;
  let next = 0;
  const batch = async (items: number): Promise<number> => {
    options.before?.();
    const ms = await runBatch(gpu, encode, next, items);
    next += items;
    return ms;
  };
  const items = await calibrate(
    batch,
    Math.max(batchMs, (1000 * seconds) / batches.most, leastTicks * clockTick()),
    options.warmUp ?? 1,
  );
  const times: number[] = [];
  const started = performance.now();
  while (times.length < batches.least || (times.length < batches.most && performance.now() - started < 1000 * seconds)) {
    times.push((await batch(items)) / items);
  }
  return { ...summarise(times), itemsPerBatch: items };
}

/** Items that take `targetMs`; what runs meanwhile is the warm-up. */
async function calibrate(batch: (items: number) => Promise<number>, targetMs: number, warmUp: number): Promise<number> {
  let warmed = 0;
  for (let items = 1; ; ) {
    // Twice, because a first run may contain what happens once: a pipeline's last compile, the zeroing of a new buffer.
    const ms = Math.min(await batch(items), await batch(items));
    warmed += 2 * items;
    if (ms >= targetMs && warmed >= warmUp) return items;
    // The first runs are slower than what follows, so a guess from them is approached in steps.
    items = Math.ceil(items * Math.min(8, Math.max(1.15, (1.1 * targetMs) / ms)));
  }
}

async function runBatch(gpu: Gpu, encode: Encode, first: number, items: number): Promise<number> {
  const buffers: GPUCommandBuffer[] = [];
  const piece = Math.ceil(items / piecesPerBatch);
  for (let at = 0; at < items; at += piece) {
    const encoder = gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    encode(pass, first + at, Math.min(piece, items - at));
    pass.end();
    buffers.push(encoder.finish());
  }
  await submittedWorkDone(gpu);
  const started = performance.now();
  for (const buffer of buffers) gpu.device.queue.submit([buffer]);
  await submittedWorkDone(gpu);
  return performance.now() - started;
}

/**
 * Time per unit of work on the GPU, by the wall clock around submits and their end. A batch is encoded before its time starts and
 * submitted in pieces: a driver translates a submit before the GPU sees anything of it, so one large submit would count that
 * translation in, where pieces hide it behind the piece before. Batches are long enough that what one costs once does not matter.
 * With timestamps a batch is one pass and the GPU says how long it took; the wall clock serves where that gives no interval.
 */
import { clockTick } from '../gpu/clock';
import type { Gpu } from '../gpu/device';
import { submittedWorkDone } from '../gpu/readback';
import { type Summary, summarise } from './statistics';
import { type Clock, type Timestamps, timestampTickMs } from './timestamps';

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
  /** Of the same device. */
  timestamps?: Timestamps | undefined;
};

const piecesPerBatch = 8;
/** Of the clock, in a batch: in fewer, rounding would be what is measured, and in none there is no rate. */
const leastTicks = 3;
/** The same of timestamps, which browsers round more than their clock. */
const leastTimestampTicks = 10;
/** How far a batch grows beyond what the wall clock found enough, before timestamps that give no interval are given up. */
const mostTimestamped = 64;

/** Milliseconds per work item, and items per batch. */
export type Timing = Summary & { itemsPerBatch: number; clock: Clock };

export async function timeWork(gpu: Gpu, encode: Encode, options: TimingOptions): Promise<Timing> {
  const { seconds, batchMs, batches, timestamps } = options;
  let next = 0;
  const from = (items: number): number => {
    options.before?.();
    next += items;
    return next - items;
  };
  const batch = (items: number): Promise<number> => runBatch(gpu, encode, from(items), items);
  const targetMs = Math.max(batchMs, (1000 * seconds) / batches.most);
  const items = await calibrate(batch, {
    targetMs: Math.max(targetMs, leastTicks * clockTick()),
    warmUp: options.warmUp ?? 1,
  });
  if (timestamps) {
    const stamped = (items: number): Promise<number | undefined> => {
      const first = from(items);
      return timestamps.time((pass) => encode(pass, first, items));
    };
    const more = await calibrate(async (items) => (await stamped(items)) ?? 0, {
      targetMs: Math.max(targetMs, leastTimestampTicks * timestampTickMs),
      least: items,
      most: mostTimestamped * items,
    });
    const times = await repeat(options, () => stamped(more));
    if (times) return { ...perItem(times, more), clock: 'timestamp' };
  }
  return { ...perItem((await repeat(options, () => batch(items)))!, items), clock: 'wall' };
}

const perItem = (times: readonly number[], items: number) => ({
  ...summarise(times.map((ms) => ms / items)),
  itemsPerBatch: items,
});

/** Milliseconds of as many batches as are wanted; undefined where one of them has none. */
async function repeat(
  { seconds, batches }: TimingOptions,
  batch: () => Promise<number | undefined>,
): Promise<number[] | undefined> {
  const times: number[] = [];
  const started = performance.now();
  while (times.length < batches.least || (times.length < batches.most && performance.now() - started < 1000 * seconds)) {
    const ms = await batch();
    if (ms === undefined) return undefined;
    times.push(ms);
  }
  return times;
}

type Calibration = { targetMs: number; warmUp?: number; least?: number; most?: number };

/** Items, `least` to `most`, that take `targetMs`; what runs meanwhile is the warm-up. */
async function calibrate(
  batch: (items: number) => Promise<number>,
  { targetMs, warmUp = 0, least = 1, most = Number.POSITIVE_INFINITY }: Calibration,
): Promise<number> {
  let warmed = 0;
  for (let items = least; ; ) {
    // Twice, because a first run may contain what happens once: a pipeline's last compile, the zeroing of a new buffer.
    const ms = Math.min(await batch(items), await batch(items));
    warmed += 2 * items;
    if ((ms >= targetMs && warmed >= warmUp) || items === most) return items;
    // The first runs are slower than what follows, so a guess from them is approached in steps.
    items = Math.min(most, Math.ceil(items * Math.min(8, Math.max(1.15, (1.1 * targetMs) / ms))));
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

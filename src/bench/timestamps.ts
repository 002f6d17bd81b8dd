/**
 * The GPU's own clock around one pass, where the device was opened with it: its time alone, without what submitting and waiting cost.
 * Asking for it can slow a device, so what is measured as a user has it never runs on one that has.
 */
import type { Gpu } from '../gpu/device';
import { submittedWorkDone } from '../gpu/readback';
import { readRanges } from './read_ranges';

/** Which clock said how long something took. */
export type Clock = 'timestamp' | 'wall';

/** Milliseconds that browsers round timestamps to. */
export const timestampTickMs = 0.1;
/** Milliseconds that the wall clock may be off by where a browser rounds it most. */
const wallTickMs = 1;
const bytes = 16;

export type Timestamps = {
  /** Milliseconds of the pass that `record` fills, on an idle queue; undefined where the clock gave no interval. @throws EngineError 'device-lost' */
  time(record: (pass: GPUComputePassEncoder) => void): Promise<number | undefined>;
  destroy(): void;
};

/** Undefined on a device without the feature. */
export function openTimestamps(gpu: Gpu): Timestamps | undefined {
  const { device, memory } = gpu;
  if (!device.features.has('timestamp-query')) return undefined;
  const querySet = device.createQuerySet({ label: 'bench timestamps', type: 'timestamp', count: 2 });
  const resolved = memory.create('bench timestamps', bytes, GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC);
  return {
    async time(record) {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass({
        timestampWrites: { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 },
      });
      record(pass);
      pass.end();
      encoder.resolveQuerySet(querySet, 0, 2, resolved, 0);
      const commands = encoder.finish();
      await submittedWorkDone(gpu); // else the first stamp may be taken while earlier work still runs
      const started = performance.now();
      device.queue.submit([commands]);
      const stamps = await readRanges(gpu, [{ buffer: resolved, byteOffset: 0, byteLength: bytes }]);
      return intervalMs(new BigUint64Array(stamps), performance.now() - started);
    },
    destroy() {
      querySet.destroy();
      memory.destroy(resolved);
    },
  };
}

/**
 * Between two stamps in nanoseconds, in milliseconds. Undefined where it is none: rounded to nothing, run backwards, or longer than the
 * wall clock saw, as it is where one of the stamps was never written.
 */
export function intervalMs(stamps: BigUint64Array, wallMs: number): number | undefined {
  const [begin, end] = stamps as unknown as [bigint, bigint];
  const ms = Number(end - begin) / 1e6;
  return ms > 0 && ms <= wallMs + wallTickMs ? ms : undefined;
}

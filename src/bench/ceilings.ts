/** What this machine gives at best, to hold kernels against: bandwidth, arithmetic, and what one dispatch and one readback cost. */
import type { Gpu } from '../gpu/device';
import { encode as encodeDispatches } from '../gpu/dispatch';
import type { Kernel } from '../gpu/kernel';
import { Readback, submittedWorkDone } from '../gpu/readback';
import {
  copyUnitsPerStep,
  createCopy,
  createDependent,
  createFiller,
  createFma,
  createRead,
  fmasPerRound,
  readUnitsPerStep,
} from './probes';
import { summarise } from './statistics';
import { type Timing, type TimingOptions, timeWork } from './timing';

/** `spread` of what was measured best: (largest - smallest) / median. */
export type Ceiling = { value: number; spread: number };

export type Ceilings = {
  /** Bytes read by one pass of the read probe. */
  probeBytes: number;
  readGBps: Ceiling;
  /** Bytes read and bytes written both count. */
  copyGBps: Ceiling;
  /** f32; one multiply-add is two operations. */
  fmaTflops: Ceiling;
  /** From one dispatch of a chain to the next, in one pass. */
  dispatchUs: Ceiling;
  /** JavaScript's part of it: recording one dispatch of the chain. */
  encodeUs: Ceiling;
  /** Submit a 4-byte copy and map it. */
  roundTripMs: Ceiling;
};

export type Effort = Pick<TimingOptions, 'seconds' | 'batchMs' | 'batches'>;

/** Batches of 5 ms or more, at least five of them; on a CPU adapter, whose figures mean nothing, as little as shows that it runs. */
export function effortOn({ adapter }: Gpu, seconds?: number): Effort {
  if (adapter.isCpu) return { seconds: seconds ?? 0, batchMs: 0, batches: { least: 2, most: 10 } };
  return { seconds: seconds ?? 0.15, batchMs: 5, batches: { least: 5, most: 15 } };
}

const mib = 2 ** 20;
/** Lengths of the run that one workgroup reads: which is fastest differs between machines. */
const stepChoices = [1, 4, 16];
const ample = { bytes: 1024 * mib, rounds: 64, workgroups: 8192, dispatches: 500 };
/** A CPU adapter is only asked whether the probes run. */
const tiny = { bytes: mib, rounds: 1, workgroups: 2, dispatches: 500 };

/** `bytes`: most that the read probe goes through; copying holds as many again. */
export async function measureCeilings(gpu: Gpu, effort: Effort, bytes = ample.bytes): Promise<Ceilings> {
  const own = { ...gpu, memory: gpu.memory.scope() };
  const size = gpu.adapter.isCpu ? tiny : { ...ample, bytes: Math.min(bytes, ample.bytes) };
  try {
    const sources = await randomBuffers(own, size.bytes);
    const probeBytes = sources.reduce((sum, { size }) => sum + size, 0);
    const readGBps = await readBandwidth(own, sources, effort);
    const copyGBps = await copyBandwidth(own, sources[0]!, effort);
    own.memory.release();
    return {
      probeBytes,
      readGBps,
      copyGBps,
      fmaTflops: await fmaRate(own, size, effort),
      ...(await dispatchCost(own, size.dispatches, effort)),
      roundTripMs: await roundTrip(own, gpu.adapter.isCpu ? 20 : 50),
    };
  } finally {
    own.memory.release();
  }
}

/** `bytes` in as many buffers as the device's bindings make necessary. Random, so that no memory compression flatters. */
async function randomBuffers(gpu: Gpu, bytes: number): Promise<GPUBuffer[]> {
  const { maxStorageBufferBindingSize, maxBufferSize } = gpu.device.limits;
  const each = Math.min(bytes, Math.floor(Math.min(maxStorageBufferBindingSize, maxBufferSize) / mib) * mib);
  const filler = await createFiller(gpu, 4);
  return gpu.memory.guarded('the bandwidth probe', () =>
    Array.from({ length: Math.ceil(bytes / each) }, (_, i) => {
      const buffer = gpu.memory.create('bench source', each, GPUBufferUsage.STORAGE);
      filler.words(buffer, i);
      return buffer;
    }),
  );
}

async function readBandwidth(gpu: Gpu, sources: readonly GPUBuffer[], effort: Effort): Promise<Ceiling> {
  const sink = gpu.memory.create('bench sink', 256, GPUBufferUsage.STORAGE);
  const bytes = sources[0]!.size;
  return bestOf(
    gpu,
    stepChoices.filter((steps) => (bytes / 16) % (readUnitsPerStep * steps) === 0).map((steps) => createRead(gpu, steps)),
    (kernel) => sources.map((source) => kernel.bind({ source: { buffer: source }, sink: { buffer: sink } })),
    bytes / 16,
    (ms) => bytes / ms / 1e6,
    effort,
  );
}

async function copyBandwidth(gpu: Gpu, source: GPUBuffer, effort: Effort): Promise<Ceiling> {
  const destination = await gpu.memory.guarded('the copy probe', () =>
    gpu.memory.create('bench destination', source.size, GPUBufferUsage.STORAGE),
  );
  return bestOf(
    gpu,
    stepChoices.filter((steps) => (source.size / 16) % (copyUnitsPerStep * steps) === 0).map((steps) => createCopy(gpu, steps)),
    (kernel) => [kernel.bind({ source: { buffer: source }, destination: { buffer: destination } })],
    source.size / 16,
    (ms) => (2 * source.size) / ms / 1e6,
    effort,
  );
}

type FmaSize = { rounds: number; workgroups: number };

async function fmaRate(gpu: Gpu, { rounds, workgroups }: FmaSize, effort: Effort): Promise<Ceiling> {
  const { UNIFORM, COPY_DST, STORAGE } = GPUBufferUsage;
  const factors = gpu.memory.create('bench factors', 32, UNIFORM | COPY_DST);
  // Chains that swing about a value and near it slowly: always finite, and no constant, which would take less power than real work.
  gpu.device.queue.writeBuffer(factors, 0, Float32Array.of(-0.9999, -0.9998, -0.9997, -0.9996, 1.5, 1.25, 1.75, 1.125));
  const sink = gpu.memory.create('bench sink', 256, STORAGE);
  return bestOf(
    gpu,
    [createFma(gpu, rounds)],
    (kernel) => [kernel.bind({ factors: { buffer: factors }, sink: { buffer: sink } })],
    workgroups,
    (ms) => (2 * fmasPerRound * rounds * workgroups) / ms / 1e9,
    effort,
  );
}

async function dispatchCost(gpu: Gpu, chain: number, effort: Effort): Promise<Pick<Ceilings, 'dispatchUs' | 'encodeUs'>> {
  const values = gpu.memory.create('bench values', 256, GPUBufferUsage.STORAGE);
  const kernel = createDependent(gpu);
  await kernel.ready;
  const activations = kernel.bind({ values: { buffer: values } });
  const dispatches = Array.from({ length: chain }, () => ({ kernel, activations, rows: 0 }));
  const encodeUs: number[] = [];
  const timing = await timeWork(
    gpu,
    (pass, _, count) => {
      for (let i = 0; i < count; i++) {
        const started = performance.now();
        encodeDispatches(pass, dispatches, 1);
        encodeUs.push((1000 * (performance.now() - started)) / chain);
      }
    },
    effort,
  );
  const encoding = summarise(encodeUs);
  return {
    dispatchUs: ceiling(timing, (1000 * timing.median) / chain),
    encodeUs: { value: encoding.median, spread: encoding.spread },
  };
}

async function roundTrip(gpu: Gpu, times: number): Promise<Ceiling> {
  const source = gpu.memory.create('bench word', 16, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC);
  const readback = new Readback(gpu, 'bench word readback', 4);
  const ms: number[] = [];
  for (let i = 0; i <= times; i++) {
    await submittedWorkDone(gpu);
    const started = performance.now();
    const encoder = gpu.device.createCommandEncoder();
    readback.copyFrom(encoder, source, 0, 4);
    gpu.device.queue.submit([encoder.finish()]);
    await readback.floats(4);
    if (i > 0) ms.push(performance.now() - started);
  }
  readback.destroy();
  const { median, spread } = summarise(ms);
  return { value: median, spread };
}

/** The best rate among kernels that do the same work; a work item is a dispatch with the next of the bind groups. */
async function bestOf(
  gpu: Gpu,
  kernels: readonly Kernel[],
  bind: (kernel: Kernel) => GPUBindGroup[],
  gridSize: number,
  rate: (ms: number) => number,
  effort: Effort,
): Promise<Ceiling> {
  const rates: Ceiling[] = [];
  for (const kernel of kernels) {
    await kernel.ready;
    const groups = bind(kernel);
    const [x, y = 1] = kernel.grid(gridSize, 0);
    const timing = await timeWork(
      gpu,
      (pass, first, count) => {
        pass.setPipeline(kernel.pipeline(1));
        for (let i = first; i < first + count; i++) {
          pass.setBindGroup(0, groups[i % groups.length]!);
          pass.dispatchWorkgroups(x, y);
        }
      },
      effort,
    );
    rates.push(ceiling(timing, rate(timing.median)));
  }
  return rates.reduce((best, each) => (each.value > best.value ? each : best));
}

const ceiling = ({ spread }: Timing, value: number): Ceiling => ({ value, spread });

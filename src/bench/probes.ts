/** Typed bindings of wgsl/bench: the probes that find the machine's ceilings, and random data made where it is needed. */
import copySource from '../../wgsl/bench/copy.wgsl?raw';
import dependentSource from '../../wgsl/bench/dependent.wgsl?raw';
import fmaSource from '../../wgsl/bench/fma.wgsl?raw';
import randomHash from '../../wgsl/bench/random.wgsl?raw';
import randomAffineSource from '../../wgsl/bench/random_affine.wgsl?raw';
import randomValuesSource from '../../wgsl/bench/random_values.wgsl?raw';
import randomWeightsSource from '../../wgsl/bench/random_weights.wgsl?raw';
import readSource from '../../wgsl/bench/read.wgsl?raw';
import type { Gpu } from '../gpu/device';
import { createKernel, fold, type Grid, type Kernel } from '../gpu/kernel';

/** Units of 16 bytes that one workgroup reads (copies) in one of its steps. */
export const readUnitsPerStep = 2048;
export const copyUnitsPerStep = 1024;

/** Reads all of `source`, whose units must be a multiple of readUnitsPerStep * steps. */
export function createRead(gpu: Gpu, steps: number): Kernel {
  return createKernel(gpu, {
    label: 'bench read',
    sources: [readSource],
    constants: { STEPS: steps },
    bindings: { source: 'read', sink: 'write' },
    grid: (units) => fold(units / (readUnitsPerStep * steps)),
  });
}

/** Copies all of `source`, whose units must be a multiple of copyUnitsPerStep * steps. */
export function createCopy(gpu: Gpu, steps: number): Kernel {
  return createKernel(gpu, {
    label: 'bench copy',
    sources: [copySource],
    constants: { STEPS: steps },
    bindings: { source: 'read', destination: 'write' },
    grid: (units) => fold(units / (copyUnitsPerStep * steps)),
  });
}

/** Multiply-adds of one workgroup per round: 256 threads, 64 vec4f each. */
export const fmasPerRound = 256 * 64 * 4;

/** factors [2] vec4f uniform, sink [64] f32. The grid is as many workgroups as `tokens` says. */
export function createFma(gpu: Gpu, rounds: number): Kernel {
  return createKernel(gpu, {
    label: 'bench fma',
    sources: [fmaSource],
    constants: { ROUNDS: rounds },
    bindings: { factors: 'uniform', sink: 'write' },
    grid: (workgroups) => [workgroups],
  });
}

export function createDependent(gpu: Gpu): Kernel {
  return createKernel(gpu, {
    label: 'bench dependent',
    sources: [dependentSource],
    bindings: { values: 'write' },
    grid: () => [1],
  });
}

/** One thread per unit of 16 bytes. */
const perUnit = (units: number): Grid => fold(Math.ceil(units / 256));

/** Fills buffers with random data. Ready when `createFiller` resolves. */
export type Filler = {
  /** f32 values in [offset - scale, offset + scale). */
  values(buffer: GPUBuffer, fill: { seed: number; offset?: number; scale: number }): void;
  /** Random words. */
  words(buffer: GPUBuffer, seed: number): void;
  /** Affine matrices, one every `stride` bytes: `words` bytes of q, then bf16 pairs, standard deviation as asked for. */
  affine(buffer: GPUBuffer, fill: { seed: number; stride: number; words: number; deviation: number }): void;
};

export async function createFiller(gpu: Gpu, bits: number): Promise<Filler> {
  const bindings = { y: 'write', params: 'uniform' } as const;
  const values = createKernel(gpu, {
    label: 'bench random_values',
    sources: [randomHash, randomValuesSource],
    bindings,
    grid: perUnit,
  });
  const affine = createKernel(gpu, {
    label: 'bench random_affine',
    sources: [randomHash, randomAffineSource],
    constants: { CENTER: 2 ** (bits - 1) },
    bindings,
    grid: perUnit,
  });
  await Promise.all([values.ready, affine.ready]);
  const run = (kernel: Kernel, buffer: GPUBuffer, words: readonly number[], floats: readonly number[]) => {
    const params = new ArrayBuffer(16);
    new Uint32Array(params).set(words);
    new Float32Array(params).set(floats, words.length);
    fillNow(gpu, kernel, buffer, params, buffer.size / 16);
  };
  return {
    values: (buffer, { seed, offset = 0, scale }) => run(values, buffer, [seed], [offset, scale]),
    words: (buffer, seed) => run(affine, buffer, [seed, 0xffffffff, 0xffffffff], [0]),
    affine: (buffer, { seed, stride, words, deviation }) =>
      run(affine, buffer, [seed, stride / 16, words / 16], [deviation / rmsOfCentred(bits)]),
  };
}

/**
 * `bytes` bytes of a slab from `at` on, whole units of 16 (what lies behind `bytes` in the last one is filled too). `start`: the first
 * word's index in its tensor. Weights have the standard deviation asked for.
 */
export type WeightFill = { at: number; bytes: number; start: number; seed: number };

export type WeightFiller = {
  words(slab: GPUBuffer, fill: WeightFill): void;
  pairs(slab: GPUBuffer, fill: WeightFill & { bits: number; deviation: number }): void;
  bf16(slab: GPUBuffer, fill: WeightFill & { deviation: number }): void;
};

/** Ready when it resolves. */
export async function createWeightFiller(gpu: Gpu): Promise<WeightFiller> {
  const [words, pairs, bf16] = [0, 1, 2].map((kind) =>
    createKernel(gpu, {
      label: 'bench random_weights',
      sources: [randomHash, randomWeightsSource],
      constants: { KIND: kind },
      bindings: { y: 'write', params: 'uniform' },
      grid: perUnit,
    }),
  ) as [Kernel, Kernel, Kernel];
  await Promise.all([words.ready, pairs.ready, bf16.ready]);
  const run = (kernel: Kernel, slab: GPUBuffer, { at, bytes, start, seed }: WeightFill, scale: number, center: number) => {
    const units = Math.ceil(bytes / 16);
    const params = new ArrayBuffer(32);
    new Uint32Array(params).set([at / 16, units, start, seed]);
    new Float32Array(params).set([scale, center], 4);
    fillNow(gpu, kernel, slab, params, units);
  };
  return {
    words: (slab, fill) => run(words, slab, fill, 0, 0),
    pairs: (slab, fill) => run(pairs, slab, fill, fill.deviation / rmsOfCentred(fill.bits), 2 ** (fill.bits - 1)),
    bf16: (slab, fill) => run(bf16, slab, fill, fill.deviation * Math.sqrt(3), 0),
  };
}

/** RMS of q - 2^(bits - 1), q uniform in 0 .. 2^bits - 1, with scales of 0.75 to 1.25 times their mean. */
function rmsOfCentred(bits: number): number {
  const half = 2 ** (bits - 1);
  return Math.sqrt((2 * half * half + 1) / 6) * Math.sqrt(1 + 0.25 / 12);
}

function fillNow(gpu: Gpu, kernel: Kernel, buffer: GPUBuffer, params: ArrayBuffer, units: number): void {
  const { device, memory } = gpu;
  const uniform = memory.create('bench fill', params.byteLength, GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST);
  device.queue.writeBuffer(uniform, 0, params);
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(kernel.pipeline(1));
  pass.setBindGroup(0, kernel.bind({ y: { buffer }, params: { buffer: uniform } }));
  const [x, y = 1] = kernel.grid(units, 0);
  pass.dispatchWorkgroups(x, y);
  pass.end();
  device.queue.submit([encoder.finish()]);
  memory.destroy(uniform); // what is in the queue keeps it until it has run
}

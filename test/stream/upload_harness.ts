/** What the upload cases share: small tools that need no test framework, on any device. */
import { EngineError } from '../../src/errors';
import type { Gpu } from '../../src/gpu/device';
import { Readback } from '../../src/gpu/readback';

export class Gate {
  open!: () => void;
  readonly opens = new Promise<void>((resolve) => {
    this.open = resolve;
  });
}

/** A kernel that copies `from` word by word, after work that keeps the GPU busy for a moment. */
export async function slowCopier(gpu: Gpu): Promise<(from: GPUBuffer, to: GPUBuffer) => void> {
  const { device } = gpu;
  const code = `
    @group(0) @binding(0) var<storage, read> source: array<u32>;
    @group(0) @binding(1) var<storage, read_write> copied: array<u32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
      if (id.x >= arrayLength(&copied)) { return; }
      var spin = id.x;
      for (var i = 0u; i < 2000u; i++) { spin = spin * 1664525u + 1013904223u; }
      copied[id.x] = source[id.x] + select(0u, 1u, spin == 1u && copied[id.x] == 77u);
    }`;
  const pipeline = await device.createComputePipelineAsync({
    layout: 'auto',
    compute: { module: device.createShaderModule({ code }), entryPoint: 'main' },
  });
  return (from, to) => {
    const entries = [from, to].map((buffer, binding) => ({ binding, resource: { buffer } }));
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
    pass.dispatchWorkgroups(Math.ceil(to.size / 4 / 64));
    pass.end();
    device.queue.submit([encoder.finish()]);
  };
}

export async function bytesOf(gpu: Gpu, buffer: GPUBuffer): Promise<Uint8Array> {
  const readback = new Readback(gpu, 'read back', buffer.size);
  const encoder = gpu.device.createCommandEncoder();
  readback.copyFrom(encoder, buffer, 0, buffer.size);
  gpu.device.queue.submit([encoder.finish()]);
  const floats = await readback.floats(buffer.size);
  readback.destroy();
  return new Uint8Array(floats.buffer);
}

export const neverFills = () => {
  throw new Error('fill was called');
};

export function filling(data: Uint8Array, late: boolean): (into: Uint8Array) => void | Promise<void> {
  return (into) => {
    same(into.byteLength, data.byteLength, 'bytes to fill');
    return late ? later(3).then(() => into.set(data)) : into.set(data);
  };
}

export function pattern(bytes: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => Math.imul(i + 1, 2_654_435_761 + 2 * seed) >>> 23);
}

export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

export function aborting(ms: number): AbortController {
  const controller = new AbortController();
  if (ms === 0) controller.abort();
  else void later(ms).then(() => controller.abort());
  return controller;
}

export const mega = (bytesPerSecond: number) => Math.round(bytesPerSecond / 1e6);
export const later = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
export const hasCode = (code: string) => (error: unknown) => error instanceof EngineError && error.code === code;

export async function within<T>(pending: Promise<T>, what: string, ms = 30_000): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([pending, late]);
  } finally {
    clearTimeout(timer);
  }
}

export async function rejects(pending: Promise<unknown>, expected: (error: unknown) => boolean, what: string): Promise<void> {
  const outcome = await within(
    pending.then(
      () => 'nothing',
      (error: unknown) => (expected(error) ? undefined : String(error)),
    ),
    what,
  );
  if (outcome !== undefined) throw new Error(`${what}: ${outcome} was thrown`);
}

export function same(actual: unknown, expected: unknown, what: string): void {
  if (!Object.is(actual, expected)) throw new Error(`${what}: ${actual}, expected ${expected}`);
}

export function sameBytes(actual: Uint8Array, expected: Uint8Array, what: string): void {
  same(actual.byteLength, expected.byteLength, `${what}: bytes`);
  const wrong = actual.findIndex((byte, i) => byte !== expected[i]);
  if (wrong >= 0) throw new Error(`${what}: byte ${wrong} is ${actual[wrong]}, expected ${expected[wrong]}`);
}

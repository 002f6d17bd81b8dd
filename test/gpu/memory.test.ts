import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { EngineError } from '../../src/errors';
import type { Gpu } from '../../src/gpu/device';
import { GpuMemory } from '../../src/gpu/memory';
import { openNodeGpu } from '../../src/node/open_gpu';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openNodeGpu();
});

function refusal(run: () => unknown): EngineError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(EngineError);
    return error as EngineError;
  }
  throw new Error('nothing was refused');
}

describe('counted GPU memory', () => {
  test('a limit refuses the byte too many, names both figures, and leaves everything as it was', () => {
    const memory = new GpuMemory(gpu.device);
    memory.limit(1024);
    const buffer = memory.create('first', 1000, GPUBufferUsage.STORAGE); // 1008 in all
    const error = refusal(() => memory.create('second', 17, GPUBufferUsage.STORAGE));
    expect(error.code).toBe('budget');
    expect(error.message).toMatch(/^second needs 32 bytes .* budget of 1024 bytes, 1008 are taken/);
    expect([memory.bytes, memory.peakBytes]).toEqual([1008, 1008]);
    memory.create('third', 16, GPUBufferUsage.STORAGE);
    expect([memory.bytes, memory.peakBytes]).toEqual([1024, 1024]);
    memory.destroy(buffer);
    memory.create('again', 1008, GPUBufferUsage.STORAGE);
    expect([memory.bytes, memory.peakBytes]).toEqual([1024, 1024]);
    memory.release();
  });

  test('a limit holds for scopes, which may have a narrower one', () => {
    const memory = new GpuMemory(gpu.device);
    memory.limit(1024);
    const scope = memory.scope();
    memory.create('outside', 512, GPUBufferUsage.STORAGE);
    expect(refusal(() => scope.create('inside', 528, GPUBufferUsage.STORAGE)).message).toContain('1024 bytes, 512 are taken');
    scope.limit(256);
    expect(refusal(() => scope.create('inside', 272, GPUBufferUsage.STORAGE)).message).toContain('256 bytes, 0 are taken');
    scope.create('inside', 256, GPUBufferUsage.STORAGE);
    scope.limit(undefined);
    scope.create('inside', 256, GPUBufferUsage.STORAGE);
    expect([scope.bytes, memory.bytes]).toEqual([512, 1024]);
    scope.release();
    expect([scope.bytes, memory.bytes, memory.peakBytes]).toEqual([0, 512, 1024]);
    memory.release();
  });

  test('a limit below what is alive takes nothing away', () => {
    const memory = new GpuMemory(gpu.device);
    memory.create('alive', 512, GPUBufferUsage.STORAGE);
    memory.limit(256);
    expect(memory.bytes).toBe(512);
    expect(refusal(() => memory.create('more', 16, GPUBufferUsage.STORAGE)).code).toBe('budget');
    memory.release();
  });

  test('a reservation counts like a buffer, and ends once: by itself or with its scope', () => {
    const memory = new GpuMemory(gpu.device);
    memory.limit(1000);
    const scope = memory.scope();
    const first = scope.reserve('staging', 600);
    expect(refusal(() => memory.reserve('more staging', 401)).message).toContain('1000 bytes, 600 are taken');
    first.release();
    first.release();
    expect([scope.bytes, memory.bytes]).toEqual([0, 0]);
    const second = scope.reserve('staging', 1000);
    scope.release();
    second.release();
    expect([scope.bytes, memory.bytes, memory.peakBytes]).toEqual([0, 0, 1000]);
  });
});

// The limit of the address space stands in for a GPU that is full: a CPU adapter's memory is the process's own.
test.skipIf(process.platform !== 'linux')(
  'a device out of memory is a typed error that names what did not fit, and leaves what was there to be released',
  async () => {
    const memory = gpu.memory.scope();
    const space = Number(/VmSize:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;
    const limit = (bytes: number | 'unlimited') => execFileSync('prlimit', ['--pid', String(process.pid), `--as=${bytes}:`]);
    const { STORAGE } = GPUBufferUsage;
    const size = 2 ** 28;
    const slabs = async () => {
      for (let i = 0; i < 32; i++) await memory.guarded(`slab ${i}`, () => memory.create(`slab ${i}`, size, STORAGE));
    };
    limit(space + 3.5 * size); // no whole number, so that half a slab is left for what the process itself needs in the meantime
    try {
      const failing = slabs();
      await expect(failing).rejects.toMatchObject({ code: 'budget' });
      await expect(failing).rejects.toThrow(/The GPU is out of memory for slab \d+ \(\d+ bytes asked for in all\)/);
    } finally {
      limit('unlimited');
    }
    expect(memory.bytes).toBeGreaterThan(0);
    memory.release();
    expect(memory.bytes).toBe(0);
    await memory.guarded('slab', () => memory.create('slab', size, STORAGE)); // and the device still works
    memory.release();
  },
);

/** The kernel bench at tiny shapes on Dawn: it tells a right candidate from a wrong one, and goes on after one that does not run. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { measureCeilings } from '../../src/bench/ceilings';
import { benchKernels, type KernelRow } from '../../src/bench/kernels';
import type { BenchMatrix } from '../../src/bench/matrices';
import { measureTransfers } from '../../src/bench/transfers';
import { EngineError } from '../../src/errors';
import type { Gpu } from '../../src/gpu/device';
import { createKernel } from '../../src/gpu/kernel';
import type { Candidate } from '../../src/kernels/candidates';
import { createGemmDirect } from '../../src/kernels/gemm';
import { createGemvDirect, gemvUnitCandidates } from '../../src/kernels/gemv';
import { openNodeGpu } from '../../src/node/open_gpu';

const format = { kind: 'affine', bits: 4, group: 64, pair: 'bf16' } as const;
const effort = { seconds: 0, batchMs: 0, batches: { least: 2, most: 2 } };

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openNodeGpu();
}, 60_000);
afterAll(() => gpu?.device.destroy());

function matrix(rows: number, cols: number): BenchMatrix {
  return { label: `m${rows}`, rows, cols, format, perToken: 1, head: false };
}

function run(matrices: BenchMatrix[], tokens: number[], candidates: Candidate[], only?: string, on = gpu): Promise<KernelRow[]> {
  const options = only === undefined ? {} : { only };
  return benchKernels(on, { matrices, tokens, rotateBytes: 16384, effort, candidates: () => candidates, ...options });
}

const gemv: Candidate = { name: 'gemv', create: (gpu) => createGemvDirect(gpu, { format, accumulate: false }) };
const gemm: Candidate = { name: 'gemm', create: (gpu) => createGemmDirect(gpu, { format, accumulate: false }) };

const wrong: (Candidate & { reason: RegExp })[] = [
  {
    name: 'adds to y in place of writing it',
    create: (gpu) => createGemvDirect(gpu, { format, accumulate: true }),
    reason: /relative error/,
  },
  {
    name: 'reads pairs as f16',
    create: (gpu) => createGemvDirect(gpu, { format: { ...format, pair: 'f16' }, accumulate: false }),
    reason: /relative error/,
  },
  {
    name: 'takes 128 columns for a group',
    create: (gpu) => createGemvDirect(gpu, { format: { ...format, group: 128 }, accumulate: false }),
    reason: /relative error/,
  },
  {
    name: 'leaves the last rows out',
    create: (gpu) => ({ ...createGemvDirect(gpu, { format, accumulate: false }), grid: () => [1] }),
    reason: /row 256 was not written/,
  },
];

test.each(wrong)('a candidate that $name is wrong, and the right one is best', async ({ reason, ...candidate }) => {
  const rows = await run([matrix(300, 128)], [1], [candidate, gemv]);
  expect(rows.map(({ outcome, best }) => [outcome, best])).toEqual([
    ['wrong', false],
    ['right', true],
  ]);
  expect(rows[0]!.reason).toMatch(reason);
  expect(rows[1]!.error).toBeLessThan(1e-6);
});

test('what does not compile is reported, and the next one runs', async () => {
  const broken = (name: string, source: string): Candidate => ({
    name,
    create: (gpu) => createKernel(gpu, { label: name, sources: [source], bindings: { x: 'read', y: 'write' }, grid: () => [1] }),
  });
  const refused: Candidate = {
    name: 'refused',
    create: () => {
      throw new EngineError('shape', 'refused: cols is 128.');
    },
  };
  const tooLarge = `var<workgroup> tile: array<vec4f, 100000>;
    @compute @workgroup_size(64) fn main() { tile[0] = vec4f(); }`;
  const rows = await run([matrix(8, 128)], [1], [broken('not WGSL', 'fn main('), broken('too large', tooLarge), refused, gemv]);
  expect(rows.map(({ candidate, outcome }) => [candidate, outcome])).toEqual([
    ['not WGSL', 'failed'],
    ['too large', 'failed'],
    ['refused', 'failed'],
    ['gemv', 'right'],
  ]);
  expect(rows[0]!.reason).toMatch(/did not compile/);
  expect(rows[2]!.reason).toBe('refused: cols is 128.');
});

test('int8 candidates are timed with and without quantising x, and are not compared with exact ones', async () => {
  const shape = { tokens: 1, cols: 1024, outCols: 24, format, accumulate: false };
  const int8 = gemvUnitCandidates(gpu, shape).find(({ x }) => x === 'int8');
  const fast: Candidate = { ...int8!, x: 'int8', tolerance: 1e-2 };
  const rows = await run([matrix(24, 1024)], [1, 3], [gemv, fast]);
  expect(rows.map(({ candidate, activations, outcome }) => [candidate, activations, outcome])).toEqual([
    ['gemv', 'f32', 'right'],
    [int8!.name, 'int8 ready', 'right'],
    [`${int8!.name} + quantise`, 'int8', 'right'],
  ]);
  expect(rows.map(({ best }) => best)).toEqual([true, false, true]);
  for (const { error } of rows.slice(1)) {
    expect(error).toBeGreaterThan(1e-4);
    expect(error).toBeLessThan(1e-2);
  }
  expect(rows[1]!.error).toBe(rows[2]!.error);
  const [exact] = await run([matrix(24, 1024)], [1], [{ ...fast, tolerance: 1e-5 }]);
  expect(exact).toMatchObject({ outcome: 'wrong' });
});

test('several tokens, odd numbers of rows, a chain through copies; a kernel for one token is left out', async () => {
  const rows = await run([matrix(33, 192), matrix(192, 64)], [1, 5], [gemv, gemm]);
  expect(rows.map(({ matrix, tokens, candidate }) => `${matrix} ${tokens} ${candidate}`)).toEqual([
    ...['m33 1 gemv', 'm33 1 gemm', 'm33 5 gemm'],
    ...['m192 1 gemv', 'm192 1 gemm', 'm192 5 gemm'],
  ]);
  for (const row of rows) {
    expect(row).toMatchObject({ outcome: 'right', batches: 2 });
    expect(row.error).toBeLessThan(1e-6);
    const weightBytes = (row.rows * row.cols * 4.5) / 8;
    expect(row.gbPerSecond! * row.us!).toBeCloseTo(weightBytes / 1000, 6);
    expect(row.tflops! * row.us!).toBeCloseTo((2 * row.rows * row.cols * row.tokens) / 1e6, 6);
  }
  expect(rows.filter(({ best }) => best).length).toBe(4);
});

test('a matrix larger than a binding is measured in parts', async () => {
  const limits = new Proxy(gpu.device.limits, {
    get: (target, name) => (name === 'maxStorageBufferBindingSize' ? 4096 : Reflect.get(target, name)),
  });
  const device = new Proxy(gpu.device, {
    get(target, name) {
      if (name === 'limits') return limits;
      const value = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const [row] = await run([matrix(300, 128)], [1], [gemv], undefined, { ...gpu, device });
  expect(row).toMatchObject({ outcome: 'right' });
  expect(row!.error).toBeLessThan(1e-6);
});

test('`only` chooses by matrix, shape or candidate', async () => {
  const names = async (only: string) =>
    (await run([matrix(8, 64), matrix(9, 64)], [1], [gemv, gemm], only)).map(({ matrix, candidate }) => `${matrix} ${candidate}`);
  expect(await names('m9')).toEqual(['m9 gemv', 'm9 gemm']);
  expect(await names('8x64 gemm')).toEqual(['m8 gemm']);
  expect(await names('nothing')).toEqual([]);
});

test('the ceilings are measured, and nothing stays in GPU memory', async () => {
  const { probeBytes, ...ceilings } = await measureCeilings(gpu, effort);
  expect(probeBytes).toBe(2 ** 20);
  const transfers = await measureTransfers(gpu);
  expect(Object.keys(transfers)).toEqual(['uploadGBps', 'readbackGBps']);
  for (const { value } of [...Object.values(ceilings), ...Object.values(transfers)]) expect(value).toBeGreaterThan(0);
  expect(gpu.memory.bytes).toBe(0);
});

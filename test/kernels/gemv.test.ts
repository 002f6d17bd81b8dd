/** What a recording runs for one token, and that cutting a matrix elsewhere changes nothing: budgets do both. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { affine, bf16, q3, q4 } from '../../src/cases/formats';
import { onBench, random, randomMatrix, uniform, withReduction } from '../../src/cases/harness';
import type { Gpu } from '../../src/gpu/device';
import { chooseGemv, type GemvShape } from '../../src/kernels/gemv';
import { openNodeGpu } from '../../src/node/open_gpu';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openNodeGpu();
}, 60_000);
afterAll(() => gpu?.device.destroy());

const defaults = {
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupStorageSize: 16384,
};
const large = { maxComputeInvocationsPerWorkgroup: 1024, maxComputeWorkgroupSizeX: 1024, maxComputeWorkgroupStorageSize: 49152 };
const format = q4(64, 'bf16');
const staged = 'gemv_q4_staged q4g64 subgroup 4 rows, 32x4, 12 KiB convert';
const held = (lanes: number, kib: number) =>
  `gemv_q4_held q4g64 ${lanes === 32 ? 'subgroup' : 'subgroups'} 4 rows, ${lanes}x1, ${kib} KiB convert`;

describe('the kernel for one token where nothing was measured', () => {
  /** A device that compiles nothing. */
  const device = (limits: Record<string, number>, subgroupSizes = { min: 32, max: 32 }, subgroups = true): Gpu => {
    const inert = {
      createBindGroupLayout: () => ({}),
      createShaderModule: () => ({}),
      createPipelineLayout: () => ({}),
      createComputePipelineAsync: () => new Promise<never>(() => {}),
    };
    const own = { ...gpu, device: inert as unknown as GPUDevice, pipelines: new Map(), layouts: new Map() };
    return { ...own, direct: false, subgroups, subgroupSizes, adapter: { ...gpu.adapter, limits } };
  };

  test.each([
    { rows: 17408, cols: 5120, limits: defaults, label: staged, why: 'many rows' },
    { rows: 4096, cols: 4096, limits: large, label: staged, why: 'just as many as are many' },
    { rows: 1024, cols: 5120, limits: defaults, label: held(160, 16), why: 'few' },
    { rows: 1024, cols: 5120, limits: large, label: held(160, 48), why: 'few, on a device with more memory' },
    { rows: 1024, cols: 5120, limits: large, sliced: true, label: staged, why: 'few of a matrix of many' },
    { rows: 1024, cols: 17408, limits: defaults, label: staged, why: 'a row has more units than a workgroup may have threads' },
    { rows: 1024, cols: 17408, limits: large, label: held(544, 48), why: 'a device with as many threads' },
    { rows: 8, cols: 64, limits: defaults, label: held(32, 16), why: 'the smallest' },
  ])('$rows x $cols, $why: $label', ({ rows, cols, limits, sliced, label }) => {
    const kernel = chooseGemv(device(limits), { cols, outCols: rows, format, accumulate: false }, sliced);
    expect(kernel.label).toBe(label);
  });

  test.each([
    { sizes: { min: 4, max: 128 }, subgroups: false, lanes: 160, why: 'sizes of subgroups that are not used' },
    { sizes: { min: 32, max: 64 }, subgroups: true, lanes: 160, why: 'whole subgroups of 64 would leave 32 lanes idle' },
    { sizes: { min: 16, max: 16 }, subgroups: true, lanes: 160, why: 'small subgroups' },
  ])('few rows get one step a row also with $why', ({ sizes, subgroups, lanes }) => {
    const shape = { cols: 5120, outCols: 1024, format, accumulate: false };
    expect(chooseGemv(device(defaults, sizes, subgroups), shape).label).toContain(`gemv_q4_held q4g64`);
    expect(chooseGemv(device(defaults, sizes, subgroups), shape).label).toContain(`4 rows, ${lanes}x1`);
  });

  test.each([
    { format: bf16, stem: 'gemv bf16' },
    { format: q3(64, 'bf16'), stem: 'gemv q3g64' },
    { format: affine(4, 16, 'bf16'), stem: 'gemv_q4 q4g16' },
  ])('$stem takes what has no 4-bit groups of 32', ({ format, stem }) => {
    const kernel = chooseGemv(device(defaults), { cols: 5120, outCols: 17408, format, accumulate: false });
    expect(kernel.label).toBe(`${stem} subgroups`);
  });

  test('a CPU adapter has its own', () => {
    const kernel = chooseGemv({ ...device(defaults), direct: true }, { cols: 64, outCols: 64, format, accumulate: false });
    expect(kernel.label).toBe('gemv_q4_direct q4g64');
  });
});

const reductions = ['workgroup', 'subgroups'] as const;
const shapes: { shape: GemvShape; sliced: boolean }[] = [
  { shape: { cols: 2304, format, accumulate: false }, sliced: true },
  { shape: { cols: 2304, format, accumulate: false }, sliced: false },
  { shape: { cols: 320, format: q3(64, 'bf16'), accumulate: false }, sliced: true },
];
test.each(reductions.flatMap((reduction) => shapes.map((row) => ({ ...row, reduction }))))(
  'a row has the same bits wherever its matrix is cut: $reduction, $shape.format.bits bits, sliced: $sliced',
  async ({ shape, sliced, reduction }) => {
    const variant = withReduction(gpu, reduction);
    if (typeof variant === 'string') throw new Error(variant);
    const rows = 41;
    const next = random(5);
    const matrix = randomMatrix(next, rows, shape.cols, shape.format);
    const values = uniform(next, shape.cols);
    const results = await onBench(variant, async (bench) => {
      const x = bench.input(values);
      const kernel = chooseGemv(variant, { ...shape, outCols: rows }, sliced);
      const got: Float32Array[] = [];
      for (const cuts of [[], [1, 6, 7, 23, 40]]) {
        const y = bench.output(rows);
        await bench.run(...bench.matrix(matrix, { cuts }).map((part) => ({ kernel, bindings: { x, y }, ...part })));
        got.push(await bench.read(y));
      }
      return got;
    });
    expect(results[0]!.every((value) => value !== 0)).toBe(true);
    expect(results[1]).toEqual(results[0]);
  },
);

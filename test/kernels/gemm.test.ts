/** What a recording runs for several tokens, and that cutting a matrix or a prompt elsewhere changes nothing: budgets do both. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bf16, q3, q4 } from '../../src/cases/formats';
import { onBench, random, randomMatrix, uniform, withReduction } from '../../src/cases/harness';
import type { Gpu } from '../../src/gpu/device';
import { type Kernel, kernelByTokens } from '../../src/gpu/kernel';
import { chooseGemm, type GemmShape } from '../../src/kernels/gemm';
import { createRmsNorm } from '../../src/kernels/rms_norm';
import { createSwiglu } from '../../src/kernels/swiglu';
import { openNodeGpu } from '../../src/node/open_gpu';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openNodeGpu();
}, 60_000);
afterAll(() => gpu?.device.destroy());

/** A GPU that compiles nothing. */
const inert = (): Gpu => {
  const device = {
    createBindGroupLayout: () => ({}),
    createShaderModule: () => ({}),
    createPipelineLayout: () => ({}),
    createComputePipelineAsync: () => new Promise<never>(() => {}),
  } as unknown as GPUDevice;
  return { ...gpu, device, pipelines: new Map(), layouts: new Map(), direct: false, subgroups: true };
};
const shape = (outCols: number, format: GemmShape['format'] = q4(64, 'bf16')): GemmShape => ({
  ...{ cols: 5120, outCols, format, accumulate: false, f16: false },
});
/** Rows and tokens that one workgroup makes, by the grid. */
const tileOf = (kernel: Kernel, tokens: number) => {
  const [x] = kernel.grid(tokens, 64 * 1024);
  return x === 1024 ? 'tile' : x === 16 * 1024 ? 'split' : `${x} workgroups`;
};

describe('the kernel for several tokens', () => {
  test.each([
    { outCols: 48, upTo: Number.POSITIVE_INFINITY, why: 'too few rows for tiles, however many tokens' },
    { outCols: 1024, upTo: 256, why: 'few rows' },
    { outCols: 5120, upTo: 64, why: '80 tiles of 64 tokens are too few, 160 are not' },
    { outCols: 17408, upTo: 32, why: '272 tiles are enough; a handful of tokens would leave most of each empty' },
  ])('$outCols rows share the columns up to $upTo tokens: $why', ({ outCols, upTo }) => {
    const kernel = chooseGemm(inert(), shape(outCols));
    expect(tileOf(kernel, Math.min(upTo, 512))).toBe('split');
    if (upTo < 512) expect(tileOf(kernel, upTo + 1)).toBe('tile');
  });

  test.each([
    { outCols: 48, label: /^gemm_q4_split/, why: 'a handful of rows' },
    { outCols: 5120, label: /^gemm_q4_split/, why: 'too few workgroups of 16 rows' },
    { outCols: 17408, label: /^gemm_q4_few q4g64 8 tokens, 32x4$/, why: 'many rows' },
  ])('$outCols rows and up to 8 tokens: $why', ({ outCols, label }) => {
    const { chosen } = chooseGemm(inert(), shape(outCols));
    expect(chosen!(8).label).toMatch(label);
    expect(chosen!(9).label).toMatch(/^gemm_q4_split/);
  });

  test('a slice gets one kernel, whatever its rows and tokens', () => {
    for (const outCols of [16, 300, 5120, 248_320]) {
      const kernel = chooseGemm(inert(), shape(outCols), true);
      expect(kernel.label).toBe('gemm_q4_split q4g64 8 tokens, 64 lanes');
      expect(tileOf(kernel, 2)).toBe('split');
    }
  });

  test.each([bf16, q3(64, 'bf16')])('other formats keep the general tiles: $kind', (format) => {
    expect(chooseGemm(inert(), shape(5120, format)).label).toMatch(/^gemm /);
  });

  test('a CPU adapter has its own', () => {
    expect(chooseGemm({ ...inert(), direct: true }, shape(5120)).label).toBe('gemm_q4_direct q4g64');
  });

  test('kernels of other bindings, or none for many tokens, cannot stand in for each other', () => {
    const norm = createRmsNorm(inert(), { cols: 64, eps: 1e-6 });
    const swiglu = createSwiglu(inert(), { cols: 64 });
    const both = [
      { upTo: 8, kernel: norm },
      { upTo: Number.POSITIVE_INFINITY, kernel: swiglu },
    ];
    expect(() => kernelByTokens(both)).toThrow('cannot stand in');
    expect(() => kernelByTokens([{ upTo: 8, kernel: norm }])).toThrow('cannot stand in');
    expect(() => kernelByTokens([])).toThrow('cannot stand in');
  });
});

test.each([
  { reduction: 'workgroup', sliced: false, outCols: 41, tokens: 9 },
  { reduction: 'subgroups', sliced: false, outCols: 41, tokens: 9 },
  { reduction: 'subgroups', sliced: true, outCols: 41, tokens: 9 },
  { reduction: 'workgroup', sliced: false, outCols: 16480, tokens: 4 },
  { reduction: 'subgroups', sliced: false, outCols: 17408, tokens: 8 },
] as const)(
  'a row has the same bits wherever its matrix is cut: $reduction, sliced: $sliced, $tokens tokens, chosen for $outCols rows',
  { timeout: 240_000 },
  async ({ reduction, sliced, outCols, tokens }) => {
    const variant = withReduction(gpu, reduction);
    if (typeof variant === 'string') throw new Error(variant);
    const [rows, cols] = [41, 320];
    const next = random(5);
    const format = q4(64, 'bf16');
    const matrix = randomMatrix(next, rows, cols, format);
    const values = uniform(next, tokens * cols);
    const results = await onBench(variant, async (bench) => {
      const kernel = chooseGemm(
        { ...variant, direct: outCols > rows ? false : variant.direct },
        { cols, outCols, format, accumulate: false, f16: false },
        sliced,
      );
      const got: Float32Array[] = [];
      for (const cuts of [[], [1, 6, 7, 23, 40]]) {
        const y = bench.output(tokens * rows);
        const bindings = { x: bench.input(values), y, step: bench.step({ tokens }) };
        await bench.run(...bench.matrix(matrix, { cuts }).map((part) => ({ kernel, bindings, tokens, ...part })));
        got.push(await bench.read(y));
      }
      return got;
    });
    expect(results[0]!.every((value) => value !== 0)).toBe(true);
    expect(results[1]).toEqual(results[0]);
  },
);

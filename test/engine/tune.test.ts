/** Kernels chosen by measurement: the fastest right one, kept and found again. The kernels are one, made slow or wrong by its grid. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { q4 } from '../../src/cases/formats';
import { type Bench, onBench, random, randomMatrix, uniform, type WeightPart } from '../../src/cases/harness';
import { type ChoiceStore, Tuner } from '../../src/engine/tune';
import type { Gpu } from '../../src/gpu/device';
import type { Kernel } from '../../src/gpu/kernel';
import { Readback } from '../../src/gpu/readback';
import type { Candidate } from '../../src/kernels/candidates';
import { createGemvQ4 } from '../../src/kernels/gemv';
import { createGemvQ4Units } from '../../src/kernels/gemv_teams';
import { unitBytes } from '../../src/kernels/variants';
import type { RecordedProduct } from '../../src/model/recorder';
import type { Scratch } from '../../src/model/scratch';
import { openNodeGpu } from '../../src/node/open_gpu';

let gpu: Gpu;
beforeAll(async () => {
  const opened = await openNodeGpu();
  gpu = { ...opened, direct: false, adapter: { ...opened.adapter, isCpu: false } };
}, 60_000);
afterAll(() => gpu?.device.destroy());

const [rows, cols] = [64, 256];
const format = q4(64, 'bf16');
const plenty = 600_000;

const base = () => createGemvQ4(gpu, { cols, format, accumulate: false });
/** `repeats`: all rows so often; past the end nothing is written. */
const variant = (digest: string, repeats: number): Kernel => ({ ...base(), digest, grid: () => [rows / 4, repeats] });
const quick: Candidate = { name: 'quick', create: () => variant('quick', 1) };
const wrong: Candidate = { name: 'wrong', create: () => ({ ...variant('wrong', 1), grid: () => [1] }) };
const broken: Candidate = {
  name: 'broken',
  create: () => {
    throw new Error('does not compile');
  },
};

function inMemory(): ChoiceStore & { kept: Map<string, string> } {
  const kept = new Map<string, string>();
  return { kept, get: async (key) => kept.get(key), set: async (key, name) => kept.set(key, name) };
}

async function readOf(source: GPUBuffer, byteOffset: number, into: Uint8Array): Promise<void> {
  const readback = new Readback(gpu, 'results', into.byteLength);
  const encoder = gpu.device.createCommandEncoder();
  readback.copyFrom(encoder, source, byteOffset, into.byteLength);
  gpu.device.queue.submit([encoder.finish()]);
  const { buffer, byteOffset: at } = await readback.floats(into.byteLength);
  into.set(new Uint8Array(buffer, at, into.byteLength));
  readback.destroy();
}

/** Two products of one shape, as two layers have, and what tunes them. */
function tunedProducts(bench: Bench, store: ChoiceStore, candidates: Candidate[], on = gpu) {
  const input = { buffer: bench.output(cols).buffer };
  const output = { buffer: bench.output(rows).buffer, size: rows * 4 };
  const usual = variant('usual', 300);
  const products = [1, 2].map((seed): RecordedProduct => {
    const [{ weights }] = bench.matrix(randomMatrix(random(seed), rows, cols, format)) as [WeightPart];
    const dispatch = { kernel: usual, activations: usual.bind({ x: input, y: output }, weights), slab: weights.slab!, rows };
    const shape = { tokens: 1, cols, outCols: rows, format, accumulate: false };
    return { dispatch, shape, x: 'f32', rows: [rows], input, output };
  });
  const scratch = { step: bench.step({}).buffer } as Scratch;
  const tuner = new Tuner({ gpu: on, products, scratch, candidates: () => candidates, read: readOf }, store);
  return { tuner, chosen: () => products.map(({ dispatch }) => dispatch.kernel.digest) };
}

test('the fastest right one takes the place of the usual one, and is found again', { timeout: 120_000 }, () =>
  onBench(gpu, async (bench) => {
    const store = inMemory();
    const first = tunedProducts(bench, store, [wrong, broken, quick]);
    await first.tuner.recall();
    expect(first.chosen()).toEqual(['usual', 'usual']);
    await first.tuner.measure(plenty);
    expect(first.chosen()).toEqual(['quick', 'quick']);
    expect([...store.kept.values()]).toEqual(['quick']);

    const second = tunedProducts(bench, store, [wrong, broken, quick]);
    await second.tuner.recall();
    expect(second.chosen()).toEqual(['quick', 'quick']);

    const otherKernels = tunedProducts(bench, store, [quick]);
    await otherKernels.tuner.recall();
    expect(otherKernels.chosen(), 'what was measured among others says nothing').toEqual(['usual', 'usual']);
  }),
);

test('a wrong one is never chosen, however fast; that the usual one is best is kept too', { timeout: 120_000 }, () =>
  onBench(gpu, async (bench) => {
    const store = inMemory();
    const { tuner, chosen } = tunedProducts(bench, store, [wrong]);
    await tuner.measure(plenty);
    expect(chosen()).toEqual(['usual', 'usual']);
    expect([...store.kept.values()]).toEqual(['usual']);
  }),
);

test('measuring a product that convolves leaves the state of the convolution as it is', { timeout: 120_000 }, () =>
  onBench(gpu, async (bench) => {
    const write = { kind: 'convolved', eps: 1e-6, channels: rows } as const;
    const shape = { cols, format, accumulate: false, write };
    const create = (lanes: number) => createGemvQ4Units(gpu, { ...shape, team: { rows: 4, lanes, teams: 2 }, x: 'f32x32' });
    const next = random(4);
    const state = bench.output(uniform(next, 3 * rows));
    const before = await bench.read(state);
    const input = { buffer: bench.output(unitBytes(cols, 'f32x32') / 4).buffer };
    const output = { buffer: bench.output(rows).buffer, size: rows * 4 };
    const step = bench.step({ tokens: 1 });
    const bindings = { x: input, y: output, squares: bench.input(uniform(next, cols / 32, 1, 2)), state, step };
    const weights = bench.severalAfter(
      uniform(next, cols),
      [randomMatrix(next, rows, cols, format)],
      [0],
      uniform(next, 4 * rows),
    );
    const kernel = create(8);
    const dispatch = { kernel, activations: kernel.bind(bindings, weights), slab: weights.slab!, rows };
    const product = { dispatch, shape: { ...shape, tokens: 1, outCols: rows }, rows: [rows], input, output };
    const scratch = { step: step.buffer, qGate: bench.output(cols).buffer } as Scratch;
    const candidates = () => [{ name: 'other lanes', create: () => create(16) }];
    const tuner = new Tuner({ gpu, products: [{ ...product, x: 'f32x32' }], scratch, candidates, read: readOf }, inMemory());
    await tuner.measure(plenty);
    expect(await bench.read(state)).toEqual(before);
  }),
);

test.each([
  { why: 'no time', ms: 0, isCpu: false },
  { why: 'a CPU adapter', ms: plenty, isCpu: true },
])('nothing is measured or kept with $why', ({ ms, isCpu }) =>
  onBench(gpu, async (bench) => {
    const store = inMemory();
    const on = { ...gpu, adapter: { ...gpu.adapter, isCpu } };
    const { tuner, chosen } = tunedProducts(bench, store, [quick], on);
    await tuner.measure(ms);
    expect(chosen()).toEqual(['usual', 'usual']);
    expect(store.kept.size).toBe(0);
  }),
);

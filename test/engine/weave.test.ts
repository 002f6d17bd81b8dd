/** Scales and biases that the GPU interleaves: the same bits as those that the CPU does, within the bytes that the plan counts. */
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { ModelSession, type SessionOptions, sessionPlan } from '../../src/engine/model_session';
import { createPairWeaver } from '../../src/engine/pair_weaver';
import type { Gpu } from '../../src/gpu/device';
import { Readback } from '../../src/gpu/readback';
import { openNodeGpu } from '../../src/node/open_gpu';
import type { StoreIndex } from '../../src/plan/blocks';
import { rawPairs, type SlotImage } from '../../src/plan/windows';
import { memorySource } from '../../src/storage/memory';
import { interleave, WindowFiller } from '../../src/stream/fill';
import { createMappedUpload, createWriteUpload } from '../../src/stream/upload';
import { WindowUpload } from '../../src/stream/window_upload';
import type { SyntheticModel } from '../../src/synth/layout';
import { logitsOf, oneByOne, openSynthetic, scoreOnce, someIds, tinyShapes, withReads } from './memory_model';

const base: SessionOptions = { contextTokens: 64, chunkTokens: 16, kv: 'f32', f16: false };
const prompt = someIds(21, 300);
const decode = someIds(3, 300, 99);
const steps = [prompt, ...oneByOne(decode)];

let gpu: Gpu;
const uncaptured: string[] = [];
beforeAll(async () => {
  gpu = await openNodeGpu();
  gpu.device.addEventListener('uncapturederror', ({ error }) => uncaptured.push(error.message));
});
afterEach(() => {
  expect(uncaptured).toEqual([]);
  expect(gpu.memory.bytes).toBe(0);
});

function expectSame(ours: Float32Array, reference: Float32Array): void {
  expect(ours.length).toBe(reference.length);
  expect(reference.some((value) => value !== 0)).toBe(true);
  expect(ours.findIndex((value, i) => !Object.is(value, reference[i]))).toBe(-1);
}

describe('a session', () => {
  const models: { model: SyntheticModel; why: string }[] = [
    { model: { shapes: tinyShapes, bits: 4 }, why: '4 bits, tied' },
    {
      model: { shapes: { ...tinyShapes, hiddenSize: 192, vocabSize: 517 }, bits: 3, shuffle: true },
      why: 'three groups a row and odd rows: odd counts of pairs',
    },
    {
      model: { shapes: { ...tinyShapes, tieWordEmbeddings: false }, bits: 4, groupSize: 32, overrides: { lm_head: false } },
      why: 'a head without pairs',
    },
  ];

  test.each(models)('$why: resident, partly and wholly streamed, in slots of several sizes', async ({ model }) => {
    const checkpoint = await openSynthetic(model);
    const { logits: reference } = await scoreOnce(gpu, checkpoint, { ...base, weave: false }, { prompt, decode });
    const resident = await scoreOnce(gpu, checkpoint, { ...base, weave: true }, { prompt, decode });
    expectSame(resident.logits, reference);
    for (const slotBytes of [8_192, 16_384, 32_768]) {
      const options = { ...base, slotBytes, weave: true };
      const { smallestBudgetBytes, weightBytes } = sessionPlan(gpu, checkpoint, options);
      for (const share of [0, 0.1, 0.5]) {
        const gpuBudgetBytes = smallestBudgetBytes + Math.floor(share * weightBytes);
        const { session, logits } = await scoreOnce(gpu, checkpoint, { ...options, gpuBudgetBytes }, { prompt, decode });
        expect(session.plan.streamedBytesPerToken).toBeGreaterThan(0);
        expect(session.plan.staging.weave).toBe(share > 0); // the very smallest plan does without its buffer
        expectSame(logits, reference);
        expect(session.gpu.memory.peakBytes).toBe(session.plan.bytes.total);
      }
    }
  });

  test('interleaves on the GPU where that is not a CPU adapter and the checkpoint lies as it came with pairs apart', async () => {
    const affine = await openSynthetic({ shapes: tinyShapes, bits: 4 });
    const floats = await openSynthetic({ shapes: tinyShapes, bits: 16 });
    const real: Gpu = { ...gpu, direct: false };
    const weaves = (on: Gpu, checkpoint: typeof affine, stored?: StoreIndex) =>
      sessionPlan(on, { ...checkpoint, ...(stored ? { stored } : {}) }, base).staging.weave;
    expect(weaves(real, affine)).toBe(true);
    expect(weaves(gpu, affine)).toBe(false);
    expect(weaves(real, floats)).toBe(false);
    expect(weaves(real, affine, new Map())).toBe(false);
    const [apart, together] = [true, false].map((weave) => sessionPlan(gpu, affine, { ...base, weave }));
    expect(apart!.bytes.total - together!.bytes.total).toBe(apart!.staging.pieceBytes + 16);
  });

  test('has the right bits after a read of scales or biases failed, and after measuring; nothing is made per token', async () => {
    const checkpoint = await openSynthetic({ shapes: tinyShapes, bits: 4 });
    const { logits: reference } = await scoreOnce(gpu, checkpoint, { ...base, weave: false }, { prompt, decode });
    let failing = Number.POSITIVE_INFINITY;
    let reads = 0;
    const faulty = withReads(checkpoint, () => {
      reads += 1;
      if (reads === failing) throw new Error('planted');
    });
    const options = { ...base, slotBytes: 16_384, weave: true };
    const gpuBudgetBytes = sessionPlan(gpu, faulty, options).smallestBudgetBytes;
    const session = await ModelSession.load(gpu, faulty, { ...options, gpuBudgetBytes });
    for (const ahead of [1, 2, 3, 4, 5, 6, 7, 40, 41, 42, 43]) {
      session.sequence.reset();
      failing = reads + ahead;
      await expect(logitsOf(session, [...steps, ...steps.slice(1)])).rejects.toThrow('planted');
      session.sequence.reset();
      expectSame(await logitsOf(session, steps), reference);
    }
    const { readMs, uploadMs } = await session.measure();
    expect(Math.min(readMs, uploadMs)).toBeGreaterThan(0);
    const made = (['createBuffer', 'createBindGroup', 'createComputePipelineAsync'] as const).map((name) =>
      vi.spyOn(gpu.device, name),
    );
    for (let i = 0; i < 2; i++) {
      session.sequence.reset();
      expectSame(await logitsOf(session, steps), reference);
    }
    for (const spy of made) {
      expect(spy).not.toHaveBeenCalled();
      spy.mockRestore();
    }
    session.destroy();
  });
});

describe.each([
  { kind: 'mapped', create: createMappedUpload },
  { kind: 'write', create: createWriteUpload },
])('windows of one image, four at a time, $kind', ({ create }) => {
  test.each([2, 4] as const)('pairs of elements of %i bytes lie where they belong, and nothing else changes', async (bytes) => {
    const counts = [1, 7, 640, 1_001, 5_003];
    const file = Uint8Array.from({ length: 45_000 }, (_, i) => Math.imul(i + 7, 2_654_435_761) >>> 19);
    const sources = new Map([['file', memorySource(file)]]);
    const range = (n: number, count: number) => ({ file: 'file', byteOffset: 1 + 1_777 * n, byteLength: count * bytes });
    let at = 0;
    const blocks = counts.map((count, n) => {
      const fills = [{ kind: 'pairs' as const, at: 0, scales: range(n, count), biases: range(n + 9, count), bytes }];
      const block = { label: `${n}`, bytes: Math.ceil((2 * count * bytes) / 16) * 16, fills };
      const place = { block, byteOffset: at };
      at += block.bytes;
      return place;
    });
    const image: SlotImage = { label: 'image', bytes: at, blocks };
    const base = 256;
    const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
    const targets = [0, 1].map((n) => gpu.memory.create(`target ${n}`, image.bytes + 2 * base, STORAGE | COPY_SRC | COPY_DST));
    const want = new Uint8Array(targets[0]!.size).fill(0xc3);
    for (const target of targets) gpu.device.queue.writeBuffer(target, 0, want);
    for (const { block, byteOffset } of blocks) {
      const [{ scales, biases }] = block.fills as [(typeof block.fills)[number]];
      const slice = ({ byteOffset: from, byteLength }: typeof scales) => file.slice(from, from + byteLength);
      const start = base + byteOffset;
      interleave(slice(scales), slice(biases), want.subarray(start, start + 2 * scales.byteLength), bytes);
    }
    const upload = create(gpu, { pieceBytes: 1_024, buffers: 4 });
    const weaver = createPairWeaver(gpu, upload.pieceBytes, targets);
    const windowUpload = new WindowUpload(upload, weaver);
    const windows = windowUpload.windowsOf(image);
    expect(windows.length).toBeGreaterThan(20);
    for (const { weave } of windows) if (weave) expect(rawPairs(weave).bytes).toBeLessThanOrEqual(1_024);
    expect(windows.some(({ weave }) => weave !== undefined)).toBe(true);
    await Promise.all(
      windows.flatMap((window) =>
        targets.map((target) =>
          windowUpload.send(window, target, base + window.at, (into) => new WindowFiller(sources).fill(window, into), {}),
        ),
      ),
    );
    for (const target of targets) expect(Buffer.compare(masked(await bytesOf(target), windows), masked(want, windows))).toBe(0);
    upload.destroy();
    gpu.memory.release();
  });

  /** Zeros where only the CPU writes some: behind the pairs of windows that are not woven. */
  function masked(bytes: Uint8Array, windows: ReturnType<WindowUpload['windowsOf']>): Uint8Array {
    const copy = bytes.slice();
    for (const { at, bytes, weave, fills } of windows) {
      if (weave) continue;
      let end = 256 + at;
      for (const fill of fills) {
        copy.fill(0, end, 256 + at + fill.at);
        end = 256 + at + fill.at + (fill.kind === 'pairs' ? 2 * fill.scales.byteLength : 0);
      }
      copy.fill(0, end, 256 + at + bytes);
    }
    return copy;
  }

  async function bytesOf(buffer: GPUBuffer): Promise<Uint8Array> {
    const readback = new Readback(gpu, 'read back', buffer.size);
    const encoder = gpu.device.createCommandEncoder();
    readback.copyFrom(encoder, buffer, 0, buffer.size);
    gpu.device.queue.submit([encoder.finish()]);
    const floats = await readback.floats(buffer.size);
    return new Uint8Array(floats.buffer, floats.byteOffset, buffer.size);
  }
});

/** What 500 tokens under streaming leave behind: nothing. */
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ModelSession, type SessionOptions, sessionPlan } from '../../src/engine/model_session';
import type { Gpu } from '../../src/gpu/device';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import { writeSynthetic } from '../../src/node/synth/write';
import { openCheckpoint } from '../../src/stream/open_checkpoint';
import { around } from './gpu_waits';
import { tinyShapes } from './memory_model';

const options: SessionOptions = { contextTokens: 600, chunkTokens: 16, kv: 'f32', f16: false, slotBytes: 16_384 };
const vocabSize = 64;

let gpu: Gpu;
let folder: string;
beforeAll(async () => {
  gpu = await openNodeGpu();
  folder = mkdtempSync(join(tmpdir(), 'sluice-steady-'));
  const layerTypes = tinyShapes.layerTypes.slice(2, 4);
  const shapes = { ...tinyShapes, layerTypes, vocabSize, tieWordEmbeddings: false }; // so that embedding rows are read too
  await writeSynthetic({ shapes, bits: 4, out: folder, force: true, shardBytes: 60_000 });
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Counts until `stop`: buffers and their bytes that were made and not destroyed, mappings that were asked for and not answered. */
function countGpu() {
  const held = { buffers: 0, bytes: 0, bindGroups: 0, pendingMaps: 0, mostPendingMaps: 0 };
  const alive = new WeakSet<GPUBuffer>();
  const stops = [
    around(GPUDevice.prototype, 'createBuffer', (create, _, descriptor) => {
      const buffer = create(descriptor);
      alive.add(buffer);
      held.buffers += 1;
      held.bytes += descriptor.size;
      return buffer;
    }),
    around(GPUDevice.prototype, 'createBindGroup', (create, _, descriptor) => {
      held.bindGroups += 1;
      return create(descriptor);
    }),
    around(GPUBuffer.prototype, 'destroy', (destroy, buffer) => {
      if (alive.delete(buffer)) {
        held.buffers -= 1;
        held.bytes -= buffer.size;
      }
      return destroy();
    }),
    around(GPUBuffer.prototype, 'mapAsync', (map, _, ...rest) => {
      held.pendingMaps += 1;
      held.mostPendingMaps = Math.max(held.mostPendingMaps, held.pendingMaps);
      const pending = map(...rest);
      const over = () => {
        held.pendingMaps -= 1;
      };
      pending.then(over, over);
      return pending;
    }),
  ];
  const stop = () => {
    for (const each of stops) each();
  };
  return { held, stop };
}

/** Of this process: all of them, and those of the model. Undefined where the system does not tell. */
function openFiles(): { all: number; model: number } | undefined {
  if (process.platform !== 'linux') return undefined;
  const targets = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ''; // the listing itself
    }
  });
  return { all: targets.length, model: targets.filter((target) => target.startsWith(folder)).length };
}

test('500 tokens under streaming: GPU bytes, heap, open files, pending maps and what waits stay as they are', {
  timeout: 300_000,
}, async () => {
  const files = await openDirectory(folder);
  const checkpoint = await openCheckpoint(files, undefined, { text: false });
  const { smallestBudgetBytes } = sessionPlan(gpu, checkpoint, options);
  const { held, stop } = countGpu();
  const session = await ModelSession.load(gpu, checkpoint, { ...options, gpuBudgetBytes: smallestBudgetBytes });
  const { sequence, runner, plan } = session;
  expect(plan.streamedBytesPerToken).toBeGreaterThan(plan.ring.slots * plan.ring.slotBytes);
  const run = async (tokens: number) => {
    for (let i = 0; i < tokens; i++) await runner.step([{ sequence, tokens: Uint32Array.of(i % vocabSize), logits: 'last' }]);
  };
  setFlagsFromString('--expose-gc'); // which Node only lends on demand
  const gc = runInNewContext('gc') as () => void;
  const settled = async () => {
    while (held.pendingMaps > 0) await new Promise((resolve) => setTimeout(resolve, 10)); // what is read ahead is still on its way
    gc();
    gc();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    const { buffers, bytes, bindGroups } = held;
    return { exact: { buffers, bytes, bindGroups, counted: gpu.memory.bytes, files: openFiles() }, heapUsed, arrayBuffers };
  };
  await run(50);
  const warm = await settled();
  expect(warm.exact.buffers).toBeGreaterThan(20);
  if (warm.exact.files) expect(warm.exact.files.model).toBeGreaterThan(2);
  await run(500);
  const after = await settled();
  expect(after.exact).toEqual(warm.exact);
  expect(session.gpu.memory.peakBytes).toBe(plan.bytes.total);
  expect(after.heapUsed - warm.heapUsed).toBeLessThan(2e6);
  expect(after.arrayBuffers - warm.arrayBuffers).toBeLessThan(1e5);
  // Staging that is written again, and two pieces of logits.
  expect(held.mostPendingMaps).toBeLessThanOrEqual(plan.staging.buffers + 2);
  session.destroy();
  for (const source of checkpoint.sources.values()) source.close();
  files.close();
  expect(held).toMatchObject({ buffers: 0, bytes: 0, pendingMaps: 0 });
  await expect.poll(() => openFiles()?.model ?? 0).toBe(0);
  stop();
});

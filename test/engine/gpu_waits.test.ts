/** Streamed decode waits for the GPU only to hold back what would pile up, and for the logits that the next token is drawn from. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EngineCore } from '../../src/engine/engine_core';
import type { Gpu } from '../../src/gpu/device';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import { spawnTextWorker } from '../../src/node/text_worker_spawn';
import type { ModelFiles } from '../../src/storage/byte_source';
import { type ModelSource, openModelSource } from '../../src/stream/model_source';
import { createTextHost, type TextHost } from '../../src/text/text_host';
import { bundleTextWorker } from '../text/bundled_worker';
import { type Waits, watchWaits } from './gpu_waits';

/** As engine/batch.ts has it. */
const submitsInFlight = 2;
const config = { contextTokens: 64, chunkTokens: 16 };

let gpu: Gpu;
let files: ModelFiles;
let model: ModelSource;
let text: TextHost;
let script: { url: URL; remove(): void };
beforeAll(async () => {
  script = await bundleTextWorker();
  gpu = await openNodeGpu();
  files = await openDirectory(new URL('../../demo/model', import.meta.url).pathname);
  model = await openModelSource(files);
  text = createTextHost({ spawn: () => spawnTextWorker(script.url) });
});
afterAll(() => {
  text.dispose();
  files.close();
  script.remove();
});

/** Waits during `tokens` tokens of a reply, from its second on; the first one's had the prompt before it. */
async function decode(core: EngineCore, tokens: number): Promise<Waits> {
  const request = { prompt: { text: 'Once' }, sampling: { temperature: 0 }, maxTokens: tokens + 2, stop: [] };
  let watch: ReturnType<typeof watchWaits> | undefined;
  const { runner } = core.session;
  const { step } = runner;
  let steps = 0;
  runner.step = async (...args) => {
    if (steps === 1) watch = watchWaits(20);
    await step.apply(runner, args);
    if (steps++ === tokens) watch!.stop();
  };
  for await (const _ of core.generate(request, new AbortController().signal));
  runner.step = step;
  expect(steps).toBeGreaterThan(tokens);
  return watch!.waits;
}

test.each([
  { isCpu: true, why: 'a CPU adapter, whose units go in several submits' },
  { isCpu: false, why: 'a GPU, a submit for every unit' },
])('JavaScript waits for the GPU for back-pressure only: $why', async ({ isCpu }) => {
  const as: Gpu = { ...gpu, adapter: { ...gpu.adapter, isCpu } };
  const least = await EngineCore.load({ gpu: as, model, text }, { ...config, gpuBudget: 1 }).catch((error: Error) =>
    Number(/at least (\d+) bytes/.exec(error.message)![1]),
  );
  const core = await EngineCore.load({ gpu: as, model, text }, { ...config, gpuBudget: least as number });
  const { plan, recordings } = core.session;
  const units = plan.streamed.filter(Boolean).length;
  expect(units).toBeGreaterThan(plan.ring.slots);
  const tokens = 4;
  const { done, maps, others, computeSubmits } = await decode(core, tokens);
  core.destroy();

  // Streamed units each have a submit, so there was something to wait for, and the GPU was late enough that it was waited for.
  expect(computeSubmits).toBeGreaterThanOrEqual(tokens * units);
  expect(done.filter(({ of }) => of === 'compute').length).toBeGreaterThan(tokens);
  // While JavaScript waits for a submit the GPU has others: it never runs dry.
  expect(done.filter((wait) => wait.of === 'compute' && wait.behind < submitsInFlight)).toEqual([]);
  expect(done.filter((wait) => wait.of === 'upload' && wait.pending > plan.staging.buffers)).toEqual([]);
  // A mapping is a staging buffer whose copy is queued, or logits.
  const { head } = recordings.decode;
  expect(maps.filter(({ mode }) => mode === 'read')).toEqual(
    Array.from({ length: tokens * head.length }, () => ({
      label: expect.stringMatching(/^logits readback/),
      mode: 'read',
      copied: true,
    })),
  );
  const writes = maps.filter(({ mode }) => mode === 'write');
  expect(writes.filter(({ label, copied }) => !copied || !label.startsWith('upload staging'))).toEqual([]);
  expect(writes.length + done.filter(({ of }) => of === 'upload').length).toBeGreaterThanOrEqual(tokens * units);
  expect(others).toEqual([]);
});

/** What waiting for an adapter costs the thread that waits. */
import { performance } from 'node:perf_hooks';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Gpu } from '../../src/gpu/device';
import { openNodeGpu } from '../../src/node/open_gpu';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openNodeGpu();
});
afterAll(() => gpu?.device.destroy());

const COUNT_ON = `
@group(0) @binding(0) var<storage, read_write> sums: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  var sum = 0.0;
  for (var i = 0u; i < 100000u; i++) { sum = sum * 0.5 + f32(i); }
  sums[id.x] = sum;
}`;

/** Has the GPU compute for a few milliseconds, and resolves when it is done. */
let compute: () => Promise<void>;
beforeAll(async () => {
  const { device } = gpu;
  const module = device.createShaderModule({ code: COUNT_ON });
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
  const buffer = device.createBuffer({ size: 256, usage: GPUBufferUsage.STORAGE });
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer } }],
  });
  compute = async () => {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(1);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
  };
});

test('a thread that waits for a CPU adapter leaves its core to that adapter', async (context) => {
  if (!gpu.adapter.isCpu) return context.skip('the adapter is a GPU, which is asked at every turn of the event loop');
  const before = performance.eventLoopUtilization();
  while (performance.eventLoopUtilization(before).active + performance.eventLoopUtilization(before).idle < 500) await compute();
  expect(performance.eventLoopUtilization(before).utilization).toBeLessThan(0.5);
});

test('while the GPU is awaited other work has its turns, as many as it likes', async () => {
  let over = false;
  let turns = 0;
  const start = performance.now();
  const done = (async () => {
    while (performance.now() - start < 200) await compute();
    over = true;
  })();
  while (!over) {
    await new Promise<void>((resolve) => setImmediate(() => resolve()));
    turns++;
  }
  await done;
  expect(turns / (performance.now() - start)).toBeGreaterThan(3); // spaced as Dawn's are they would be one a millisecond at most
});

import { beforeAll, expect, test } from 'vitest';
import type { Gpu } from '../../src/gpu/device';
import { subgroupsWork } from '../../src/kernels/probe';
import { openNodeGpu } from '../../src/node/open_gpu';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openNodeGpu();
});

test('subgroups that reduce as they should are found good, and nothing stays allocated', async () => {
  expect(gpu.subgroups).toBe(true);
  expect(await subgroupsWork({ ...gpu, direct: false })).toBe(true);
  expect(gpu.memory.bytes).toBe(0);
});

test('a reduction that loses lanes is found out', async () => {
  // A driver that reports more lanes than it runs: half of each subgroup's partial sums are never written.
  const device = new Proxy(gpu.device, {
    get(target, name) {
      const value = Reflect.get(target, name);
      if (name === 'createShaderModule') {
        return (descriptor: GPUShaderModuleDescriptor) =>
          target.createShaderModule({
            ...descriptor,
            code: descriptor.code.replaceAll('lane.subgroupSize', '(2u * lane.subgroupSize)'),
          });
      }
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  expect(await subgroupsWork({ ...gpu, direct: false, device, pipelines: new Map(), layouts: new Map() })).toBe(false);
});

import { beforeAll, expect, test } from 'vitest';
import type { Gpu } from '../../src/gpu/device';
import { subgroupsWork, teamsWork, usableSubgroups } from '../../src/kernels/probe';
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

/** The same device with every shader's text changed. */
function changed(change: (code: string) => string): Gpu {
  const device = new Proxy(gpu.device, {
    get(target, name) {
      const value = Reflect.get(target, name);
      if (name === 'createShaderModule') {
        return (descriptor: GPUShaderModuleDescriptor) =>
          target.createShaderModule({ ...descriptor, code: change(descriptor.code) });
      }
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  return { ...gpu, direct: false, device, pipelines: new Map(), layouts: new Map() };
}

test('a reduction that loses lanes is found out', async () => {
  // A driver that reports more lanes than it runs: half of each subgroup's partial sums are never written.
  const lost = (code: string) => code.replaceAll('lane.subgroupSize', '(2u * lane.subgroupSize)');
  expect(await subgroupsWork(changed(lost))).toBe(false);
  expect(await usableSubgroups(changed(lost))).toBe(false);
  expect(await usableSubgroups({ ...changed(lost), direct: true })).toBe(true);
});

test('lanes in another order than their numbers are found out', async () => {
  const swapped = (code: string) => code.replaceAll('let odd = thread % 2u == 1u', 'let odd = thread % 2u == 0u');
  expect(await subgroupsWork(changed(swapped))).toBe(false);
});

test('teams that are part of a subgroup are tried too: a driver that says more lanes than it runs is found out', async () => {
  const indirect = { ...gpu, direct: false, pipelines: new Map(), layouts: new Map() };
  const { min: lanes } = gpu.subgroupSizes!;
  expect(await teamsWork(indirect, lanes)).toBe(true);
  const said = { min: 8 * lanes, max: 8 * lanes };
  expect(await teamsWork({ ...indirect, subgroupSizes: said }, 4 * lanes)).toBe(false);
  expect(gpu.memory.bytes).toBe(0);
});

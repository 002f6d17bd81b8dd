/** A plan for weights that are computed with as they arrive: a prompt passes over them once, also where all of them fit. */
import { expect, test } from 'vitest';
import { planMemory } from '../../src/plan/memory_plan';
import { plannedModel } from './models';

const limits = { maxBufferSize: 2 ** 30, maxStorageBufferBindingSize: 2 ** 30 };
const input = {
  ...plannedModel({ preset: 'qwen3.5-0.8b', layers: 4, bits: 4 }),
  limits,
  contextTokens: 1024,
  chunkTokens: 32,
  kv: 'f16',
} as const;

test('a resident plan has room for the residual rows of a whole context, within its budget', () => {
  const usual = planMemory(input);
  expect(usual.scratch.passTokens).toBe(32);
  const arriving = planMemory({ ...input, asTheyArrive: true });
  expect(arriving.scratch.passTokens).toBe(1024);
  expect(arriving.streamedBytesPerToken).toBe(0);
  expect(arriving.smallestBudgetBytes).toBe(usual.smallestBudgetBytes);
  for (const spare of [0, 1e6, 10e6, 100e6]) {
    const gpuBudgetBytes = usual.bytes.total + spare;
    const plan = planMemory({ ...input, gpuBudgetBytes, asTheyArrive: true });
    expect(plan.bytes.total).toBeLessThanOrEqual(gpuBudgetBytes);
    expect(plan.streamedBytesPerToken).toBe(0);
  }
});

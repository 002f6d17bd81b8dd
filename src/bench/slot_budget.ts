/** The memory budget that leaves a mixture slots for a share of its experts. */
import { sessionOptions } from '../engine/engine_core';
import { sessionPlan } from '../engine/model_session';
import { EngineError } from '../errors';
import type { Gpu } from '../gpu/device';
import type { EngineConfig } from '../protocol/engine';

export type PlannedModel = Parameters<typeof sessionPlan>[1];

/** The budget whose plan has slots for `share` of the experts. @throws EngineError 'invalid-request' for a dense model. */
export function budgetOfSlots(gpu: Gpu, described: PlannedModel, config: EngineConfig, share: number): number {
  const options = sessionOptions(config, described, gpu);
  const whole = sessionPlan(gpu, described, options);
  if (!whole.experts) throw new EngineError('invalid-request', '--slots needs a mixture of experts.');
  const wanted = Math.floor(share * whole.experts.of);
  let [low, high] = [whole.smallestBudgetBytes, whole.bytes.total];
  while (high - low > 4096) {
    const gpuBudgetBytes = Math.floor((low + high) / 2);
    const { experts, gather } = sessionPlan(gpu, described, { ...options, gpuBudgetBytes });
    const slots = gather ? 0 : experts!.slabs.reduce((sum, slab) => sum + slab.slots, 0); // it is experts alone that are to come and go
    if (slots === wanted) return gpuBudgetBytes;
    if (slots < wanted) low = gpuBudgetBytes;
    else high = gpuBudgetBytes;
  }
  return high;
}

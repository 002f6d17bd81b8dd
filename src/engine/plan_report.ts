/** A memory plan in the protocol's words. */
import type { MemoryPlan } from '../plan/memory_plan';
import type { PassTimeline } from '../plan/timeline';
import type { PlanPrediction, PlanReport } from '../protocol/plan';
import type { ModelSource } from '../stream/model_source';

export async function planReport(model: ModelSource, plan: MemoryPlan, timeline = plan.timeline): Promise<PlanReport> {
  const disk = await model.disk();
  const { contextTokens, chunkTokens, passTokens } = plan.scratch;
  return {
    model: model.label,
    gpuBudgetBytes: plan.gpuBudgetBytes,
    smallestBudgetBytes: plan.smallestBudgetBytes,
    contextTokens,
    chunkTokens,
    passTokens,
    gpu: plan.bytes,
    ring: plan.ring,
    experts: plan.experts && {
      slots: plan.experts.slabs.reduce((sum, { slots }) => sum + slots, 0),
      ...{ of: plan.experts.of, slotBytes: plan.experts.slotBytes, perToken: plan.experts.perToken },
    },
    weightBytes: plan.weightBytes,
    streamedBytesPerToken: plan.streamedBytesPerToken,
    expectedExpertBytesPerToken: plan.experts?.expectedBytesPerToken ?? 0,
    units: plan.model.units.map(({ label, bytes }, i) => ({
      label,
      bytes,
      residency: plan.streamed[i] ? 'streamed' : 'resident',
    })),
    disk: { home: model.home, why: model.why, ...disk },
    prediction: timeline ? prediction(timeline) : undefined,
  };
}

function prediction({ msPerToken, firstTokenMs: _, stallMs: __, ...parts }: PassTimeline): PlanPrediction {
  return { tokensPerSecond: 1000 / msPerToken, ...parts };
}

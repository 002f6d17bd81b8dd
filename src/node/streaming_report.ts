/** What `score` and `generate` say about a memory budget. */
import { overlapOf } from '../bench/streaming';
import { expertReport } from '../engine/expert_report';
import type { ModelSession } from '../engine/model_session';
import { parseBytes } from '../plan/byte_budget';

/** `--gpu-budget 4GB` and `--slot 1MiB`. @throws EngineError 'invalid-request'. */
export function budgetOptions(budget: unknown, slot?: unknown): { gpuBudgetBytes?: number; slotBytes?: number } {
  return {
    ...(typeof budget === 'string' ? { gpuBudgetBytes: parseBytes('--gpu-budget', budget) } : {}),
    ...(typeof slot === 'string' ? { slotBytes: parseBytes('--slot', slot) } : {}),
  };
}

/**
 * Residency, and where weights stream (or with `measure`) what one token took after the run, each alone: `ioMs` reading into memory,
 * `uploadMs` from memory to the GPU, `throughMs` both as the engine does them, `computeMs`; and `overlap`. Where all is resident a token
 * is nothing but compute. null: not measured.
 */
export async function streamingReport(
  session: ModelSession,
  decoded: { tokens: number; ms: number },
  { measure = false, prompt }: { measure?: boolean; prompt?: Uint32Array<ArrayBuffer> } = {},
) {
  const { plan } = session;
  const report = {
    gpuBudgetBytes: plan.gpuBudgetBytes ?? null,
    plannedGpuBytes: plan.bytes.total,
    smallestBudgetBytes: plan.smallestBudgetBytes,
    residentBytes: plan.bytes.residentWeights,
    streamedBytesPerToken: plan.streamedBytesPerToken,
    ring: plan.ring,
    passTokens: plan.scratch.passTokens,
    ...(plan.experts ? { experts: expertReport(session, decoded.tokens) } : {}),
  };
  const tokenMs = decoded.tokens > 0 ? decoded.ms / decoded.tokens : null;
  if (plan.streamedBytesPerToken === 0 && !measure) {
    const fetches = plan.experts?.complete === false; // experts, as tokens ask for them
    const moved = fetches ? null : 0;
    const times = { ioMs: moved, uploadMs: moved, throughMs: moved, computeMs: fetches ? null : tokenMs };
    return { ...report, ...times, tokenMs, overlap: null };
  }
  const costs = await session.measure();
  const { readMs, uploadMs, throughMs, computeMs } = costs;
  const overlap = tokenMs === null ? null : overlapOf(costs, tokenMs);
  const prefill = measure && prompt ? await prefillReport(session, prompt) : {};
  return { ...report, ...prefill, ioMs: readMs, uploadMs, throughMs, computeMs, tokenMs, overlap };
}

/** The prompt once more, now that every pipeline is warm, and its compute alone. */
async function prefillReport(session: ModelSession, tokens: Uint32Array<ArrayBuffer>) {
  const { sequence, runner } = session;
  sequence.reset();
  const started = performance.now();
  await runner.step([{ sequence, tokens, logits: 'last' }]);
  const prefillAgainMs = performance.now() - started;
  return { prefillAgainMs, prefillComputeMs: await session.measureCompute(tokens.length) };
}

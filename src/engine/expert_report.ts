/** What decoding asked of the experts, for reports. */
import type { ExpertCounts } from '../stream/expert_counts';
import type { ModelSession } from './model_session';

export type ExpertReport = {
  /** Of all layers. */
  slots: number;
  /** Choices of all tokens whose expert was in its slot, and whose was not. */
  hits: number;
  misses: number;
  /** Misses that were fetched before the token reached their layer. */
  prefetchHits: number;
  bytesPerToken: number;
  /** Times a token waited to hear which experts a layer wants. */
  syncsPerToken: number;
};

/** Of `tokens` decoded since `before`; undefined for a dense model. */
export function expertReport(
  { experts, plan }: ModelSession,
  tokens: number,
  before: ExpertCounts = { hits: 0, misses: 0, prefetchHits: 0, bytesRead: 0, syncs: 0 },
): ExpertReport | undefined {
  if (!experts || !plan.experts) return undefined;
  const { hits, misses, prefetchHits, bytesRead, syncs } = experts.counts.decode;
  const each = (total: number) => total / Math.max(1, tokens);
  const chosen = tokens * plan.experts.perToken; // nobody looks whether an expert is there where all are
  return {
    slots: plan.experts.slabs.reduce((sum, { slots }) => sum + slots, 0),
    hits: plan.experts.complete ? chosen : hits - before.hits,
    misses: misses - before.misses,
    prefetchHits: prefetchHits - before.prefetchHits,
    bytesPerToken: each(bytesRead - before.bytesRead),
    syncsPerToken: each(syncs - before.syncs),
  };
}

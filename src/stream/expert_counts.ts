/** How often experts were in their slots, and what it took to bring the others. */
export type ExpertCounts = {
  /** Choices whose expert was in its slot, and whose was not; in a prompt an expert counts once for each chunk that wants it. */
  hits: number;
  misses: number;
  /** Of misses: fetched before the token reached their layer. */
  prefetchHits: number;
  bytesRead: number;
  /** Times that the CPU waited to learn which experts a layer wants. */
  syncs: number;
};

export const noCounts = (): ExpertCounts => ({ hits: 0, misses: 0, prefetchHits: 0, bytesRead: 0, syncs: 0 });
export type Mode = 'prefill' | 'decode';

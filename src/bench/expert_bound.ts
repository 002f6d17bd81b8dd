/** What a mixture's decode could reach under its budget: as if it computed like a resident model and fetched like a bare loop. */
import type { ModelSession } from '../engine/model_session';
import { leastRecentlyUsedMisses, type Trace } from './trace';

export type ExpertBound = {
  /** Misses a token of the least recently used of each layer on equal slots, simulated on the same trace. */
  lruMissesPerToken: number;
  missesPerToken: number;
  /** With every expert said to be in some slot. */
  residentTokensPerSecond: number;
  /** To read and upload one expert, alone, and how many times as fast a loop over several does it. */
  msPerExpert: number;
  parallelism: number;
  /** 1 / (resident time of a token + LRU misses * msPerExpert / parallelism), and the share of it that was reached. */
  tokensPerSecond: number;
  ratio: number;
};

/** Experts that are read for a figure: some seconds where they are read at 1 GB/s. */
const measuredBytes = 1.5e9;

/**
 * `resident`: tokens per second of a run that finds every expert in a slot. `positions`: of the tokens that a run reads and of those before
 * it, of which the last `decoded` are counted. The session's slots are spoilt: only destroy it.
 */
export async function expertBound(
  { experts, plan }: ModelSession,
  trace: Trace,
  {
    resident,
    reached,
    positions,
    decoded,
    missesPerToken,
  }: {
    resident: number;
    reached: number;
    positions: readonly number[];
    decoded: number;
    missesPerToken: number;
  },
): Promise<ExpertBound> {
  const { slabs, slotBytes, staging } = plan.experts!;
  const slots = slabs.reduce((sum, slab) => sum + slab.slots, 0);
  const lruMissesPerToken = leastRecentlyUsedMisses(trace, slots, positions, decoded) / decoded;
  const count = Math.max(8, Math.min(512, Math.floor(measuredBytes / slotBytes)));
  await experts!.measureFetch(count, staging.buffers); // what one reads for the first time, others would find in memory
  const msPerExpert = (await experts!.measureFetch(count, 1)) / count;
  let fastest = msPerExpert;
  for (const atOnce of [2, 4, staging.buffers]) {
    const ms = await experts!.measureFetch(count, atOnce);
    fastest = Math.min(fastest, ms / count);
  }
  const tokensPerSecond = 1000 / (1000 / resident + lruMissesPerToken * fastest);
  return {
    ...{ lruMissesPerToken, missesPerToken, residentTokensPerSecond: resident },
    ...{ msPerExpert, parallelism: msPerExpert / fastest, tokensPerSecond, ratio: reached / tokensPerSecond },
  };
}

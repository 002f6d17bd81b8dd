/** How a step's tokens are cut: chunks that bound activations, passes that share a sweep over the weights, slices of logit rows. */
import type { ModelConfig } from '../format/types';
import type { Mode } from '../model/recorder';

/** Tokens [first, first + tokens) of a step, at `position` of their sequence. */
export type Chunk = { first: number; tokens: number; position: number };

/** A chunk, and where recurrent and conv state before and after it lie. */
export type SlotChunk = Chunk & { sourceSlot: number; targetSlot: number };

/** Rows of logits of tokens [firstToken, firstToken + rows) of the step. */
export type Slice = { firstToken: number; rows: number; mode: Mode };

/** 100 ms at half a TFLOP/s, which a slow integrated GPU gives attention. */
export const attentionFlopPerDispatch = 5e10;

/** Of one layer, at most: as if every token saw the last one. */
export const attentionFlop = ({ numAttentionHeads, headDim }: ModelConfig, { position, tokens }: Omit<Chunk, 'first'>): number =>
  4 * numAttentionHeads * headDim * (position + tokens) * tokens;

/**
 * `cuts`: counts of tokens, rising, after which a chunk ends in any case. `mostFlop`: of a layer's attention, where that is one dispatch
 * whatever it takes: far into a long context chunks shrink, so that no submit takes long. Nothing here depends on a budget, so results
 * do not.
 */
export function chunksOf(
  config: ModelConfig,
  position: number,
  tokens: number,
  chunkTokens: number,
  cuts: readonly number[] = [],
  mostFlop = Number.POSITIVE_INFINITY,
): Chunk[] {
  const chunks: Chunk[] = [];
  for (let first = 0; first < tokens; ) {
    const flopPerToken = attentionFlop(config, { position: position + first, tokens: chunkTokens }) / chunkTokens;
    const most = Math.min(chunkTokens, Math.max(16, Math.floor(mostFlop / flopPerToken)));
    const end = cuts.find((cut) => cut > first) ?? tokens;
    const count = Math.min(most, tokens - first, end - first);
    chunks.push({ first, tokens: count, position: position + first });
    first += count;
  }
  return chunks;
}

/** Consecutive chunks of at most `passTokens` tokens together, at least one each. */
export function passesOf<C extends Chunk>(chunks: readonly C[], passTokens: number): C[][] {
  const passes: C[][] = [];
  let room = 0;
  for (const chunk of chunks) {
    if (chunk.tokens > room) {
      passes.push([]);
      room = passTokens;
    }
    passes.at(-1)!.push(chunk);
    room -= chunk.tokens;
  }
  return passes;
}

/**
 * The rows from `wantedFrom` on (counted in the pass, which begins at token `first` of the step), at most `headRows` each and none
 * across two chunks. The mode follows from the chunk, not from where slices end, so that every budget computes a row alike.
 */
export function headSlices(chunks: readonly Chunk[], first: number, wantedFrom: number, headRows: number): Slice[] {
  const slices: Slice[] = [];
  for (const chunk of chunks) {
    const begin = Math.max(chunk.first, first + wantedFrom);
    const end = chunk.first + chunk.tokens;
    const mode = modeOf(end - begin);
    for (let firstToken = begin; firstToken < end; firstToken += headRows) {
      slices.push({ firstToken, rows: Math.min(headRows, end - firstToken), mode });
    }
  }
  return slices;
}

/** A chunk before a snapshot writes its state there, and the next one goes on from it: nothing is copied. */
export function inSlots(
  chunks: readonly Chunk[],
  slot: number,
  snapshots: readonly { after: number; slot: number }[],
): SlotChunk[] {
  let sourceSlot = slot;
  return chunks.map((chunk, i) => {
    const end = chunk.first + chunk.tokens;
    const kept = i < chunks.length - 1 ? snapshots.find(({ after }) => after === end) : undefined;
    const placed = { ...chunk, sourceSlot, targetSlot: kept?.slot ?? slot };
    sourceSlot = placed.targetSlot;
    return placed;
  });
}

/** What records a step, or a slice of the head, of so many rows. */
export const modeOf = (rows: number): Mode => (rows === 1 ? 'decode' : 'prefill');

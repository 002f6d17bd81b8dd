/** How a step's tokens are cut: chunks that bound activations, passes that share a sweep over the weights, slices of logit rows. */
import type { ModelConfig } from '../format/types';
import type { Mode } from '../model/recorder';

/** Tokens [first, first + tokens) of a step, at `position` of their sequence. */
export type Chunk = { first: number; tokens: number; position: number };

/** Rows of logits of tokens [firstToken, firstToken + rows) of the step. */
export type Slice = { firstToken: number; rows: number; mode: Mode };

/** 100 ms at half a TFLOP/s, which a slow integrated GPU gives attention. */
const attentionFlopPerDispatch = 5e10;

/**
 * One dispatch of attention reads every earlier position for each of its tokens, and no submit can be shorter than a dispatch: far
 * into a long context chunks shrink, so that a slow GPU stays below its watchdog. Nothing here depends on a budget, so results do not.
 * `cuts`: counts of tokens, rising, after which a chunk ends in any case.
 */
export function chunksOf(
  config: ModelConfig,
  position: number,
  tokens: number,
  chunkTokens: number,
  cuts: readonly number[] = [],
): Chunk[] {
  const { numAttentionHeads, headDim } = config;
  const chunks: Chunk[] = [];
  for (let first = 0; first < tokens; ) {
    const flopPerToken = 4 * numAttentionHeads * headDim * (position + first + chunkTokens);
    const most = Math.min(chunkTokens, Math.max(16, Math.floor(attentionFlopPerDispatch / flopPerToken)));
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
    const mode: Mode = end - begin === 1 ? 'decode' : 'prefill';
    for (let firstToken = begin; firstToken < end; firstToken += headRows) {
      slices.push({ firstToken, rows: Math.min(headRows, end - firstToken), mode });
    }
  }
  return slices;
}

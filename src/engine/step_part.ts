/** What a step is asked for, and what is wrong with that before anything of it runs. */
import { EngineError } from '../errors';
import type { Sequence } from '../model/sequence';

/** Which rows of logits a step returns: none, that of the last token, or every token's. */
export type WantedLogits = 'none' | 'last' | 'all';

/** Logits [rows, words] f32 of tokens from `firstToken` on (counted within the step) and words from `firstWord` on. */
export type LogitsTile = {
  values: Float32Array<ArrayBuffer>;
  firstToken: number;
  rows: number;
  firstWord: number;
  words: number;
};

/** Tokens for one sequence. A step takes any number of these; each advances its own sequence. */
export type StepPart = {
  sequence: Sequence;
  tokens: Uint32Array<ArrayBuffer>;
  logits: WantedLogits;
  /**
   * Keeps recurrent and conv state on the way: as it is after the first `after` tokens, in `slot` of the sequence. `after` rises from
   * one to the next. A chunk ends there, wherever the state is kept.
   */
  snapshots?: readonly { after: number; slot: number }[];
  /** Called for every tile of the rows asked for: all words of them, slice by slice. */
  onLogits?(tile: LogitsTile): void;
  onProgress?(tokensDone: number): void;
};

/**
 * The first token id outside the vocabulary counts: an embedding has no row for such an id, and the kernel would leave another token's in
 * place.
 * @throws EngineError 'context-length', 'format'.
 */
export function checkParts(parts: readonly Pick<StepPart, 'sequence' | 'tokens'>[], vocabSize: number): void {
  for (const { sequence, tokens } of parts) {
    const room = sequence.shape.contextTokens - sequence.length;
    if (tokens.length <= room) continue;
    throw new EngineError(
      'context-length',
      `${sequence.length + tokens.length} tokens do not fit a context of ${sequence.shape.contextTokens}. Shorten the text or raise contextTokens.`,
    );
  }
  for (const { tokens } of parts) {
    const outside = tokens.find((id) => id >= vocabSize);
    if (outside === undefined) continue;
    throw new EngineError(
      'format',
      `Token id ${outside} is outside the model's vocabulary of ${vocabSize}. Do tokenizer and weights belong together?`,
    );
  }
}

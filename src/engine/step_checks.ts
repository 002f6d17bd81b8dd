/** What is wrong with a step before anything of it runs. */
import { EngineError } from '../errors';
import type { StepPart } from './runner';

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

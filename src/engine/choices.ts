/** The choices of one request, one after the other, each from where the prompt ends. */
import type { FinishReason, Usage } from '../protocol/chat';
import type { ChoiceCounts } from './journal';

/** Why a reply ended; 'overflow' is a full context, after all text was delivered. */
export type ReplyEnd = Exclude<FinishReason, 'tool_calls'> | 'overflow' | 'interrupted';

/** What of the prompt was known, and what had been known and was read again. */
export type Known = { cachedTokens: number; replayedTokens: number };

export class Choices {
  readonly count: number;
  #completionTokens = 0;
  #reasoningTokens = 0;
  #truncatedMessages = 0;
  /** Tokens that took a step of their own; the first of a choice comes from the prompt's. */
  decodedTokens = 0;

  /** `ended`: choices made before, on another device. */
  constructor(count: number, ended: readonly ChoiceCounts[]) {
    this.count = count;
    for (const counts of ended) this.add(counts, counts.tokens);
  }

  isLast(choice: number): boolean {
    return choice === this.count - 1;
  }

  /** `resumed`: tokens of it that were drawn on another device. */
  add({ tokens, reasoningTokens, truncatedMessages }: ChoiceCounts, resumed = 0): void {
    this.#completionTokens += tokens;
    this.#reasoningTokens += reasoningTokens;
    this.#truncatedMessages = Math.max(this.#truncatedMessages, truncatedMessages);
    this.decodedTokens += Math.max(0, tokens - resumed - 1);
  }

  usage(promptTokens: number, { cachedTokens, replayedTokens }: Known): Usage {
    return {
      prompt_tokens: promptTokens,
      completion_tokens: this.#completionTokens,
      total_tokens: promptTokens + this.#completionTokens,
      prompt_tokens_details: { cached_tokens: Math.min(cachedTokens, promptTokens) },
      completion_tokens_details: { reasoning_tokens: this.#reasoningTokens },
      ...(replayedTokens > 0 ? { replayed_tokens: replayedTokens } : {}),
      ...(this.#truncatedMessages > 0 ? { truncated_messages: this.#truncatedMessages } : {}),
    };
  }
}

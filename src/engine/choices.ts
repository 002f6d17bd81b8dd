/** The choices of one request, one after the other, each from the state that the prompt left. */
import type { SavedSequence } from '../model/sequence';
import type { FinishReason, Usage } from '../protocol/chat';
import type { LogitRow } from './logit_row';
import type { ModelSession } from './model_session';
import type { PromptWindow } from './overflow';

/** Why a reply ended; 'overflow' is a full context, after all text was delivered. */
export type ReplyEnd = Exclude<FinishReason, 'tool_calls'> | 'overflow' | 'interrupted';

type Start = { prompt: PromptWindow; row: LogitRow; count: number };
/** What a choice after the first begins with. */
type Saved = { sequence: SavedSequence; logits: Float32Array<ArrayBuffer> };

export class Choices implements Iterable<number> {
  readonly #session: ModelSession;
  readonly #start: Start;
  readonly #saved: Saved | undefined;
  #completionTokens = 0;
  #reasoningTokens = 0;
  #truncatedMessages = 0;
  /** Tokens that took a step of their own; the first of a choice comes from the prompt's. */
  decodedTokens = 0;

  private constructor(session: ModelSession, start: Start, saved: Saved | undefined) {
    this.#session = session;
    this.#start = start;
    this.#saved = saved;
  }

  /** `read`: the sequence has read the prompt, and `row` has the logits after it. Its state is read back if it will be needed again. */
  static async open(session: ModelSession, start: Start, read: boolean): Promise<Choices> {
    const again = read && start.count > 1;
    const saved = again ? { sequence: await session.sequence.save(), logits: start.row.values.slice() } : undefined;
    return new Choices(session, start, saved);
  }

  *[Symbol.iterator](): IterableIterator<number> {
    for (let choice = 0; choice < this.#start.count; choice++) yield choice;
  }

  isLast(choice: number): boolean {
    return choice === this.#start.count - 1;
  }

  /** Puts the sequence and the logits back to where the prompt ends. @returns the prompt, which the choice may shorten. */
  begin(choice: number): PromptWindow {
    if (choice > 0 && this.#saved) {
      this.#session.sequence.restore(this.#saved.sequence);
      this.#start.row.fill(this.#saved.logits);
    }
    return this.isLast(choice) ? this.#start.prompt : this.#start.prompt.copy();
  }

  add(tokens: number, reasoningTokens: number, truncatedMessages: number): void {
    this.#completionTokens += tokens;
    this.#reasoningTokens += reasoningTokens;
    this.#truncatedMessages = Math.max(this.#truncatedMessages, truncatedMessages);
    this.decodedTokens += Math.max(0, tokens - 1);
  }

  usage(promptTokens: number, cachedTokens: number): Usage {
    return {
      prompt_tokens: promptTokens,
      completion_tokens: this.#completionTokens,
      total_tokens: promptTokens + this.#completionTokens,
      prompt_tokens_details: { cached_tokens: cachedTokens },
      completion_tokens_details: { reasoning_tokens: this.#reasoningTokens },
      ...(this.#truncatedMessages > 0 ? { truncated_messages: this.#truncatedMessages } : {}),
    };
  }
}

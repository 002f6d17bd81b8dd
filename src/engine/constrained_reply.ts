/** A reply held to a schema, a grammar or the syntax of tool calls: what may be drawn, and when it is complete. */
import { EngineError } from '../errors';
import type { ContextOverflow, GenerateRequest } from '../protocol/engine';
import type { TextConstraint, TextHost } from '../text/text_host';

type Parts = { text: Pick<TextHost, 'openConstraint'>; vocab: number; stopIds: ReadonlySet<number> };
type Limits = { maxTokens: number | undefined; contextTokens: number; overflow: ContextOverflow };

export class ConstrainedReply {
  readonly #constraint: TextConstraint;
  readonly #signal: AbortSignal;
  /** All tokens but those that end a reply: thinking without an answer would be no answer of the form asked for. */
  readonly whileThinking: Uint32Array;
  /** The next mask, which is computed while the model computes the logits. */
  #mask: Promise<Uint32Array> | undefined;

  private constructor(constraint: TextConstraint, { vocab, stopIds }: Parts, signal: AbortSignal) {
    this.#constraint = constraint;
    this.#signal = signal;
    this.whileThinking = new Uint32Array(Math.ceil(vocab / 32)).fill(0xffffffff);
    for (const id of stopIds) if (id < vocab) this.whileThinking[id >> 5]! &= ~(1 << (id & 31));
  }

  /** Undefined where the request has no constraint. @throws EngineError 'unsupported-schema', 'invalid-request', 'limit' */
  static async open(parts: Parts, { constraint }: GenerateRequest, signal: AbortSignal): Promise<ConstrainedReply | undefined> {
    if (!constraint) return undefined;
    const { text, vocab, stopIds } = parts;
    const opened = await text.openConstraint({ constraint, vocab, stopIds: [...stopIds] }, { signal });
    return new ConstrainedReply(opened, parts, signal);
  }

  /** So many tokens are enough for the shortest reply. */
  get enoughTokens(): number {
    return this.#constraint.leastBytes;
  }

  /** Starts on the mask of the next token. `remaining`: tokens that the reply may still have. */
  prepare(remaining: number): void {
    if (this.#mask || remaining <= 0) return;
    this.#mask = this.#constraint.mask(remaining, { signal: this.#signal });
    this.#mask.catch(() => {}); // told where it is awaited
  }

  /** Draws until a token is accepted. `done`: the reply is complete, and nothing can follow. */
  async next(draw: (mask: Uint32Array) => number, remaining: number): Promise<{ token: number; done: boolean }> {
    for (;;) {
      this.prepare(remaining);
      const token = draw(await this.#mask!);
      this.#mask = undefined;
      const { accepted, done } = await this.#constraint.accept(token, remaining - 1, { signal: this.#signal });
      if (accepted) return { token, done };
    }
  }

  /** Takes tokens that were drawn and accepted before. @returns whether the reply is complete with them. */
  async replay(tokens: readonly number[]): Promise<boolean> {
    let complete = false;
    for (const token of tokens) {
      const { accepted, done } = await this.#constraint.accept(token, Number.POSITIVE_INFINITY, { signal: this.#signal });
      if (!accepted) throw new EngineError('internal', `The form of the reply no longer admits its token ${token}.`);
      complete = done;
    }
    return complete;
  }

  close(): void {
    this.#constraint.close();
  }
}

/** How many tokens a reply may still have. Where turns can be dropped only `maxTokens` bounds it. */
export function remainingTokens(
  { maxTokens, contextTokens, overflow }: Limits,
  promptTokens: number,
  replyTokens: number,
): number {
  const byRequest = (maxTokens ?? Number.POSITIVE_INFINITY) - replyTokens;
  const byContext = contextTokens - promptTokens - replyTokens;
  return overflow === 'truncate' ? byRequest : Math.min(byRequest, byContext);
}

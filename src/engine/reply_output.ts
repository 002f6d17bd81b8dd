/** From the tokens of a reply to the events of its choice: text in whole characters, thinking and tool calls apart, log probabilities. */
import type { TokenLogprob } from '../protocol/chat';
import type { GenerateEvent, GenerateRequest } from '../protocol/engine';
import { ReplyParser } from '../text/reply_parser';
import type { TextHost, TextStream } from '../text/text_host';
import type { ReplyPiece } from '../text/tool_call_parser';
import type { Shown } from './journal';
import { tokenLogprobs } from './sampling';

export type SaidEvent = Extract<GenerateEvent, { type: 'text' | 'reasoning' | 'tool_call' }>;
type OutputText = Pick<TextHost, 'openStream' | 'describeTokens'>;
type OutputOptions = {
  /** The prompt ends inside a think block. */
  opensThinking: boolean;
  /** Ids from here on are padding rows of the embedding. */
  vocab: number;
  /** Delivered on another device already, and not again. */
  shown: Shown;
  signal: AbortSignal;
};

export class ReplyOutput {
  /** Tokens of thinking, its closing tag among them. */
  reasoningTokens = 0;
  /** A stop string is complete: nothing more comes. */
  stopped = false;
  readonly #text: OutputText;
  readonly #stream: TextStream;
  /** Only replies to messages have a form; the continuation of a plain prompt is text, whatever it says. */
  readonly #parser: ReplyParser | undefined;
  readonly #topLogprobs: number | undefined;
  readonly #options: OutputOptions;
  /** Of all tokens so far. */
  readonly logprobs: TokenLogprob[] = [];
  /** Characters that are not to be delivered. */
  #skip: number;
  /** Of tokens whose text is still held back. */
  #waiting: TokenLogprob[] = [];

  constructor(text: OutputText, { prompt, stop, topLogprobs }: GenerateRequest, options: OutputOptions) {
    this.#text = text;
    this.#stream = text.openStream({ stop });
    if ('messages' in prompt) this.#parser = new ReplyParser({ opensThinking: options.opensThinking, tools: prompt.tools ?? [] });
    this.#topLogprobs = topLogprobs;
    this.#options = options;
    this.#skip = options.shown.characters;
  }

  /** Whether the next token is thinking. */
  get thinks(): boolean {
    return this.#parser?.thinks ?? false;
  }

  /** Whether the reply has tool calls, the last of them whole. */
  get hasCalls(): boolean {
    return this.#parser !== undefined && this.#parser.calls > 0 && !this.#parser.endsInCall;
  }

  /** What the tokens add to the reply. `logits`: those that the last of them was drawn from. @throws EngineError; AbortError */
  async push(tokens: readonly number[], logits?: Float32Array): Promise<SaidEvent[]> {
    if (this.thinks) this.reasoningTokens += tokens.length;
    else if (logits && this.#topLogprobs !== undefined) {
      const logprob = await this.#logprobs(tokens.at(-1)!, logits, this.#topLogprobs);
      this.logprobs.push(logprob);
      this.#waiting.push(logprob);
    }
    const { text, stopped } = await this.#stream.push(tokens, { signal: this.#options.signal });
    this.stopped = stopped;
    return this.#events(this.#pieces(text));
  }

  /** Log probabilities of tokens that were pushed again without logits; those not yet delivered go with what comes next. */
  replayLogprobs(logprobs: readonly TokenLogprob[]): void {
    this.logprobs.push(...logprobs);
    this.#waiting = logprobs.slice(this.#options.shown.logprobs);
  }

  /** What was held back, at the end of the reply. @throws EngineError; AbortError */
  async finish(): Promise<SaidEvent[]> {
    const rest = this.stopped ? '' : await this.#stream.finish({ signal: this.#options.signal });
    const events = this.#events([...this.#pieces(rest), ...(this.#parser?.finish() ?? [])]);
    if (this.#waiting.length > 0) events.push({ type: 'text', text: '', logprobs: this.#waiting });
    this.#waiting = [];
    return events;
  }

  close(): void {
    this.#stream.close();
  }

  #pieces(text: string): ReplyPiece[] {
    if (text === '') return [];
    return this.#parser?.push(text) ?? [{ type: 'text', text }];
  }

  #events(pieces: readonly ReplyPiece[]): SaidEvent[] {
    return pieces
      .flatMap((piece) => this.#unseen(piece))
      .map((piece) => {
        if (piece.type === 'reasoning' || this.#waiting.length === 0) return piece;
        const logprobs = this.#waiting;
        this.#waiting = [];
        return { ...piece, logprobs };
      });
  }

  /** The piece as far as it is new: pieces may have been cut otherwise the first time, their sum is the same. */
  #unseen(piece: ReplyPiece): ReplyPiece[] {
    const skip = this.#skip;
    if (skip === 0) return [piece];
    if (piece.type !== 'tool_call') {
      this.#skip -= Math.min(skip, piece.text.length);
      return piece.text.length > skip ? [{ ...piece, text: piece.text.slice(skip) }] : [];
    }
    const { type, index, arguments: text } = piece;
    const begins = piece.id === undefined ? 0 : 1;
    this.#skip -= Math.min(skip, begins + text.length);
    return begins + text.length > skip ? [{ type, index, arguments: text.slice(skip - begins) }] : [];
  }

  async #logprobs(token: number, logits: Float32Array, count: number): Promise<TokenLogprob> {
    const { logprob, top } = tokenLogprobs(logits, this.#options.vocab, token, count);
    const ids = [token, ...top.map((entry) => entry.token)];
    const texts = await this.#text.describeTokens(ids, { signal: this.#options.signal });
    const [own, ...others] = texts;
    return { ...own!, logprob, top_logprobs: top.map((entry, i) => ({ ...others[i]!, logprob: entry.logprob })) };
  }
}

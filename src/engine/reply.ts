/** The tokens of one reply: what sampling needs to remember. */
import type { GenerationDefaults } from '../format/generation';
import type { SamplingValues } from '../protocol/engine';
import type { Journal } from './journal';
import type { PromptWindow } from './overflow';
import { Random } from './random';
import { type SamplingParams, sample, TokenHistory } from './sampling';

export type ReplyParts = { defaults: GenerationDefaults; vocab: number };

export class Reply {
  readonly ids: number[];
  readonly params: SamplingParams;
  readonly history: TokenHistory;
  readonly #vocab: number;
  readonly #seed: number;
  readonly #random: Random;
  /** Tokens that the prompt holds of this reply already. */
  readonly #begun: number;
  /** Random numbers taken so far. */
  #draws = 0;

  /**
   * Each choice of a request draws with the next seed; one that goes on, from a journal or from its beginning in the prompt, skips what
   * was drawn.
   */
  constructor(
    { defaults, vocab }: ReplyParts,
    sampling: SamplingValues,
    { tokens, begunTokens }: Pick<PromptWindow, 'tokens' | 'begunTokens'>,
    journal: Journal,
  ) {
    journal.seed ??= sampling.seed ?? Math.random() * 2 ** 53;
    this.#vocab = vocab;
    this.#seed = journal.seed + journal.ended.length;
    this.#begun = begunTokens;
    this.#draws = journal.draws;
    this.#random = this.freshRandom();
    this.ids = journal.pieces.flat();
    this.params = samplingParams(sampling, defaults);
    const promptTokens = tokens.length - begunTokens;
    this.history = new TokenHistory(tokens.subarray(0, promptTokens));
    for (const id of [...tokens.subarray(promptTokens), ...this.ids]) this.history.add(id);
  }

  get draws(): number {
    return this.#draws;
  }

  /** The numbers that come after those drawn so far, for whoever takes more of them ahead than it has tokens. */
  freshRandom(): Random {
    const random = new Random(this.#seed);
    for (let i = 0; i < this.#begun + this.#draws; i++) random.next(); // a token took one each
    return random;
  }

  /** Adds tokens that nobody drew, as many as `maxTokens` leaves room for. */
  force(tokens: readonly number[], maxTokens = Number.POSITIVE_INFINITY): readonly number[] {
    const added = tokens.slice(0, Math.max(0, maxTokens - this.ids.length));
    for (const token of added) this.history.add(token);
    this.ids.push(...added);
    return added;
  }

  /** Adds a token that was drawn elsewhere with the next number. */
  drawn(token: number): void {
    if (this.params.temperature !== 0) this.#draws++;
    this.force([token]);
  }

  /** Draws the next token, which counts from then on even if it ends the reply. */
  next(logits: Float32Array, mask?: Uint32Array): number {
    const token = this.draw(logits, mask);
    this.force([token]);
    return token;
  }

  /** Draws a token that need not be taken. */
  draw(logits: Float32Array, mask?: Uint32Array): number {
    if (this.params.temperature !== 0) this.#draws++; // a draw takes one number
    return sample(logits, this.#vocab, this.history, this.params, this.#random, mask);
  }
}

/** The request's fields, else the checkpoint's recommendation, else OpenAI's defaults. */
export function samplingParams(request: SamplingValues, defaults: GenerationDefaults): SamplingParams {
  const greedy = defaults.doSample === false && request.temperature === undefined;
  return {
    temperature: greedy ? 0 : (request.temperature ?? defaults.temperature ?? 1),
    topK: request.top_k ?? defaults.topK ?? 0,
    topP: request.top_p ?? defaults.topP ?? 1,
    minP: request.min_p ?? defaults.minP ?? 0,
    repetitionPenalty: request.repetition_penalty ?? defaults.repetitionPenalty ?? 1,
    presencePenalty: request.presence_penalty ?? 0,
    frequencyPenalty: request.frequency_penalty ?? 0,
    ...(request.logit_bias ? { logitBias: biasOf(request.logit_bias) } : {}),
  };
}

function biasOf(bias: { [token: string]: number }): Map<number, number> {
  return new Map(Object.entries(bias).map(([token, value]) => [Number(token), value]));
}

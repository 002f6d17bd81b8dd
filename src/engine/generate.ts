/** One request: prompt to tokens, prefill, then sample, decode and detokenise until something ends it. */
import { EngineError } from '../errors';
import type { GenerationDefaults } from '../format/generation';
import type { FinishReason, SamplingRequest } from '../protocol/chat';
import type { GenerateEvent, GenerateRequest, PromptInput } from '../protocol/engine';
import type { TextHost, TextStream } from '../text/text_host';
import type { ModelSession } from './model_session';
import { Random } from './random';
import { type SamplingParams, sample, TokenHistory } from './sampling';

export type Generation = {
  session: ModelSession;
  text: TextHost;
  defaults: GenerationDefaults;
  /** Ids from here on are padding rows of the embedding. */
  vocab: number;
  /** Ids that end a reply. */
  stopIds: ReadonlySet<number>;
};

type Events = AsyncGenerator<Exclude<GenerateEvent, { type: 'error' }>, void, undefined>;

/**
 * Runs one request on the session's sequence, which must be free.
 * @throws EngineError 'context-length', 'format', 'limit', 'non-finite', 'device-lost', …; AbortError.
 */
export async function* generate(g: Generation, request: GenerateRequest, signal: AbortSignal): Events {
  const { session } = g;
  const prompt = await promptTokens(g, request.prompt, signal);
  const room = checkLength(prompt.length, session.options.contextTokens);
  const maxTokens = Math.min(request.maxTokens ?? room, room);
  const started = performance.now();
  const logits = yield* prefill(session, prompt, signal);
  const reply = new Reply(g, request, prompt);
  const stream = g.text.openStream({ stop: request.stop });
  try {
    const { firstTokenMs, finishReason } = yield* decode(g, reply, stream, logits, maxTokens, signal);
    const done = performance.now();
    const tokens = reply.tokens;
    yield {
      type: 'done',
      finishReason,
      usage: { prompt_tokens: prompt.length, completion_tokens: tokens, total_tokens: prompt.length + tokens },
      timings: {
        prefillTokens: prompt.length,
        prefillMs: firstTokenMs - started,
        decodeTokens: Math.max(0, tokens - 1),
        decodeMs: done - firstTokenMs,
      },
    };
  } finally {
    stream.close();
  }
}

async function promptTokens({ text }: Generation, prompt: PromptInput, signal: AbortSignal): Promise<Uint32Array<ArrayBuffer>> {
  const rendered =
    'text' in prompt
      ? prompt.text
      : await text.render({ messages: prompt.messages, templateKwargs: prompt.templateKwargs }, { signal });
  const ids = await text.encode(rendered, { allowSpecialTokens: true, signal });
  if (ids.length === 0) throw new EngineError('invalid-request', 'The prompt is empty. Pass some text.');
  return Uint32Array.from(ids);
}

/** Tokens that the reply may have. */
function checkLength(promptTokens: number, contextTokens: number): number {
  const room = contextTokens - promptTokens;
  if (room < 1) {
    throw new EngineError(
      'context-length',
      `The prompt has ${promptTokens} tokens; the context holds ${contextTokens}, reply included. Shorten it, or load the model with a larger contextTokens.`,
    );
  }
  return room;
}

/** Returns the logits after the prompt's last token. */
async function* prefill(
  session: ModelSession,
  tokens: Uint32Array<ArrayBuffer>,
  signal: AbortSignal,
): AsyncGenerator<{ type: 'prefill'; done: number; total: number }, Float32Array, undefined> {
  const { sequence, runner, options } = session;
  sequence.reset();
  let logits = new Float32Array(0);
  for (let done = 0; done < tokens.length; ) {
    const chunk = tokens.subarray(done, done + options.chunkTokens);
    const isLast = done + chunk.length === tokens.length;
    await runner.step(
      [
        {
          sequence,
          tokens: chunk,
          logits: isLast ? 'last' : 'none',
          onLogits: (row) => {
            logits = row as Float32Array<ArrayBuffer>;
          },
        },
      ],
      signal,
    );
    done += chunk.length;
    yield { type: 'prefill', done, total: tokens.length };
  }
  return logits;
}

async function* decode(
  { session, stopIds }: Generation,
  reply: Reply,
  stream: TextStream,
  firstLogits: Float32Array,
  maxTokens: number,
  signal: AbortSignal,
): AsyncGenerator<{ type: 'text'; text: string }, { firstTokenMs: number; finishReason: FinishReason }, undefined> {
  let logits = firstLogits;
  let firstTokenMs = 0;
  let finishReason: FinishReason | undefined;
  while (finishReason === undefined) {
    const token = reply.next(logits);
    firstTokenMs ||= performance.now();
    if (stopIds.has(token)) {
      finishReason = 'stop';
      break;
    }
    const piece = await stream.push([token], { signal });
    if (piece.text) yield { type: 'text', text: piece.text };
    if (piece.stopped) return { firstTokenMs, finishReason: 'stop' };
    if (reply.tokens >= maxTokens) finishReason = 'length';
    else {
      const part = { sequence: session.sequence, tokens: Uint32Array.of(token), logits: 'last' as const };
      await session.runner.step(
        [
          {
            ...part,
            onLogits: (row) => {
              logits = row;
            },
          },
        ],
        signal,
      );
    }
  }
  const rest = await stream.finish({ signal });
  if (rest) yield { type: 'text', text: rest };
  return { firstTokenMs, finishReason };
}

/** The tokens of one reply: what sampling needs to remember. */
class Reply {
  tokens = 0;
  readonly #vocab: number;
  readonly #params: SamplingParams;
  readonly #history: TokenHistory;
  readonly #random: Random;

  constructor({ defaults, vocab }: Generation, { sampling }: GenerateRequest, prompt: Uint32Array) {
    this.#vocab = vocab;
    this.#params = samplingParams(sampling, defaults);
    this.#history = new TokenHistory(prompt);
    this.#random = new Random(sampling.seed ?? Math.random() * 2 ** 53);
  }

  /** Draws the next token, which counts from then on even if it ends the reply. */
  next(logits: Float32Array): number {
    const token = sample(logits, this.#vocab, this.#history, this.#params, this.#random);
    this.#history.add(token);
    this.tokens += 1;
    return token;
  }
}

/** The request's fields, else the checkpoint's recommendation, else OpenAI's defaults. */
export function samplingParams(request: SamplingRequest, defaults: GenerationDefaults): SamplingParams {
  const greedy = defaults.doSample === false && request.temperature === undefined;
  return {
    temperature: greedy ? 0 : (request.temperature ?? defaults.temperature ?? 1),
    topK: request.top_k ?? defaults.topK ?? 0,
    topP: request.top_p ?? defaults.topP ?? 1,
    minP: request.min_p ?? defaults.minP ?? 0,
    repetitionPenalty: request.repetition_penalty ?? defaults.repetitionPenalty ?? 1,
    presencePenalty: request.presence_penalty ?? 0,
    frequencyPenalty: request.frequency_penalty ?? 0,
  };
}

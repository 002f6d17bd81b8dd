/** One request: prompt to tokens, prefill, then sample, decode and detokenise until something ends it. */
import type { GenerationDefaults } from '../format/generation';
import type { FinishReason, SamplingRequest } from '../protocol/chat';
import type { ContextOverflow, GenerateEvent, GenerateRequest } from '../protocol/engine';
import type { TextHost, TextStream } from '../text/text_host';
import { Latest } from './latest';
import { LogitRow } from './logit_row';
import type { ModelSession } from './model_session';
import { contextFull, fitPrompt, type LengthLimits, makeRoom, type PromptText, PromptWindow } from './overflow';
import type { PrefixCache } from './prefix_cache';
import { Random } from './random';
import { type SamplingParams, sample, TokenHistory } from './sampling';

export type Generation = {
  session: ModelSession;
  text: PromptText & Pick<TextHost, 'openStream'>;
  defaults: GenerationDefaults;
  /** Ids from here on are padding rows of the embedding. */
  vocab: number;
  /** Ids that end a reply. */
  stopIds: ReadonlySet<number>;
  /** Default 'stop'. */
  overflow?: ContextOverflow;
  /** Knows what the sequence has read, so that a prompt costs its new tokens. Default: none is known. */
  cache?: PrefixCache | undefined;
  /** Without a cache: so many tokens at the front of the prompt are what the sequence has read already. Default 0: it is reset. */
  knownTokens?: number;
};

/**
 * A reply under way, as far as it must be known to go on elsewhere: on another device after this one was lost. The tokens drawn are
 * read again, and as many draws are skipped.
 */
export type Journal = {
  /** Drawn so far; grows while the reply runs. */
  ids: number[];
  /** Chosen with the first token where the request names none. */
  seed: number | undefined;
  /** Characters of the reply's text that were delivered already and are not delivered again. */
  shown: number;
};

type Event<T extends GenerateEvent['type']> = Extract<GenerateEvent, { type: T }>;
type Events = AsyncGenerator<Event<'prefill' | 'text' | 'done'>, void, undefined>;

/** One request under way. */
type Run = {
  session: ModelSession;
  cache: PrefixCache | undefined;
  stopIds: ReadonlySet<number>;
  limits: LengthLimits;
  prompt: PromptWindow;
  reply: Reply;
  stream: TextStream;
  /** Logits after the last token that the sequence has read. */
  row: LogitRow;
  signal: AbortSignal;
  times: Times;
  /** Characters that are not to be delivered again. */
  shown: number;
};

/** Of what is to be read: tokens that were read before, and tokens whose state was lost. */
type Known = { cachedTokens: number; replayedTokens: number };

/** Tokens that were read again after others were dropped, and how long that took, are prefill too. */
type Times = { firstTokenMs: number; rereadTokens: number; rereadMs: number };

/**
 * Runs one request on the session's sequence, which must be free. With a `journal` that has tokens it goes on from there.
 * @throws EngineError 'context-length', 'format', 'limit', 'non-finite', 'device-lost', …; AbortError.
 */
export async function* generate(
  g: Generation,
  request: GenerateRequest,
  signal: AbortSignal,
  journal: Journal = { ids: [], seed: undefined, shown: 0 },
): Events {
  const { session, cache, stopIds, overflow = 'stop', knownTokens = 0 } = g;
  const { contextTokens } = session.options;
  const limits: LengthLimits = { contextTokens, maxTokens: request.maxTokens, overflow };
  const prompt = await PromptWindow.open(g.text, request.prompt, signal);
  await fitPrompt(prompt, limits, signal);
  const promptTokens = prompt.tokens.length;
  const resumed = journal.ids.length;
  if (resumed > 0 && promptTokens + resumed >= contextTokens) await makeRoom(prompt, resumed, limits, signal);
  const started = performance.now();
  const row = new LogitRow(session.config.vocabSize);
  const { cachedTokens, replayedTokens } = yield* prefill(
    { session, cache, row, signal },
    withReply(prompt, journal.ids),
    cache && (await prompt.turnEnd(signal)),
    knownTokens,
  );
  const replayed = resumed > 0 ? promptTokens + resumed - cachedTokens : replayedTokens;
  const reply = new Reply(g, request, prompt.tokens, journal);
  const stream = g.text.openStream({ stop: request.stop });
  const times: Times = { firstTokenMs: 0, rereadTokens: 0, rereadMs: 0 };
  try {
    const end = yield* decode({
      session,
      cache,
      stopIds,
      limits,
      prompt,
      reply,
      stream,
      row,
      signal,
      times,
      shown: journal.shown,
    });
    const done = performance.now();
    const tokens = reply.ids.length;
    if (end === 'overflow' && overflow === 'error') throw contextFull(promptTokens, tokens, contextTokens);
    yield {
      type: 'done',
      finishReason: end === 'stop' ? 'stop' : 'length',
      usage: {
        prompt_tokens: promptTokens,
        completion_tokens: tokens,
        total_tokens: promptTokens + tokens,
        ...(cache ? { prompt_tokens_details: { cached_tokens: cachedTokens } } : {}),
        ...(replayed > 0 ? { replayed_tokens: replayed } : {}),
        ...(prompt.droppedMessages > 0 ? { truncated_messages: prompt.droppedMessages } : {}),
      },
      timings: {
        prefillTokens: promptTokens + resumed - cachedTokens + times.rereadTokens,
        prefillMs: times.firstTokenMs - started + times.rereadMs,
        decodeTokens: Math.max(0, tokens - resumed - 1),
        decodeMs: done - times.firstTokenMs - times.rereadMs,
      },
    };
  } finally {
    stream.close();
  }
}

/**
 * Brings the sequence to where it has read `tokens` and puts the logits after the last one into `row`.
 * @returns how many of them it had read already.
 */
async function* prefill(
  { session: { sequence, runner }, cache, row, signal }: Pick<Run, 'session' | 'cache' | 'row' | 'signal'>,
  tokens: Uint32Array<ArrayBuffer>,
  turnEnd: number | undefined,
  knownTokens: number,
): AsyncGenerator<Event<'prefill'>, Known, undefined> {
  const progress = new Latest<Event<'prefill'>>();
  const stop = new AbortController();
  const joined = AbortSignal.any([signal, stop.signal]);
  const read = async (): Promise<Known> => {
    const onProgress = (done: number, total = tokens.length - knownTokens) => progress.put({ type: 'prefill', done, total });
    if (cache) return cache.read(tokens, { turnEnd, row, onProgress, signal: joined });
    if (knownTokens === 0) sequence.reset();
    await runner.step(
      [{ sequence, tokens: tokens.subarray(knownTokens), logits: 'last', onLogits: row.add, onProgress }],
      joined,
    );
    return { cachedTokens: knownTokens, replayedTokens: 0 };
  };
  const reading = read();
  reading.then(
    () => progress.end(),
    () => progress.end(),
  );
  let known: Known;
  try {
    for await (const event of progress) if (event.done < event.total) yield event;
    known = await reading;
  } finally {
    stop.abort(); // whoever leaves the loop early must not leave a step running on a sequence that is free again
    await Promise.allSettled([reading]);
  }
  const total = tokens.length - known.cachedTokens;
  if (total > 0) yield { type: 'prefill', done: total, total };
  return known;
}

/** Why a reply ended; 'overflow' is a full context, after all text was delivered. */
type ReplyEnd = FinishReason | 'overflow';

/** Samples until something ends the reply. Its text flows on unbroken where turns are dropped meanwhile. */
async function* decode(run: Run): AsyncGenerator<Event<'prefill' | 'text'>, ReplyEnd, undefined> {
  const { session, cache, stopIds, limits, prompt, reply, stream, row, signal, times } = run;
  const ended = yield* resume(run);
  if (ended !== undefined) return ended;
  let end: ReplyEnd | undefined;
  while (end === undefined) {
    const token = reply.next(row.values);
    times.firstTokenMs ||= performance.now();
    if (stopIds.has(token)) {
      end = 'stop';
      break;
    }
    const piece = await stream.push([token], { signal });
    if (piece.text) yield { type: 'text', text: piece.text };
    if (piece.stopped) return 'stop';
    if (reply.ids.length >= (limits.maxTokens ?? Number.POSITIVE_INFINITY)) end = 'length';
    else if (prompt.tokens.length + reply.ids.length >= limits.contextTokens) {
      if (!(yield* rereadWithoutOldest(run))) end = 'overflow';
    } else if (cache) await cache.extend(token, row, signal);
    else {
      const part = { sequence: session.sequence, tokens: Uint32Array.of(token), logits: 'last' as const, onLogits: row.add };
      await session.runner.step([part], signal);
    }
  }
  const rest = await stream.finish({ signal });
  if (rest) yield { type: 'text', text: rest };
  return end;
}

/** Delivers what a reply that goes on had drawn and not shown. Returns its end if it had come to that. */
async function* resume(run: Run): AsyncGenerator<Event<'text'>, ReplyEnd | undefined, undefined> {
  const { stopIds, limits, prompt, reply, stream, signal } = run;
  const last = reply.ids.at(-1);
  if (last === undefined) return undefined;
  const atStop = stopIds.has(last);
  const piece = await stream.push(atStop ? reply.ids.slice(0, -1) : reply.ids, { signal });
  let end: ReplyEnd | undefined;
  if (atStop || piece.stopped) end = 'stop';
  else if (reply.ids.length >= (limits.maxTokens ?? Number.POSITIVE_INFINITY)) end = 'length';
  else if (prompt.tokens.length + reply.ids.length >= limits.contextTokens) end = 'overflow';
  const rest = end && !piece.stopped ? await stream.finish({ signal }) : '';
  const text = (piece.text + rest).slice(run.shown);
  if (text) yield { type: 'text', text };
  return end;
}

/** The prompt and what of the reply was drawn. */
function withReply({ tokens }: PromptWindow, ids: readonly number[]): Uint32Array<ArrayBuffer> {
  const all = new Uint32Array(tokens.length + ids.length);
  all.set(tokens);
  all.set(ids, tokens.length);
  return all;
}

/** Where turns can be dropped, reads what stays of the prompt and the reply so far into an empty sequence. Returns whether. */
async function* rereadWithoutOldest({
  session,
  cache,
  limits,
  prompt,
  reply,
  row,
  signal,
  times,
}: Run): AsyncGenerator<Event<'prefill'>, boolean, undefined> {
  const started = performance.now();
  if (!(await makeRoom(prompt, reply.ids.length, limits, signal))) return false;
  const tokens = withReply(prompt, reply.ids);
  const turnEnd = cache && (await prompt.turnEnd(signal));
  const { cachedTokens } = yield* prefill({ session, cache, row, signal }, tokens, turnEnd, 0);
  times.rereadTokens += tokens.length - cachedTokens;
  times.rereadMs += performance.now() - started;
  return true;
}

/** The tokens of one reply: what sampling needs to remember. */
class Reply {
  readonly ids: number[];
  readonly #vocab: number;
  readonly #params: SamplingParams;
  readonly #history: TokenHistory;
  readonly #random: Random;

  constructor({ defaults, vocab }: Generation, { sampling }: GenerateRequest, prompt: Uint32Array, journal: Journal) {
    journal.seed ??= sampling.seed ?? Math.random() * 2 ** 53;
    this.ids = journal.ids;
    this.#vocab = vocab;
    this.#params = samplingParams(sampling, defaults);
    this.#history = new TokenHistory(prompt);
    this.#random = new Random(journal.seed);
    for (const id of this.ids) {
      this.#history.add(id);
      if (this.#params.temperature !== 0) this.#random.next(); // a draw takes one number
    }
  }

  /** Draws the next token, which counts from then on even if it ends the reply. */
  next(logits: Float32Array): number {
    const token = sample(logits, this.#vocab, this.#history, this.#params, this.#random);
    this.#history.add(token);
    this.ids.push(token);
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

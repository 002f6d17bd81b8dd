/** One request: prompt to tokens, prefill, then, choice by choice, sample, decode and detokenise until something ends it. */
import { isAbort } from '../errors';
import type { GenerationDefaults } from '../format/generation';
import type { ChoiceEnd, ContextOverflow, GenerateEvent, GenerateRequest, SamplingValues } from '../protocol/engine';
import type { TextHost } from '../text/text_host';
import { Choices, type ReplyEnd } from './choices';
import { ConstrainedReply, remainingTokens } from './constrained_reply';
import { Latest } from './latest';
import { LogitRow } from './logit_row';
import type { ModelSession } from './model_session';
import { contextFull, fitPrompt, type LengthLimits, makeRoom, type PromptText, PromptWindow } from './overflow';
import { Random } from './random';
import { ReplyOutput, type SaidEvent } from './reply_output';
import { type SamplingParams, sample, TokenHistory } from './sampling';
import { type TokenLoop, TokenLoops } from './token_loop';

export type Generation = {
  session: ModelSession;
  text: PromptText & Pick<TextHost, 'openStream' | 'describeTokens' | 'openConstraint'>;
  defaults: GenerationDefaults;
  /** Ids from here on are padding rows of the embedding. */
  vocab: number;
  /** Ids that end a reply. */
  stopIds: ReadonlySet<number>;
  /** Default 'stop'. */
  overflow?: ContextOverflow;
  /** So many tokens at the front of the prompt are what the sequence has read already. Default 0: it is reset. */
  knownTokens?: number;
  /** Ends the reply as if the model had ended it. */
  interrupt?: AbortSignal;
};

type Event<T extends GenerateEvent['type']> = Extract<GenerateEvent, { type: T }>;
type Events = AsyncGenerator<Exclude<GenerateEvent, { type: 'error' }>, void, undefined>;

/** One choice under way. */
type Run = {
  session: ModelSession;
  stopIds: ReadonlySet<number>;
  limits: LengthLimits;
  prompt: PromptWindow;
  reply: Reply;
  output: ReplyOutput;
  constraint: ConstrainedReply | undefined;
  /** Where the GPU draws: each token then comes from here, and is read without being asked. */
  loop: TokenLoop | undefined;
  /** Begins one where the sequence stands, if the request can be drawn so. */
  openLoop(): Promise<TokenLoop | undefined>;
  /** Closes a think block, once so many tokens of thinking are there. */
  closing: { ids: readonly number[]; budgetTokens: number };
  /** Logits after the last token that the sequence has read. */
  row: LogitRow;
  signal: AbortSignal;
  interrupt: AbortSignal | undefined;
  times: Times;
};

/** Tokens that were read again after others were dropped, and how long that took, are prefill too. */
type Times = { firstTokenMs: number; rereadTokens: number; rereadMs: number };

/**
 * Runs one request on the session's sequence, which must be free.
 * @throws EngineError 'context-length', 'format', 'limit', 'non-finite', 'device-lost', …; AbortError.
 */
export async function* generate(g: Generation, request: GenerateRequest, signal: AbortSignal): Events {
  const { session, overflow = 'stop', knownTokens = 0, interrupt } = g;
  const { contextTokens } = session.options;
  const limits: LengthLimits = { contextTokens, maxTokens: request.maxTokens, overflow };
  const prompt = await PromptWindow.open(g.text, request.prompt, signal);
  await fitPrompt(prompt, limits, signal);
  const promptTokens = prompt.tokens.length;
  const closing = await closingOf(g, request, signal);
  let constraint = await ConstrainedReply.open(g, request, signal); // before the prompt is read: a bad schema costs nothing
  const started = performance.now();
  yield { type: 'prefill', done: 0, total: promptTokens - knownTokens, ms: 0 };
  const row = new LogitRow(session.config.vocabSize);
  if (knownTokens === 0) session.sequence.reset();
  const read = yield* unlessInterrupted(prefill(session, prompt.tokens.subarray(knownTokens), row, signal, interrupt), g, signal);
  const times: Times = { firstTokenMs: 0, rereadTokens: 0, rereadMs: 0 };
  const choices = await Choices.open(session, { prompt, row, count: request.choices ?? 1 }, read);
  for (const choice of choices) {
    const window = choices.begin(choice);
    const reply = new Reply(g, request, window.tokens, choice);
    const output = new ReplyOutput(g.text, request, { opensThinking: window.opensThinking, vocab: g.vocab, signal });
    constraint ??= await ConstrainedReply.open(g, request, signal);
    const shared = { session, stopIds: g.stopIds, limits, closing, row, signal, interrupt, times };
    const openLoop = () => loopOf(g, request, reply, limits, window, row);
    const run: Run = {
      ...shared,
      prompt: window,
      reply,
      output,
      constraint,
      openLoop,
      loop: read ? await openLoop() : undefined,
    };
    try {
      const end = read ? yield* decode(run) : 'interrupted';
      if (end === 'overflow' && overflow === 'error') throw contextFull(promptTokens, reply.ids.length, contextTokens);
      choices.add(reply.ids.length, output.reasoningTokens, window.droppedMessages);
      const how = choiceEnd(end, output.calls);
      if (!choices.isLast(choice)) yield { type: 'choice_end', ...how };
      else yield { type: 'done', ...how, ...report(choices, { promptTokens, knownTokens, started, times }) };
    } finally {
      output.close();
      constraint?.close();
      constraint = undefined;
      await run.loop?.close().catch(() => {}); // a lost device is told by whoever uses it next
    }
  }
}

/** The GPU draws where nobody needs to see the logits, or to change them, before the next step. */
async function loopOf(
  { session, vocab, stopIds }: Generation,
  { topLogprobs, reasoningBudgetTokens, constraint }: GenerateRequest,
  reply: Reply,
  limits: LengthLimits,
  prompt: PromptWindow,
  row: LogitRow,
): Promise<TokenLoop | undefined> {
  const seen = topLogprobs !== undefined || reasoningBudgetTokens !== undefined || constraint !== undefined;
  if (seen || reply.params.logitBias || !TokenLoops.suits(stopIds)) return undefined;
  const room = remainingTokens({ ...limits, overflow: 'stop' }, prompt.tokens.length, reply.ids.length);
  const loops = session.tokenLoops(vocab);
  await loops?.ready;
  return loops?.begin(session.sequence, {
    logits: row.values,
    params: reply.params,
    seen: reply.history.seen,
    replyCounts: reply.history.replyCounts,
    random: reply.random,
    stopIds,
    limit: room,
  });
}

/** What `usage` and `timings` say at the end. */
function report(
  choices: Choices,
  { promptTokens, knownTokens, started, times }: { promptTokens: number; knownTokens: number; started: number; times: Times },
): Pick<Event<'done'>, 'usage' | 'timings'> {
  const done = performance.now();
  const firstTokenMs = times.firstTokenMs || done;
  return {
    usage: choices.usage(promptTokens, knownTokens),
    timings: {
      prefillTokens: promptTokens - knownTokens + times.rereadTokens,
      prefillMs: firstTokenMs - started + times.rereadMs,
      decodeTokens: choices.decodedTokens,
      decodeMs: done - firstTokenMs - times.rereadMs,
    },
  };
}

function choiceEnd(end: ReplyEnd, calls: number): ChoiceEnd {
  if (end === 'interrupted') return { finishReason: 'stop', interrupted: true };
  if (end !== 'stop') return { finishReason: 'length' };
  return { finishReason: calls > 0 ? 'tool_calls' : 'stop' };
}

/** How thinking is closed: as templates write a think block without thoughts. */
async function closingOf({ text }: Generation, request: GenerateRequest, signal: AbortSignal): Promise<Run['closing']> {
  const budgetTokens = request.reasoningBudgetTokens ?? Number.POSITIVE_INFINITY;
  const mayClose = budgetTokens !== Number.POSITIVE_INFINITY || request.constraint;
  if (!mayClose || !('messages' in request.prompt)) return { ids: [], budgetTokens };
  return { ids: await text.encode('\n</think>\n\n', { allowSpecialTokens: true, signal }), budgetTokens };
}

/** Returns whether it came to its end. */
async function* unlessInterrupted<T>(
  events: AsyncGenerator<T, void, undefined>,
  { interrupt }: Generation,
  signal: AbortSignal,
): AsyncGenerator<T, boolean, undefined> {
  try {
    yield* events;
    return true;
  } catch (error) {
    if (!isAbort(error) || signal.aborted || !interrupt?.aborted) throw error;
    return false;
  }
}

/** Reads `tokens` into the sequence and puts the logits after the last one into `row`. */
async function* prefill(
  { sequence, runner }: ModelSession,
  tokens: Uint32Array<ArrayBuffer>,
  row: LogitRow,
  signal: AbortSignal,
  interrupt?: AbortSignal,
): AsyncGenerator<Event<'prefill'>, void, undefined> {
  const total = tokens.length;
  const started = performance.now();
  const event = (done: number) => ({ type: 'prefill' as const, done, total, ms: performance.now() - started });
  const progress = new Latest<number>();
  const onProgress = (done: number) => progress.put(done);
  const stop = new AbortController();
  const joined = AbortSignal.any([signal, stop.signal, ...(interrupt ? [interrupt] : [])]);
  const step = runner.step([{ sequence, tokens, logits: 'last', onLogits: row.add, onProgress }], joined);
  step.then(
    () => progress.end(),
    () => progress.end(),
  );
  try {
    for await (const done of progress) if (done < total) yield event(done);
    await step;
  } finally {
    stop.abort(); // whoever leaves the loop early must not leave a step running on a sequence that is free again
    await Promise.allSettled([step]);
  }
  yield event(total);
}

/** Samples until something ends the reply. Its text flows on unbroken where turns are dropped meanwhile. */
async function* decode(run: Run): AsyncGenerator<Event<'prefill'> | SaidEvent, ReplyEnd, undefined> {
  const { stopIds, reply, output, closing, row, interrupt, times } = run;
  let end: ReplyEnd | undefined;
  while (end === undefined) {
    if (interrupt?.aborted) {
      end = 'interrupted';
      break;
    }
    if (output.thinks && mustStopThinking(run)) {
      const ids = reply.force(closing.ids, run.limits.maxTokens);
      yield* await output.push(ids);
      end = output.stopped ? 'stop' : yield* advance(run, ids);
      continue;
    }
    const { token, done } = await nextToken(run);
    times.firstTokenMs ||= performance.now();
    if (stopIds.has(token)) {
      end = 'stop';
      break;
    }
    yield* await output.push([token], row.values);
    end = output.stopped || done ? 'stop' : yield* advance(run, [token]);
  }
  yield* await output.finish();
  return end;
}

/** Draws the next token. A constraint holds the answer, not the thinking before it. */
async function nextToken(run: Run): Promise<{ token: number; done: boolean }> {
  const { reply, constraint, output, row, loop } = run;
  if (loop) {
    const token = await loop.next(run.signal);
    reply.force([token]);
    return { token, done: false };
  }
  if (!constraint) return { token: reply.next(row.values), done: false };
  if (output.thinks) return { token: reply.next(row.values, constraint.whileThinking), done: false };
  const { token, done } = await constraint.next((mask) => reply.draw(row.values, mask), remaining(run));
  reply.force([token]);
  return { token, done };
}

const remaining = ({ limits, prompt, reply }: Run) => remainingTokens(limits, prompt.tokens.length, reply.ids.length);

/** At its budget, and where the answer needs the tokens that are left. */
function mustStopThinking(run: Run): boolean {
  const { output, closing, constraint } = run;
  if (output.reasoningTokens >= closing.budgetTokens) return true;
  return constraint !== undefined && closing.ids.length > 0 && remaining(run) <= closing.ids.length + constraint.enoughTokens;
}

/** Reads what the reply has grown by. @returns why there is no going on, if so. */
async function* advance(run: Run, tokens: readonly number[]): AsyncGenerator<Event<'prefill'>, ReplyEnd | undefined, undefined> {
  const { session, limits, prompt, reply, row, signal } = run;
  if (reply.ids.length >= (limits.maxTokens ?? Number.POSITIVE_INFINITY)) return 'length';
  if (prompt.tokens.length + reply.ids.length >= limits.contextTokens) {
    return (yield* rereadWithoutOldest(run)) ? undefined : 'overflow';
  }
  if (run.loop) return undefined; // it reads on by itself
  if (!run.output.thinks) run.constraint?.prepare(remaining(run));
  const part = { sequence: session.sequence, tokens: Uint32Array.from(tokens), logits: 'last' as const, onLogits: row.add };
  await session.runner.step([part], signal);
  return undefined;
}

/** Where turns can be dropped, reads what stays of the prompt and the reply so far into an empty sequence. Returns whether. */
async function* rereadWithoutOldest(run: Run): AsyncGenerator<Event<'prefill'>, boolean, undefined> {
  const { session, limits, prompt, reply, row, signal, times } = run;
  const started = performance.now();
  if (!(await makeRoom(prompt, reply.ids.length, limits, signal))) return false;
  const tokens = new Uint32Array(prompt.tokens.length + reply.ids.length);
  tokens.set(prompt.tokens);
  tokens.set(reply.ids, prompt.tokens.length);
  await run.loop?.close();
  session.sequence.reset();
  yield* prefill(session, tokens, row, signal);
  if (run.loop) run.loop = await run.openLoop();
  times.rereadTokens += tokens.length;
  times.rereadMs += performance.now() - started;
  return true;
}

/** The tokens of one reply: what sampling needs to remember. */
class Reply {
  readonly ids: number[] = [];
  readonly params: SamplingParams;
  readonly history: TokenHistory;
  readonly random: Random;
  readonly #vocab: number;

  /** `choice`: each choice of a request draws with the next seed. */
  constructor({ defaults, vocab }: Generation, { sampling }: GenerateRequest, prompt: Uint32Array, choice: number) {
    this.#vocab = vocab;
    this.params = samplingParams(sampling, defaults);
    this.history = new TokenHistory(prompt);
    this.random = new Random(sampling.seed === undefined ? Math.random() * 2 ** 53 : sampling.seed + choice);
  }

  /** Adds tokens that nobody drew, as many as `maxTokens` leaves room for. */
  force(tokens: readonly number[], maxTokens = Number.POSITIVE_INFINITY): readonly number[] {
    const added = tokens.slice(0, Math.max(0, maxTokens - this.ids.length));
    for (const token of added) this.history.add(token);
    this.ids.push(...added);
    return added;
  }

  /** Draws the next token, which counts from then on even if it ends the reply. */
  next(logits: Float32Array, mask?: Uint32Array): number {
    const token = this.draw(logits, mask);
    this.force([token]);
    return token;
  }

  /** Draws a token that need not be taken. */
  draw(logits: Float32Array, mask?: Uint32Array): number {
    return sample(logits, this.#vocab, this.history, this.params, this.random, mask);
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

/** One request: prompt to tokens, prefill, then, choice by choice, sample, decode and detokenise until something ends it. */
import { EngineError, isAbort } from '../errors';
import type { GenerationDefaults } from '../format/generation';
import type { ChoiceEnd, ContextOverflow, GenerateEvent, GenerateRequest } from '../protocol/engine';
import type { TextHost } from '../text/text_host';
import { Choices, type Known, type ReplyEnd } from './choices';
import { ConstrainedReply, remainingTokens } from './constrained_reply';
import { type ChoiceCounts, endChoice, type Journal, newJournal } from './journal';
import { Latest } from './latest';
import { LogitRow } from './logit_row';
import type { ModelSession } from './model_session';
import { contextFull, fitPrompt, type LengthLimits, makeRoom, type PromptText, PromptWindow } from './overflow';
import type { Ids, PrefixCache } from './prefix_cache';
import { Reply } from './reply';
import { ReplyOutput, type SaidEvent } from './reply_output';
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
  /** Knows what the sequence has read, so that a prompt costs its new tokens. Default: none is known. */
  cache?: PrefixCache | undefined;
  /** Without a cache: so many tokens at the front of the prompt are what the sequence has read already. Default 0: it is reset. */
  knownTokens?: number;
  /** Ends the reply as if the model had ended it. */
  interrupt?: AbortSignal;
};

type Event<T extends GenerateEvent['type']> = Extract<GenerateEvent, { type: T }>;
type Events = AsyncGenerator<Exclude<GenerateEvent, { type: 'error' }>, void, undefined>;

/** What all choices of a request have in common. */
type Shared = {
  g: Generation;
  request: GenerateRequest;
  limits: LengthLimits;
  prompt: PromptWindow;
  promptTokens: number;
  choices: Choices;
  /** Closes a think block, once so many tokens of thinking are there. */
  closing: { ids: readonly number[]; budgetTokens: number };
  /** Logits after the last token that the sequence has read. */
  row: LogitRow;
  signal: AbortSignal;
  times: Times;
  journal: Journal;
};

/** One choice under way. */
type Run = Shared & {
  /** The prompt, which this choice may shorten. */
  window: PromptWindow;
  reply: Reply;
  output: ReplyOutput;
  constraint: ConstrainedReply | undefined;
  /** Where the GPU draws: each token then comes from here, and is read without being asked. */
  loop: TokenLoop | undefined;
};

/** Tokens that were read again after others were dropped, and how long that took, are prefill too. */
type Times = { startedMs: number; firstTokenMs: number; prefillTokens: number; rereadMs: number };

/**
 * Runs one request on the session's sequence, which must be free. It goes on from where `journal` is.
 * @throws EngineError 'context-length', 'format', 'limit', 'non-finite', 'device-lost', …; AbortError.
 */
export async function* generate(g: Generation, request: GenerateRequest, signal: AbortSignal, journal = newJournal()): Events {
  const shared = await openRequest(g, request, signal, journal);
  const { choices, promptTokens, times } = shared;
  let resumed = journal.pieces.flat();
  let window = await firstWindow(shared, resumed.length);
  let constraint = await ConstrainedReply.open(g, request, signal); // before the prompt is read: a bad schema costs nothing
  try {
    times.startedMs = performance.now();
    const tokens = withReply(window, resumed);
    const begin = () => beginMask(shared, window, constraint, resumed.length);
    let read = yield* unlessInterrupted(firstPrefill(shared, window, tokens, begin), g, signal);
    const known: Known = read ?? { cachedTokens: 0, replayedTokens: 0 };
    times.prefillTokens = tokens.length - known.cachedTokens;
    if (resumed.length > 0) known.replayedTokens = times.prefillTokens;
    for (let choice = journal.ended.length; ; choice++) {
      const run = openRun(shared, window, constraint);
      const isLast = choices.isLast(choice);
      try {
        const end = read ? yield* decode(run) : yield* interrupted(run);
        const counts = countsOf(run, end);
        choices.add(counts, resumed.length);
        const how = choiceEnd(end, run.output.hasCalls);
        if (isLast) yield { type: 'done', ...how, usage: choices.usage(promptTokens, known), timings: timingsOf(shared) };
        else {
          yield { type: 'choice_end', ...how };
          endChoice(journal, counts); // once it was delivered
        }
      } finally {
        run.output.close();
        await closeLoop(run).catch(() => {}); // a lost device is told by whoever uses it next
      }
      if (isLast) return;
      constraint?.close();
      resumed = [];
      window = windowOf(shared, choice + 1);
      constraint = await ConstrainedReply.open(g, request, signal);
      read = g.interrupt?.aborted ? undefined : read;
      if (!read) continue;
      const turnEnd = await turnEndOf(shared, window);
      begin();
      await readTokens(shared, window.tokens, { turnEnd, knownTokens: 0, signal });
    }
  } catch (error) {
    // What was read up to there would give the same to every request that begins alike.
    if (error instanceof EngineError && error.code === 'non-finite') g.cache?.forget();
    throw error;
  } finally {
    constraint?.close();
  }
}

async function openRequest(g: Generation, request: GenerateRequest, signal: AbortSignal, journal: Journal): Promise<Shared> {
  const { contextTokens } = g.session.options;
  const limits: LengthLimits = { contextTokens, maxTokens: request.maxTokens, overflow: g.overflow ?? 'stop' };
  const prompt = await PromptWindow.open(g.text, request.prompt, signal);
  await fitPrompt(prompt, limits, signal);
  const closing = await closingOf(g, request, signal);
  const choices = new Choices(request.choices ?? 1, journal.ended);
  const row = new LogitRow(g.session.config.vocabSize);
  const times: Times = { startedMs: 0, firstTokenMs: 0, prefillTokens: 0, rereadMs: 0 };
  const promptTokens = prompt.tokens.length;
  return { g, request, limits, prompt, promptTokens, choices, closing, row, signal, times, journal };
}

/** The last choice shortens the prompt itself, others a copy. */
function windowOf({ prompt, choices }: Shared, choice: number): PromptWindow {
  return choices.isLast(choice) ? prompt : prompt.copy();
}

/** Leaves room for a reply that goes on, if there is any to be made. */
async function firstWindow(shared: Shared, resumedTokens: number): Promise<PromptWindow> {
  const { limits, journal, signal } = shared;
  const window = windowOf(shared, journal.ended.length);
  const isFull = window.tokens.length + resumedTokens >= limits.contextTokens;
  if (resumedTokens > 0 && isFull) await makeRoom(window, resumedTokens, limits, signal);
  return window;
}

/** Of the reply's first token, while the prompt is read. A reply that goes on takes its tokens again first, and thinking has no form. */
function beginMask(
  { limits }: Shared,
  window: PromptWindow,
  constraint: ConstrainedReply | undefined,
  resumedTokens: number,
): void {
  if (resumedTokens === 0 && !window.opensThinking) constraint?.prepare(remainingTokens(limits, window.tokens.length, 0));
}

function openRun(shared: Shared, window: PromptWindow, constraint: ConstrainedReply | undefined): Run {
  const { g, request, signal, journal } = shared;
  const reply = new Reply(g, request.sampling, window, journal);
  const { opensThinking } = window;
  const output = new ReplyOutput(g.text, request, { opensThinking, vocab: g.vocab, shown: journal.shown, signal });
  return { ...shared, window, reply, output, constraint, loop: undefined };
}

/** @throws EngineError 'context-length' where that is how a full context ends. */
function countsOf({ reply, output, window, limits, promptTokens }: Run, end: ReplyEnd): ChoiceCounts {
  if (end === 'overflow' && limits.overflow === 'error') throw contextFull(promptTokens, reply.ids.length, limits.contextTokens);
  return { tokens: reply.ids.length, reasoningTokens: output.reasoningTokens, truncatedMessages: window.droppedMessages };
}

/** Begins to draw on the GPU where nobody needs to see the logits, or to change them, before the next step. */
async function openLoop(run: Run): Promise<void> {
  const { g, request, reply, limits, window, row } = run;
  const { topLogprobs, reasoningBudgetTokens, constraint } = request;
  const { session, vocab, stopIds, cache } = g;
  // Without thinking (a budget of 0) nothing is closed unless the model opens a block unasked, which `decode` then goes back for.
  const closes = reasoningBudgetTokens !== undefined && (reasoningBudgetTokens > 0 || run.output.thinks);
  const seen = topLogprobs !== undefined || closes || constraint !== undefined;
  if (seen || reply.params.logitBias || !TokenLoops.suits(stopIds)) return;
  const loops = session.tokenLoops(vocab);
  if (!loops) return;
  await loops.ready;
  run.loop = loops.begin(session.sequence, row.values, {
    params: reply.params,
    seen: reply.history.seen,
    replyCounts: reply.history.replyCounts,
    random: reply.freshRandom(),
    stopIds,
    limit: remainingTokens({ ...limits, overflow: 'stop' }, window.tokens.length, reply.ids.length),
  });
  cache?.lend();
}

/** Tells the cache what the sequence has read by then. @throws EngineError 'device-lost' */
async function closeLoop(run: Run): Promise<void> {
  const { loop } = run;
  run.loop = undefined;
  if (!loop) return;
  const read = await loop.close();
  run.g.cache?.takeBack(read);
}

/** What `timings` says at the end. */
function timingsOf({ choices, times }: Shared): Event<'done'>['timings'] {
  const done = performance.now();
  const firstTokenMs = times.firstTokenMs || done;
  return {
    prefillTokens: times.prefillTokens,
    prefillMs: firstTokenMs - times.startedMs + times.rereadMs,
    decodeTokens: choices.decodedTokens,
    decodeMs: done - firstTokenMs - times.rereadMs,
  };
}

/** A reply that stops within a call has none to run: its arguments are not JSON yet. */
function choiceEnd(end: ReplyEnd, hasCalls: boolean): ChoiceEnd {
  if (end === 'interrupted') return { finishReason: 'stop', interrupted: true };
  if (end !== 'stop') return { finishReason: 'length' };
  return { finishReason: hasCalls ? 'tool_calls' : 'stop' };
}

/** How thinking is closed: as templates write a think block without thoughts. */
async function closingOf({ text }: Generation, request: GenerateRequest, signal: AbortSignal): Promise<Run['closing']> {
  const budgetTokens = request.reasoningBudgetTokens ?? Number.POSITIVE_INFINITY;
  const mayClose = budgetTokens !== Number.POSITIVE_INFINITY || request.constraint;
  if (!mayClose || !('messages' in request.prompt)) return { ids: [], budgetTokens };
  return { ids: await text.encode('\n</think>\n\n', { allowSpecialTokens: true, signal }), budgetTokens };
}

/** What the events end with; undefined where they were interrupted. */
async function* unlessInterrupted<T, R>(
  events: AsyncGenerator<T, R, undefined>,
  { interrupt }: Generation,
  signal: AbortSignal,
): AsyncGenerator<T, R | undefined, undefined> {
  try {
    return yield* events;
  } catch (error) {
    if (!isAbort(error) || signal.aborted || !interrupt?.aborted) throw error;
    return undefined;
  }
}

/** The prompt and what of the reply was drawn. */
function withReply({ tokens }: PromptWindow, ids: readonly number[]): Ids {
  const all = new Uint32Array(tokens.length + ids.length);
  all.set(tokens);
  all.set(ids, tokens.length);
  return all;
}

/** Where a later turn may leave this prompt; only the cache asks. */
async function turnEndOf({ g: { cache }, signal }: Shared, prompt: PromptWindow): Promise<number | undefined> {
  return cache && prompt.turnEnd(signal);
}

type Reading = { turnEnd: number | undefined; knownTokens: number; signal: AbortSignal; onProgress?(done: number): void };

/** Brings the sequence to where it has read `tokens` and puts the logits after the last one into the row. */
async function readTokens({ g, row }: Shared, tokens: Ids, reading: Reading): Promise<Known> {
  const { sequence, runner } = g.session;
  const { knownTokens, turnEnd, ...options } = reading;
  if (g.cache) return g.cache.read(tokens, { ...options, turnEnd, row });
  if (knownTokens === 0) sequence.reset();
  const { signal, onProgress } = options;
  const part = { sequence, tokens: tokens.subarray(knownTokens), logits: 'last' as const, onLogits: row.add };
  await runner.step([{ ...part, ...(onProgress ? { onProgress } : {}) }], signal);
  return { cachedTokens: knownTokens, replayedTokens: 0 };
}

/** Tells first what is to be read. `begin` starts what goes on meanwhile in the text worker. */
async function* firstPrefill(
  shared: Shared,
  window: PromptWindow,
  tokens: Ids,
  begin: () => void,
): AsyncGenerator<Event<'prefill'>, Known, undefined> {
  const { cache, knownTokens = 0, interrupt } = shared.g;
  const cached = cache ? cache.known(tokens) : knownTokens;
  const turnEnd = await turnEndOf(shared, window);
  begin();
  yield { type: 'prefill', done: 0, total: tokens.length - cached, ms: 0, ...(cached > 0 ? { cached } : {}) };
  return yield* prefill(shared, tokens, turnEnd, cached, interrupt);
}

/** Reads `tokens`, of which `cached` are known, and tells how far it is. */
async function* prefill(
  shared: Shared,
  tokens: Ids,
  turnEnd: number | undefined,
  cached: number,
  interrupt?: AbortSignal,
): AsyncGenerator<Event<'prefill'>, Known, undefined> {
  const total = tokens.length - cached;
  const started = performance.now();
  const known = cached > 0 ? { cached } : {};
  const event = (done: number) => ({ type: 'prefill' as const, done, total, ms: performance.now() - started, ...known });
  const progress = new Latest<number>();
  const onProgress = (done: number) => progress.put(done);
  const stop = new AbortController();
  const joined = AbortSignal.any([shared.signal, stop.signal, ...(interrupt ? [interrupt] : [])]);
  const reading = readTokens(shared, tokens, { turnEnd, knownTokens: cached, onProgress, signal: joined });
  reading.then(
    () => progress.end(),
    () => progress.end(),
  );
  let result: Known;
  try {
    for await (const done of progress) if (done < total) yield event(done);
    result = await reading;
  } finally {
    stop.abort(); // whoever leaves the loop early must not leave a step running on a sequence that is free again
    await Promise.allSettled([reading]);
  }
  if (total > 0) yield event(total);
  return result;
}

/** Samples until something ends the reply. Its text flows on unbroken where turns are dropped meanwhile. */
async function* decode(run: Run): AsyncGenerator<Event<'prefill'> | SaidEvent, ReplyEnd, undefined> {
  const { g, reply, output, closing, row, times } = run;
  let end = yield* resume(run);
  if (end === undefined) await openLoop(run);
  while (end === undefined) {
    if (g.interrupt?.aborted) {
      end = 'interrupted';
      break;
    }
    if (output.thinks && mustStopThinking(run)) {
      if (run.loop) yield* reread(run); // the GPU has read on
      const ids = reply.force(closing.ids, run.limits.maxTokens);
      yield* await say(run, ids);
      end = output.stopped ? 'stop' : yield* advance(run, ids);
      if (end === undefined && !run.loop && !output.thinks) await openLoop(run);
      continue;
    }
    const { token, done } = await nextToken(run);
    times.firstTokenMs ||= performance.now();
    if (g.stopIds.has(token)) {
      end = 'stop';
      break;
    }
    yield* await say(run, [token], row.values);
    end = output.stopped || done ? 'stop' : yield* advance(run, [token]);
  }
  yield* await output.finish();
  return end;
}

/** The end of a reply whose prompt was not read to its end: what it had said before, if it goes on. */
async function* interrupted(run: Run): AsyncGenerator<SaidEvent, ReplyEnd, undefined> {
  const end = yield* resume(run);
  yield* await run.output.finish();
  return end ?? 'interrupted';
}

/** What tokens add to the reply, and notes them as certain: from there on they are not drawn again. */
async function say({ journal, reply, output }: Run, ids: readonly number[], logits?: Float32Array): Promise<SaidEvent[]> {
  const events = await output.push(ids, logits);
  journal.pieces.push(ids);
  journal.draws = reply.draws;
  for (let i = journal.logprobs.length; i < output.logprobs.length; i++) journal.logprobs.push(output.logprobs[i]!);
  return events;
}

/** Delivers what a reply that goes on had drawn and not shown. Returns its end if it had come to that. */
async function* resume(run: Run): AsyncGenerator<SaidEvent, ReplyEnd | undefined, undefined> {
  const { journal, output, constraint } = run;
  if (journal.pieces.length === 0) return undefined;
  let complete = false;
  for (const ids of journal.pieces) {
    if (constraint && !output.thinks) complete = await constraint.replay(ids);
    yield* await output.push(ids);
  }
  output.replayLogprobs(journal.logprobs);
  return output.stopped || complete ? 'stop' : fullEnd(run);
}

/** Draws the next token. A constraint holds the answer, not the thinking before it. */
async function nextToken(run: Run): Promise<{ token: number; done: boolean }> {
  const { reply, constraint, output, row, loop } = run;
  if (loop) {
    const token = await loop.next(run.signal);
    reply.drawn(token);
    return { token, done: false };
  }
  if (!constraint) return { token: reply.next(row.values), done: false };
  if (output.thinks) return { token: reply.next(row.values, constraint.whileThinking), done: false };
  const { token, done } = await constraint.next((mask) => reply.draw(row.values, mask), remaining(run));
  reply.force([token]);
  return { token, done };
}

const remaining = ({ limits, window, reply }: Run) => remainingTokens(limits, window.tokens.length, reply.ids.length);

/** At its budget, and where the answer needs the tokens that are left. */
function mustStopThinking(run: Run): boolean {
  const { output, closing, constraint } = run;
  if (output.reasoningTokens >= closing.budgetTokens) return true;
  return constraint !== undefined && closing.ids.length > 0 && remaining(run) <= closing.ids.length + constraint.enoughTokens;
}

/** Why a reply of this length ends, if it does. */
function fullEnd({ limits, window, reply }: Run): 'length' | 'overflow' | undefined {
  if (reply.ids.length >= (limits.maxTokens ?? Number.POSITIVE_INFINITY)) return 'length';
  return window.tokens.length + reply.ids.length >= limits.contextTokens ? 'overflow' : undefined;
}

/** Reads what the reply has grown by. @returns why there is no going on, if so. */
async function* advance(run: Run, tokens: readonly number[]): AsyncGenerator<Event<'prefill'>, ReplyEnd | undefined, undefined> {
  const { row, signal } = run;
  const { session, cache } = run.g;
  const end = fullEnd(run);
  if (!run.output.thinks) run.constraint?.prepare(remaining(run));
  if (end === 'overflow' && (yield* rereadWithoutOldest(run))) return undefined;
  if (end || run.loop) return end; // a loop reads on by itself
  if (cache) await cache.extend(tokens, row, signal);
  else {
    const part = { sequence: session.sequence, tokens: Uint32Array.from(tokens), logits: 'last' as const, onLogits: row.add };
    await session.runner.step([part], signal);
  }
  return undefined;
}

/** Where turns can be dropped, reads what stays of the prompt and the reply so far, in place of what was read. Returns whether. */
async function* rereadWithoutOldest(run: Run): AsyncGenerator<Event<'prefill'>, boolean, undefined> {
  const { limits, window, reply, signal } = run;
  if (!(await makeRoom(window, reply.ids.length, limits, signal))) return false;
  const looped = run.loop !== undefined;
  yield* reread(run);
  if (looped) await openLoop(run);
  return true;
}

/** Brings the sequence to prompt and reply as they are, and ends the loop. */
async function* reread(run: Run): AsyncGenerator<Event<'prefill'>, void, undefined> {
  const { g, window, reply, times } = run;
  const started = performance.now();
  const tokens = withReply(window, reply.ids);
  await closeLoop(run);
  const cached = g.cache?.known(tokens) ?? 0;
  yield* prefill(run, tokens, await turnEndOf(run, window), cached);
  times.prefillTokens += tokens.length - cached;
  times.rereadMs += performance.now() - started;
}

/**
 * A whole model's prefill and decode, as a request has them: the engine's own generation loop with sampling, by the wall clock, every
 * id read back. Only text is left out: the prompt is ids, and ids are what is wanted of the reply.
 */

import { type ExpertReport, expertReport } from '../engine/expert_report';
import { LogitRow } from '../engine/logit_row';
import type { ModelSession } from '../engine/model_session';
import { Random } from '../engine/random';
import { EngineError } from '../errors';
import type { Gpu } from '../gpu/device';
import type { ExpertCounts } from '../stream/expert_counts';
import type { Effort } from './ceilings';
import { type Counts, countCalls } from './count_calls';
import { type ExpertBound, expertBound } from './expert_bound';
import { generateIds, type IdRequest, type IdRun } from './id_generation';
import { type ProfileRow, profileStep } from './profile';
import { replay } from './replay';
import { type Summary, summarise } from './statistics';
import { openTimestamps } from './timestamps';
import { realisticTrace, type Trace } from './trace';
import { prefillFlopPerToken, type TokenBytes, tokenBytes } from './traffic';

export type ModelBench = {
  /** Tokens that the sequence has read before a prompt begins. */
  contexts: readonly number[];
  promptTokens: number;
  /** At least 2. */
  decodeTokens: number;
  /** Runs that count, after one that warms up. */
  repeat: number;
  seed: number;
  /** A session for so many tokens; it is destroyed here. One at a time. */
  open(gpu: Gpu, contextTokens: number): Promise<ModelSession>;
  /** Which experts tokens run through, in place of those that the routers choose: as real text does, see trace.ts. */
  trace?: 'real' | undefined;
  /**
   * Also time every kind of dispatch alone, when all contexts are measured: on a device of its own, which may have timestamps and is
   * destroyed here.
   */
  profile?: { effort: Effort; openGpu(): Promise<Gpu> };
  /** Profiles are still to come. */
  onContext?(figures: ContextFigures | SkippedContext): void;
  /** The same figures, with their profiles. */
  onProfiles?(figures: ContextFigures): void;
};

export type ContextFigures = {
  context: number;
  promptTokens: number;
  decodeTokens: number;
  prefillTokensPerSecond: Summary;
  decodeTokensPerSecond: Summary;
  /** Of the mean decode step. */
  bytesPerToken: TokenBytes;
  streamedBytesPerToken: number;
  gbPerSecond: number;
  prefillTflops: number;
  peakGpuBytes: number;
  plannedGpuBytes: number;
  /** Of a decode step, sampling included. */
  dispatchesPerToken: number;
  /** Mean of the layers. */
  dispatchesPerLayer: number;
  submitsPerToken: number;
  /** Of a mixture: all measured runs together. */
  experts?: ExpertReport;
  /** Of a trace whose experts do not all have slots. */
  bound?: ExpertBound;
  /** Standard deviation of the logits after the prompt. */
  logitDeviation: number;
  /** Of the first run. */
  ids: number[];
  /** Whether every run gave the same ids, as the same seed should. */
  repeatable: boolean;
  /** One for a chunk of the prompt, one for decode; none where weights stream, where nobody asked, and until all contexts are measured. */
  profiles: { tokens: number; rows: ProfileRow[] }[];
};

export type SkippedContext = { context: number; skipped: string };

const warmUpTokens = 8;

/** @throws EngineError of a context that did not fit, where none did. */
export async function benchModel(gpu: Gpu, bench: ModelBench): Promise<(ContextFigures | SkippedContext)[]> {
  const all: (ContextFigures | SkippedContext)[] = [];
  let refusal: EngineError | undefined;
  for (const context of bench.contexts) {
    const figures = await benchContext(gpu, bench, context).catch((error: unknown): SkippedContext => {
      if (!(error instanceof EngineError) || !['budget', 'context-length'].includes(error.code)) throw error;
      refusal ??= error;
      return { context, skipped: error.message };
    });
    bench.onContext?.(figures);
    all.push(figures);
  }
  if (refusal && all.every((figures) => 'skipped' in figures)) throw refusal;
  if (bench.profile) await profileContexts(bench, all);
  return all;
}

type Place = {
  session: ModelSession;
  trace: Trace | undefined;
  request: Omit<IdRequest, 'decodeTokens'>;
  /** To where the sequence holds the context alone. */
  goBack: () => void;
  /** Without the session's budget. */
  own: Gpu;
};

/** Runs `work` on a session that has read `context` tokens. */
async function atContext<T>(gpu: Gpu, bench: ModelBench, context: number, work: (place: Place) => Promise<T>): Promise<T> {
  const { promptTokens, decodeTokens, seed } = bench;
  const own: Gpu = { ...gpu, memory: gpu.memory.scope() };
  const session = await bench.open(gpu, context + promptTokens + decodeTokens + 1); // the last id is drawn, not read
  try {
    const trace = bench.trace && traceOf(session);
    if (trace) await replay(own, session, trace);
    const random = new Random(seed);
    const { vocabSize } = session.config;
    const ids = Array.from({ length: context + promptTokens }, () => Math.floor(random.next() * vocabSize));
    const goBack = await readContext(own, session, ids.slice(0, context));
    return await work({ session, trace, request: { ids, known: context, seed }, goBack, own });
  } finally {
    session.destroy();
    own.memory.release();
  }
}

/** Of every context where no weights stream, into its figures. */
async function profileContexts(bench: ModelBench, all: readonly (ContextFigures | SkippedContext)[]): Promise<void> {
  const resident = all.filter((figures) => !('skipped' in figures) && figures.streamedBytesPerToken === 0) as ContextFigures[];
  if (resident.length === 0) return;
  const { effort, openGpu } = bench.profile!;
  const gpu = await openGpu();
  try {
    for (const figures of resident) {
      figures.profiles = await atContext(gpu, bench, figures.context, async ({ session, goBack, own }) => {
        const timestamps = openTimestamps(own);
        const profiles: ContextFigures['profiles'] = [];
        for (const tokens of [Math.min(bench.promptTokens, session.options.chunkTokens), 1]) {
          if (tokens > 1) goBack();
          profiles.push({ tokens, rows: await profileStep(session, effort, tokens, timestamps) });
        }
        timestamps?.destroy();
        return profiles;
      });
      bench.onProfiles?.(figures);
    }
  } finally {
    gpu.device.destroy();
  }
}

function benchContext(gpu: Gpu, bench: ModelBench, context: number): Promise<ContextFigures> {
  const { promptTokens, decodeTokens, repeat } = bench;
  return atContext(gpu, bench, context, async ({ session, trace, request, goBack }) => {
    const counts = await countSteps(session, request, Math.min(warmUpTokens, decodeTokens) - 1, goBack);
    const runs: IdRun[] = [];
    const known = { ...session.experts?.counts.decode };
    for (let i = 0; i < repeat; i++) {
      goBack();
      runs.push(await generateIds(session, { ...request, decodeTokens }));
    }
    const experts = expertReport(session, repeat * decodeTokens, known as ExpertCounts);
    goBack();
    const logitDeviation = await deviationOfLogits(session, request.ids.slice(context));
    const speed = speeds(session, context, runs);
    const bound =
      trace && experts && !session.experts!.complete
        ? await boundOf(
            session,
            trace,
            { ...request, decodeTokens },
            { goBack, experts, reached: speed.decodeTokensPerSecond.median },
          )
        : undefined;
    const figures = { ...speed, ...counts, ...(experts ? { experts } : {}), ...(bound ? { bound } : {}) };
    return { context, promptTokens, decodeTokens, ...figures, logitDeviation, profiles: [] };
  });
}

/** Tokens that a trace has before it begins again. */
const traceTokens = 2048;

function traceOf({ config }: ModelSession): Trace {
  const { moe, numHiddenLayers: layers } = config;
  if (!moe) throw new EngineError('invalid-request', 'A trace of experts needs a mixture of experts.');
  return realisticTrace({ layers, experts: moe.experts, chosen: moe.chosen }, traceTokens, 1);
}

/** What the run could have reached. Leaves the session fit for nothing but its end. */
async function boundOf(
  session: ModelSession,
  trace: Trace,
  request: IdRequest,
  { goBack, experts, reached }: { goBack: () => void; experts: ExpertReport; reached: number },
): Promise<ExpertBound> {
  session.experts!.alias();
  const runs: IdRun[] = [];
  for (let i = 0; i < 2; i++) {
    goBack();
    runs.push(await generateIds(session, request));
  }
  const { decodeTokens: drawn, decodeMs } = runs[1]!.timings; // the first one warms up
  const from = (first: number, count: number) => Array.from({ length: count }, (_, i) => first + i);
  const once = from(request.known, request.ids.length - request.known + request.decodeTokens);
  const choices = trace.layers * trace.chosen;
  return expertBound(session, trace, {
    resident: (1000 * drawn) / decodeMs,
    reached,
    positions: [...from(0, request.known), ...once, ...once],
    decoded: request.decodeTokens,
    missesPerToken: (experts.misses * choices) / Math.max(1, experts.hits + experts.misses),
  });
}

/** Reads `tokens`; what it returns puts the sequence back to where it is then. */
async function readContext(gpu: Gpu, { sequence, runner }: ModelSession, tokens: readonly number[]): Promise<() => void> {
  sequence.reset();
  if (tokens.length === 0) return () => sequence.reset();
  await runner.step([{ sequence, tokens: Uint32Array.from(tokens), logits: 'none' }]);
  return rememberState(gpu, sequence);
}

/**
 * Keys and values of earlier positions are not written again, so recurrent and conv state is all that must be kept: in memory of `gpu`,
 * which no budget of the session counts.
 */
function rememberState(gpu: Gpu, sequence: ModelSession['sequence']): () => void {
  const { length, slot } = sequence;
  const states = sequence.layers.flatMap((layer) => (layer.kind === 'linear_attention' ? [layer.recurrent, layer.conv] : []));
  const { COPY_SRC, COPY_DST } = GPUBufferUsage;
  const kept = states.map((state) => ({ state, copy: gpu.memory.create('bench state', state.size, COPY_SRC | COPY_DST) }));
  const move = (pairs: readonly { from: GPUBuffer; to: GPUBuffer }[]) => {
    const encoder = gpu.device.createCommandEncoder();
    for (const { from, to } of pairs) encoder.copyBufferToBuffer(from, 0, to, 0, from.size);
    gpu.device.queue.submit([encoder.finish()]);
  };
  move(kept.map(({ state, copy }) => ({ from: state, to: copy })));
  return () => {
    move(kept.map(({ state, copy }) => ({ from: copy, to: state })));
    sequence.rollBack(length, slot);
  };
}

/**
 * Warms up, and counts what a decode step takes: the difference of two replies, one longer by `moreTokens`, because steps are queued
 * ahead of the tokens that come back.
 */
async function countSteps(
  session: ModelSession,
  request: Omit<IdRequest, 'decodeTokens'>,
  moreTokens: number,
  goBack: () => void,
) {
  const replies: Counts[] = [];
  for (const decodeTokens of [1 + moreTokens, 1, 1 + moreTokens]) {
    goBack();
    const { counts, stop } = countCalls();
    try {
      await generateIds(session, { ...request, decodeTokens });
    } finally {
      stop();
    }
    replies.push(counts);
  }
  const [, short, long] = replies as [Counts, Counts, Counts]; // the first one warms up: the engine still learns from it
  const layers = session.recordings.decode.body.filter(({ label }) => label.startsWith('layers.'));
  const inLayers = layers.reduce((sum, { dispatches }) => sum + dispatches.length, 0);
  return {
    dispatchesPerToken: (long.dispatches - short.dispatches) / moreTokens,
    dispatchesPerLayer: inLayers / session.config.numHiddenLayers,
    submitsPerToken: (long.submits - short.submits) / moreTokens,
  };
}

function speeds(session: ModelSession, context: number, runs: readonly IdRun[]) {
  const { plan, config, options, gpu } = session;
  const { prefillTokens, decodeTokens } = runs[0]!.timings;
  const prefillTokensPerSecond = summarise(runs.map(({ timings }) => (1000 * timings.prefillTokens) / timings.prefillMs));
  const decodeTokensPerSecond = summarise(runs.map(({ timings }) => (1000 * timings.decodeTokens) / timings.decodeMs));
  const bytesPerToken = tokenBytes(plan, config, options.kv, context + prefillTokens + (decodeTokens - 1) / 2);
  const ids = runs[0]!.ids;
  return {
    prefillTokensPerSecond,
    decodeTokensPerSecond,
    bytesPerToken,
    streamedBytesPerToken: plan.streamedBytesPerToken,
    gbPerSecond: (bytesPerToken.total * decodeTokensPerSecond.median) / 1e9,
    prefillTflops: (prefillFlopPerToken(plan, config) * prefillTokensPerSecond.median) / 1e12,
    peakGpuBytes: gpu.memory.peakBytes,
    plannedGpuBytes: plan.bytes.total,
    ids,
    repeatable: runs.every((each) => each.ids.join() === ids.join()),
  };
}

async function deviationOfLogits({ sequence, runner, config }: ModelSession, tokens: readonly number[]): Promise<number> {
  const row = new LogitRow(config.vocabSize);
  await runner.step([{ sequence, tokens: Uint32Array.from(tokens), logits: 'last', onLogits: row.add }]);
  const mean = row.values.reduce((sum, logit) => sum + logit, 0) / config.vocabSize;
  return Math.sqrt(row.values.reduce((sum, logit) => sum + (logit - mean) ** 2, 0) / config.vocabSize);
}

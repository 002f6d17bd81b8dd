/** A loaded model that answers requests: what the browser's worker and the Node command line have in common. */
import { EngineError, unlessAborted } from '../errors';
import type { GenerationDefaults } from '../format/generation';
import type { ModelConfig } from '../format/types';
import type { Gpu } from '../gpu/device';
import { multipliesInt8 } from '../kernels/variants';
import { parseBytes } from '../plan/byte_budget';
import { timelineUnits, withExperts } from '../plan/memory_plan';
import { passAsSeen, type Speeds, simulatePass } from '../plan/timeline';
import type { ContextOverflow, EngineConfig, EngineInfo, GenerateEvent, GenerateRequest, LoadProgress } from '../protocol/engine';
import type { PlanReport, TokenCosts } from '../protocol/plan';
import type { ModelSource } from '../stream/model_source';
import type { OpenedCheckpoint } from '../stream/open_checkpoint';
import type { TextHost } from '../text/text_host';
import type { TextInfo } from '../text/text_worker_api';
import { defaultPrefixCache } from './default_budget';
import { generate } from './generate';
import type { Journal } from './journal';
import { ModelSession, type SessionOptions, sessionPlan, variantsOf } from './model_session';
import { planReport } from './plan_report';
import { PrefixCache } from './prefix_cache';
import { ProgressMeter } from './progress';
import { FairQueue } from './queue';
import type { ChoiceStore } from './tune';

const defaultContextTokens = 4096;

/** `choices`: see SessionLoading. `gpuLoop`: see SessionOptions. */
export type EngineParts = {
  gpu: Gpu;
  model: ModelSource;
  text: TextHost;
  choices?: ChoiceStore | undefined;
  gpuLoop?: boolean | undefined;
};
export type LoadOptions = {
  signal?: AbortSignal;
  onProgress?: (progress: LoadProgress) => void;
  meter?: ProgressMeter;
  /** What the text host said when it loaded this model's files: it is not loaded again. */
  textInfo?: TextInfo | undefined;
};

type Asked = { interruption: AbortController; signal: AbortSignal };

export class EngineCore {
  readonly session: ModelSession;
  readonly plan: PlanReport;
  readonly cache: PrefixCache;
  readonly #model: ModelSource;
  readonly #text: TextHost;
  readonly textInfo: TextInfo | undefined;
  readonly #defaults: GenerationDefaults;
  readonly #overflow: ContextOverflow;
  readonly #queue = new FairQueue();
  /** Of the requests whose replies are still to come, in order of arrival. */
  readonly #asked = new Set<Asked>();

  private constructor(
    { model, text }: EngineParts,
    session: ModelSession,
    plan: PlanReport,
    textInfo: TextInfo | undefined,
    { contextOverflow = 'stop', prefixCacheBytes }: EngineConfig,
  ) {
    this.session = session;
    this.cache = new PrefixCache(session, { copyBytes: prefixCacheBytes ?? defaultPrefixCache(session.gpu) });
    this.plan = plan;
    this.#model = model;
    this.#text = text;
    this.#defaults = model.checkpoint.generation;
    this.textInfo = textInfo;
    this.#overflow = contextOverflow;
  }

  /**
   * Plans; loads tokenizer, weights and pipelines. The caller owns `parts` and releases them, also when this throws.
   * @throws EngineError of any kind; AbortError.
   */
  static async load(
    parts: EngineParts,
    config: EngineConfig,
    { signal, onProgress, meter, textInfo: known }: LoadOptions = {},
  ): Promise<EngineCore> {
    const { gpu, model, text, choices, gpuLoop } = parts;
    const progress = meter ?? new ProgressMeter(onProgress ?? (() => {}));
    if (!meter) progress.manifest(model.label);
    const wanted = { ...sessionOptions(config, model.checkpoint, gpu), ...(gpuLoop === undefined ? {} : { gpuLoop }) };
    const options = await withSpeeds(parts, wanted, signal);
    const { config: modelConfig, tensors } = model.checkpoint;
    const checkpoint = {
      config: modelConfig,
      tensors,
      sources: model.sources,
      ...(model.stored ? { stored: model.stored } : {}),
    };
    const [textInfo, session] = await both(signal, (joined) => [
      known ? Promise.resolve(known) : loadText(text, model.checkpoint, joined),
      ModelSession.load(gpu, checkpoint, options, { signal: joined, onProgress: (p) => progress.session(p), choices }),
    ]);
    try {
      if (!config.answerWhileLoading) await unlessAborted(model.kept(), signal);
      const plan = await loadedPlan(model, session, options.speeds, signal);
      if (textInfo) await session.tokenLoops(vocabOf(modelConfig, textInfo))?.ready;
      if (config.answerWhileLoading) void readyWhenThere(progress, model, session);
      else progress.ready();
      return new EngineCore(parts, session, plan, textInfo, config);
    } catch (error) {
      session.destroy();
      throw error;
    }
  }

  /** See ModelSource.version. */
  get modelVersion(): string {
    return this.#model.version;
  }

  info(): EngineInfo {
    const { gpu, config, options, kernelLabels, parameterBytes, experts } = this.session;
    return {
      model: this.#model.label,
      revision: this.#model.revision,
      adapter: gpu.adapter,
      variants: variantsOf(kernelLabels),
      contextTokens: options.contextTokens,
      chunkTokens: options.chunkTokens,
      kv: options.kv,
      precision: options.precision ?? 'exact',
      vocabSize: config.vocabSize,
      parameterBytes,
      plan: this.plan,
      gpuBytes: gpu.memory.bytes,
      peakGpuBytes: gpu.memory.peakBytes,
      experts: experts?.complete === false ? experts.byLayer : undefined,
      hasChatTemplate: this.textInfo?.hasChatTemplate ?? false,
    };
  }

  /** The events of one request; it waits for those before it. `journal`: see journal.ts. @throws EngineError; AbortError */
  async *generate(
    request: GenerateRequest,
    signal: AbortSignal,
    journal?: Journal,
  ): AsyncGenerator<GenerateEvent, void, undefined> {
    const asked: Asked = { interruption: new AbortController(), signal };
    this.#asked.add(asked);
    if (journal?.interrupted) asked.interruption.abort();
    let release: (() => void) | undefined;
    try {
      release = await this.#queue.enter(signal);
      const { config } = this.session;
      const textInfo = this.#requireText();
      const vocab = vocabOf(config, textInfo);
      const stopIds = stopIdsOf([...config.eosTokenIds, ...this.#defaults.eosTokenIds], textInfo);
      const events = generate(
        {
          session: this.session,
          cache: this.cache,
          text: this.#text,
          defaults: this.#defaults,
          vocab,
          stopIds,
          overflow: this.#overflow,
          interrupt: asked.interruption.signal,
        },
        request,
        signal,
        journal,
      );
      for await (const event of events) {
        if (event.type === 'done') this.#asked.delete(asked);
        yield event;
      }
    } finally {
      this.#asked.delete(asked);
      release?.();
    }
  }

  /**
   * Ends the reply that is being made now, if there is one, as if the model had ended it. One that was cancelled or is complete is none,
   * although the device may still be at work on it while the next one waits.
   */
  interrupt(): void {
    const first = [...this.#asked].find(({ signal }) => !signal.aborted);
    first?.interruption.abort();
  }

  /** `work` with nothing else under way; waits for the requests before it. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    const release = await this.#queue.enter(new AbortController().signal);
    try {
      return await work();
    } finally {
      release();
    }
  }

  /** What one token takes, each part alone; waits for the requests before it. */
  measure(): Promise<TokenCosts> {
    return this.alone(() => this.session.measure());
  }

  async tokenize(text: string): Promise<number[]> {
    this.#requireText();
    return this.#text.encode(text, { allowSpecialTokens: true });
  }

  destroy(): void {
    this.session.destroy();
  }

  #requireText(): TextInfo {
    if (!this.textInfo)
      throw new EngineError(
        'not-found',
        `${this.#model.label} has no tokenizer.json, so text cannot be read or written with it.`,
      );
    return this.textInfo;
  }
}

/** Words that the model may write: an embedding may have rows that no token has. */
const vocabOf = ({ vocabSize }: ModelConfig, text: TextInfo): number => Math.min(vocabSize, text.vocabSize);

/**
 * What ends a reply: the ids that the configs name, and the tokenizer's end of turn and of text. Small models and some
 * conversions name only one of the two in their configs, and a chat would run on past the other.
 */
function stopIdsOf(configured: readonly number[], { eosTokenId, specialTokens }: TextInfo): Set<number> {
  const named = [eosTokenId, specialTokens['<|im_end|>'], specialTokens['<|endoftext|>']];
  return new Set([...configured, ...named.filter((id) => id !== undefined)]);
}

async function loadText(
  text: TextHost,
  { tokenizerJson, tokenizerConfig, chatTemplate }: OpenedCheckpoint,
  signal?: AbortSignal,
): Promise<TextInfo | undefined> {
  if (tokenizerJson === undefined) return undefined;
  return text.load(
    {
      tokenizerJson,
      ...(tokenizerConfig === undefined ? {} : { tokenizerConfig }),
      ...(chatTemplate === undefined ? {} : { chatTemplate }),
    },
    { signal },
  );
}

/**
 * Tokenizer and model at the same time. When one fails the other is cancelled, and has ended before the error is thrown: a
 * bad tokenizer must not cost the download of the weights.
 */
async function both(
  signal: AbortSignal | undefined,
  start: (signal: AbortSignal) => [Promise<TextInfo | undefined>, Promise<ModelSession>],
): Promise<[TextInfo | undefined, ModelSession]> {
  const stop = new AbortController();
  const [text, session] = start(signal ? AbortSignal.any([signal, stop.signal]) : stop.signal);
  try {
    return await Promise.all([text, session]);
  } catch (error) {
    stop.abort();
    await text.catch(() => {});
    await session.then(
      (loaded) => loaded.destroy(),
      () => {},
    );
    throw error;
  }
}

/**
 * A CPU adapter takes seconds per chunk, so its chunks are small: progress and cancel come between them. On a GPU 512 tokens make enough
 * tiles of a matrix of 4096 rows for the largest.
 */
export function sessionOptions(
  config: EngineConfig,
  { config: model }: Pick<OpenedCheckpoint, 'config'>,
  gpu: Gpu,
): SessionOptions {
  return {
    contextTokens: config.contextTokens ?? Math.min(defaultContextTokens, model.maxPositionEmbeddings),
    chunkTokens: config.chunkTokens ?? (gpu.adapter.isCpu ? 32 : 512),
    kv: config.kv ?? 'f16',
    f16: config.f16 ?? false,
    precision: config.precision ?? (multipliesInt8(gpu) ? 'fast' : 'exact'),
    ...(config.gpuBudget === undefined ? {} : { gpuBudgetBytes: parseBytes('gpuBudget', config.gpuBudget) }),
    answerWhileLoading: config.answerWhileLoading ?? false,
  };
}

/** Of a download that fails nothing is said here, but by the download itself and the next request. */
async function readyWhenThere(progress: ProgressMeter, model: ModelSource, { loaded, gpu }: ModelSession): Promise<void> {
  try {
    const settled = loaded.catch(() => {}); // a request reads again what failed
    await Promise.all([model.kept(), Promise.race([settled, gpu.device.lost])]);
    progress.ready();
  } catch {}
}

/** The plan alone: nothing is allocated for long, loaded or stored. @throws EngineError 'budget', … */
export async function planOf(gpu: Gpu, model: ModelSource, config: EngineConfig, signal?: AbortSignal): Promise<PlanReport> {
  const options = await withSpeeds({ gpu, model }, sessionOptions(config, model.checkpoint, gpu), signal, true);
  const { config: modelConfig, tensors } = model.checkpoint;
  const plan = sessionPlan(gpu, { config: modelConfig, tensors, ...(model.stored ? { stored: model.stored } : {}) }, options);
  return planReport(model, plan);
}

/** Speeds choose which units stay resident and predict what comes out; where all is resident they are not worth a moment's wait. */
export async function withSpeeds(
  { gpu, model }: Pick<EngineParts, 'gpu' | 'model'>,
  options: SessionOptions,
  signal: AbortSignal | undefined,
  always = false,
): Promise<SessionOptions> {
  const { config, tensors } = model.checkpoint;
  const plan = sessionPlan(gpu, { config, tensors, ...(model.stored ? { stored: model.stored } : {}) }, options);
  if (!always && plan.streamedBytesPerToken === 0 && plan.experts?.complete !== false) return options;
  const { measureSpeeds } = await import('./speeds'); // a model that fits never asks for it
  const speeds = await measureSpeeds(gpu, model, { plan, precision: options.precision ?? 'exact' }, signal);
  return speeds ? { ...options, speeds } : options;
}

/** For tokens that are decoded to see how long they take: some from a fast disk, a part of one from a slow disk. */
const mostTokenMs = 1000;

/**
 * The plan with what this device was seen to do. Computing one token is measured, which also warms every pipeline up; then tokens are
 * decoded, because reads, copies and compute get in each other's way as in a reply, and no rate measured apart says by how much. Not of
 * a mixture whose experts are not all there: which of them a token waits for depends on the text. Nor while weights are still to come.
 */
export async function loadedPlan(
  model: ModelSource,
  session: ModelSession,
  speeds: Speeds | undefined,
  signal?: AbortSignal,
): Promise<PlanReport> {
  const { plan, options } = session;
  if (!speeds || session.gpu.adapter.isCpu) return planReport(model, plan);
  const computeMs = await session.measureCompute();
  const dense = plan.model.units.reduce((sum, { bytes, kind }) => sum + (kind === 'embed' ? 0 : bytes), 0);
  const passed = dense + (plan.experts ? plan.experts.perToken * plan.experts.slotBytes : 0);
  const seen = { ...speeds, computeBytesPerMs: passed / computeMs };
  const units = timelineUnits(plan.model.units, plan.streamed, seen);
  const dry = simulatePass(units, { slots: plan.ring.slots }, seen);
  const pass = (plan.experts && withExperts(dry, plan.experts, seen)) ?? dry;
  if (plan.experts?.complete === false || options.answerWhileLoading) return planReport(model, plan, pass);
  const msPerToken = await session.measureToken(mostTokenMs, signal);
  return planReport(model, plan, msPerToken === undefined ? pass : passAsSeen(pass, msPerToken));
}

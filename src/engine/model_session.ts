/** A checkpoint ready to run under its plan: weights resident or streaming, activations, one sequence, compiled pipelines. */
import { EngineError, isAbort, throwIfAborted, unlessAborted } from '../errors';
import type { CheckpointTensors, ModelConfig } from '../format/types';
import type { Gpu } from '../gpu/device';
import { submittedWorkDone } from '../gpu/readback';
import { usableSubgroups } from '../kernels/probe';
import { type KvDtype, unitsFor } from '../kernels/variants';
import { type Recordings, recordModel } from '../model/qwen35';
import { createScratch, type Scratch } from '../model/scratch';
import { Sequence } from '../model/sequence';
import { WeightTable } from '../model/weight_table';
import type { StoreIndex } from '../plan/blocks';
import { type MemoryPlan, planMemory } from '../plan/memory_plan';
import { stateSlots } from '../plan/shapes';
import type { Speeds } from '../plan/timeline';
import { READ_PIECE_BYTES } from '../storage/store/file_pool';
import { EmbeddingRows } from '../stream/embedding_rows';
import type { ExpertCache } from '../stream/expert_cache';
import type { Sources } from '../stream/fill';
import { chooseUpload, createMappedUpload, createWriteUpload, type UploadPath } from '../stream/upload';
import { WeightStream } from '../stream/weight_stream';
import { createPairWeaver } from './pair_weaver';
import { Runner } from './runner';
import { TokenLoops } from './token_loop';
import { type ChoiceStore, Tuner } from './tune';

export type SessionOptions = {
  contextTokens: number;
  chunkTokens: number;
  kv: KvDtype;
  f16: boolean;
  /** 'fast': decode multiplies 4-bit weights by integers of 16 bits, as two int8 dot products each, where WGSL has them. Default 'exact'. */
  precision?: 'exact' | 'fast';
  /** Most GPU bytes that may ever be held; none: everything is resident. */
  gpuBudgetBytes?: number;
  /** Resolve when pipelines are ready: units are then computed as their weights arrive. */
  answerWhileLoading?: boolean;
  /** Largest slab, and size of a slot; the defaults follow device and model, tests make them small to split matrices. */
  slabBytes?: number;
  slotBytes?: number;
  /** Interleave scales and biases on the GPU or the CPU; the default chooses by device and checkpoint, tests force one. */
  weave?: boolean;
  speeds?: Speeds;
  /** Decode without the CPU where nothing streams. Default: on all but CPU adapters, which would sample no faster so. */
  gpuLoop?: boolean;
  /** Of a mixture whose experts are not all there: see `RunnerParts`. Changes no result; tests force it. */
  speculation?: 'auto' | 'on' | 'off';
};

export type SessionCheckpoint = {
  config: ModelConfig;
  tensors: CheckpointTensors;
  /** What the fills of the plan name. */
  sources: Sources;
  /** Where the weights lie in the store, if they were repacked. */
  stored?: StoreIndex;
  /**
   * Makes the weights where they lie, in place of reading them; for a plan that keeps all of them in GPU memory, but for experts, which it
   * makes only where all of them stay there.
   */
  make?: WeightMaker;
};

/** Queues what fills every slab of the plan; nothing reads one before it resolves. */
export type WeightMaker = (plan: MemoryPlan, slabs: readonly GPUBuffer[]) => Promise<void>;

export type SessionProgress = { phase: 'weights'; loaded: number; total: number } | { phase: 'pipelines' };

/** `choices`: where it is kept which kernels decode fastest on this device; without it nothing is measured, and fixed rules choose. */
export type SessionLoading = {
  signal?: AbortSignal;
  onProgress?: (progress: SessionProgress) => void;
  choices?: ChoiceStore | undefined;
};

type Experts = { cache: ExpertCache; slabs: readonly GPUBuffer[]; upload: UploadPath };

type Parts = {
  plan: MemoryPlan;
  runner: Runner;
  recordings: Recordings;
  sequence: Sequence;
  weights: WeightStream;
  slabs: readonly GPUBuffer[];
  experts: Experts | undefined;
  scratch: Scratch;
  upload: UploadPath;
  /** Resolves when all resident weights are in place. */
  loaded: Promise<void>;
};

export class ModelSession {
  readonly gpu: Gpu;
  readonly config: ModelConfig;
  readonly options: SessionOptions;
  readonly plan: MemoryPlan;
  readonly sequence: Sequence;
  readonly runner: Runner;
  readonly weights: WeightStream;
  /** Resolves when all resident weights are in place; rejects with what a read threw. */
  readonly loaded: Promise<void>;
  readonly recordings: Recordings;
  /** Of a mixture. */
  readonly experts: ExpertCache | undefined;
  readonly scratch: Scratch;
  readonly #uploads: readonly UploadPath[];
  #loops: TokenLoops | undefined;

  private constructor(gpu: Gpu, config: ModelConfig, options: SessionOptions, parts: Parts) {
    this.gpu = gpu;
    this.config = config;
    this.options = options;
    this.plan = parts.plan;
    this.sequence = parts.sequence;
    this.runner = parts.runner;
    this.weights = parts.weights;
    this.loaded = parts.loaded;
    this.recordings = parts.recordings;
    this.experts = parts.experts?.cache;
    this.#uploads = [parts.upload, ...(parts.experts ? [parts.experts.upload] : [])];
    this.scratch = parts.scratch;
  }

  /**
   * Decoding that draws on the GPU, made once; undefined where weights other than experts stream, where the head comes in slices, and where `gpuLoop` is off.
   * @throws EngineError 'budget'
   */
  tokenLoops(vocab: number): TokenLoops | undefined {
    const { plan, gpu, recordings, options } = this;
    if (!(options.gpuLoop ?? !gpu.direct)) return undefined;
    if (plan.experts?.complete && !this.experts!.complete) return undefined; // some are still on their way
    if (plan.streamedBytesPerToken > 0 || plan.gather || recordings.decode.head.length > 1) return undefined;
    if (this.#loops?.sampler.shape.vocab !== vocab) this.#loops = new TokenLoops(gpu, this.runner, this.scratch, vocab);
    return this.#loops;
  }

  get kernelLabels(): readonly string[] {
    return this.recordings.kernelLabels;
  }

  get parameterBytes(): number {
    return this.plan.weightBytes;
  }

  /**
   * Plans, allocates and records everything first, so that what cannot work fails before a byte of weights is fetched; then loads
   * resident weights and compiles pipelines at the same time.
   * @throws EngineError 'budget', 'storage', 'shape', 'context-length'; AbortError. Nothing stays allocated then.
   */
  static async load(
    gpu: Gpu,
    checkpoint: SessionCheckpoint,
    options: SessionOptions,
    { signal, onProgress, choices }: SessionLoading = {},
  ): Promise<ModelSession> {
    const { config } = checkpoint;
    const plan = sessionPlan(gpu, checkpoint, options);
    const subgroups = await usableSubgroups(gpu);
    const own: Gpu = { ...gpu, subgroups, memory: gpu.memory.scope() };
    if (plan.gpuBudgetBytes !== undefined) own.memory.limit(plan.gpuBudgetBytes);
    const undo = [() => own.memory.release()];
    try {
      const parts = await prepare(own, checkpoint, options, plan, undo);
      const tuner = choices && tunerFor(own, parts, choices);
      await tuner?.recall();
      const total = plan.bytes.residentWeights + (plan.experts?.complete ? plan.experts.bytes : 0);
      let loaded = 0;
      const onBytes = (bytes: number) => {
        loaded += bytes;
        onProgress?.({ phase: 'weights', loaded: Math.min(loaded, total), total });
      };
      const resident = checkpoint.make ? make(checkpoint.make, plan, parts) : fetchResident(plan, parts, onBytes);
      resident.catch(() => {}); // a request reports it too, where nobody waits here
      // Nothing streams: staging has done its work with the last resident byte.
      if (plan.streamedBytesPerToken === 0)
        resident
          .then(() => parts.upload.idle())
          .then(
            () => parts.upload.destroy(),
            () => {},
          );
      await unlessAborted(
        Promise.all(options.answerWhileLoading ? [parts.recordings.ready] : [resident, parts.recordings.ready]),
        signal,
      );
      onProgress?.({ phase: 'pipelines' });
      if (plan.streamedBytesPerToken === 0 && !options.answerWhileLoading) await tuner?.measure();
      await submittedWorkDone(own); // a device lost meanwhile is an error here, not at the first request
      throwIfAborted(signal);
      return new ModelSession(own, config, options, { ...parts, loaded: resident });
    } catch (error) {
      for (const step of undo.reverse()) step();
      throw error;
    }
  }

  /** What reading, uploading and computing a pass of `tokens` tokens takes, each alone. Nothing else may run; the sequence is reset. */
  async measure(tokens = 1): Promise<{ readMs: number; uploadMs: number; throughMs: number; computeMs: number }> {
    const readMs = await this.weights.measureRead();
    const uploadMs = await this.weights.measureUpload();
    const throughMs = await this.weights.measureThrough();
    return { readMs, uploadMs, throughMs, computeMs: await this.measureCompute(tokens) };
  }

  /** Milliseconds to compute a step of `tokens` tokens; the sequence is reset. */
  async measureCompute(tokens = 1): Promise<number> {
    await this.runner.measureCompute(this.sequence, tokens); // the first one warms up
    const ms = await this.runner.measureCompute(this.sequence, tokens);
    this.sequence.reset();
    return ms;
  }

  /**
   * Milliseconds of a token while its weights stream, as replies find it: from the end of one token to that of a later one where `mostMs`
   * has room for two, else what its bytes take at the pace at which they came. undefined where none came. Nothing else may run; the
   * sequence is reset. Pipelines are warm: `measureCompute` has run.
   * @throws what a read throws; AbortError.
   */
  async measureToken(mostMs: number, signal?: AbortSignal): Promise<number | undefined> {
    const { sequence, runner, weights } = this;
    const over = new AbortController();
    const now = () => ({ ms: performance.now(), bytes: weights.streamedSoFar });
    const start = now();
    let settled = start;
    const timers = [setTimeout(() => over.abort(), mostMs), setTimeout(() => (settled = now()), mostMs / 4)];
    const stop = signal ? AbortSignal.any([signal, over.signal]) : over.signal;
    const ends: ReturnType<typeof now>[] = [];
    try {
      // A token that begins in the second half might not end; a short context may be full before.
      while (performance.now() - start.ms < mostMs / 2 && sequence.length < sequence.shape.contextTokens) {
        await runner.step([{ sequence, tokens: new Uint32Array(1), logits: 'last' }], stop);
        ends.push(now());
      }
    } catch (error) {
      if (!isAbort(error) || signal?.aborted) throw error;
    } finally {
      for (const timer of timers) clearTimeout(timer);
      sequence.reset();
    }
    if (ends.length > 1) return (ends.at(-1)!.ms - ends[0]!.ms) / (ends.length - 1);
    // What ring and staging held at the beginning saved the first token time, so bytes say more; of a part the later ones.
    const last = ends[0] ?? now();
    const from = ends.length === 0 && last.bytes > settled.bytes ? settled : start;
    return last.bytes > from.bytes ? (weights.streamedBytes * (last.ms - from.ms)) / (last.bytes - from.bytes) : undefined;
  }

  destroy(): void {
    this.weights.destroy();
    this.experts?.destroy();
    for (const upload of this.#uploads) upload.destroy();
    this.gpu.memory.release();
  }
}

/**
 * As many as keep a fast disk busy, each no more than a stored file reads at once: a read that gives way in the middle lets others begin,
 * and all staging is filled by turns, out of the processor's cache. Larger pieces, whose copies between Chromium's processes cost less
 * each, took 5 % off an H200's token and made an H100's reads a fifth slower. There a browser's token took 770 ms through 8 buffers, 694
 * through 4 and 867 through 3. A CPU adapter has nothing to gain from more.
 */
function stagingFor(gpu: Gpu): { buffers: number; mostBuffers: number; pieceBytes: number } {
  const inBrowser = 'WorkerGlobalScope' in globalThis || 'document' in globalThis;
  const buffers = gpu.adapter.isCpu || inBrowser ? 4 : 8;
  return { buffers, mostBuffers: buffers, pieceBytes: READ_PIECE_BYTES };
}

/** @throws EngineError 'budget', 'invalid-request', 'context-length'. */
export function sessionPlan(
  gpu: Gpu,
  { config, tensors, stored }: Pick<SessionCheckpoint, 'config' | 'tensors' | 'stored'>,
  options: SessionOptions,
): MemoryPlan {
  checkOptions(options, config);
  const { contextTokens, chunkTokens, kv, gpuBudgetBytes, slabBytes, slotBytes, speeds, answerWhileLoading } = options;
  return planMemory({
    config,
    tensors,
    limits: gpu.device.limits,
    contextTokens,
    chunkTokens,
    kv,
    staging: stagingFor(gpu),
    weave: options.weave ?? weaves(gpu, tensors, stored),
    ...(gpuBudgetBytes === undefined ? {} : { gpuBudgetBytes }),
    ...(stored ? { stored } : {}),
    ...(slabBytes === undefined ? {} : { slabBytes }),
    ...(slotBytes === undefined ? {} : { slotBytes }),
    ...(speeds ? { speeds } : {}),
    ...(answerWhileLoading ? { asTheyArrive: true } : {}),
  });
}

/**
 * Scales and biases lie apart in checkpoints, not in the store. A CPU adapter would interleave them on the same cores; and where the
 * MLPs, most of a model, have none there is not enough to be worth a buffer.
 */
function weaves(gpu: Gpu, { layers }: CheckpointTensors, stored: StoreIndex | undefined): boolean {
  const affine = layers.some(({ mlp }) => Object.values(mlp).some(({ kind }) => kind === 'affine'));
  return !gpu.direct && !stored && affine;
}

async function make(maker: WeightMaker, plan: MemoryPlan, { slabs, experts }: Omit<Parts, 'loaded'>): Promise<void> {
  await maker(plan, [...slabs, ...(experts?.slabs ?? [])]);
  if (plan.experts?.complete) experts?.cache.filled();
}

/** Weights that stay, and the experts where all of them do. */
async function fetchResident(
  plan: MemoryPlan,
  { weights, experts }: Omit<Parts, 'loaded'>,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const all = plan.experts?.complete ? experts?.cache.load(onBytes) : undefined;
  all?.catch(() => {}); // reported below
  await weights.start(onBytes);
  await all;
}

/** f16 tiles are chosen by hand. */
function tunerFor(gpu: Gpu, parts: Omit<Parts, 'loaded'>, choices: ChoiceStore): Tuner {
  const { scratch, runner, recordings } = parts;
  const read = runner.readBuffer.bind(runner);
  return new Tuner({ gpu, products: recordings.products, scratch, read }, choices);
}

/** Buffers, sequence, weight table and dispatches; pipelines compile from here on. `undo` grows with what must be taken back. */
async function prepare(
  gpu: Gpu,
  checkpoint: SessionCheckpoint,
  { kv, f16, precision, contextTokens, speculation }: SessionOptions,
  plan: MemoryPlan,
  undo: (() => void)[],
): Promise<Omit<Parts, 'loaded'>> {
  const { config, tensors, sources, stored } = checkpoint;
  const mixture = plan.experts && (await import('./mixture_run'));
  const upload = await openUpload(gpu, plan);
  undo.push(() => upload.destroy());
  const sequence = await Sequence.create(gpu, config, { contextTokens, kv, slots: stateSlots(config, plan.snapshotSlots) });
  const { STORAGE, COPY_DST } = GPUBufferUsage;
  const make = (label: string, bytes: number) =>
    gpu.memory.guarded(label, () => gpu.memory.create(label, bytes, STORAGE | COPY_DST));
  const slabs: GPUBuffer[] = [];
  for (const [i, { bytes }] of plan.placement.slabs.entries()) slabs.push(await make(`slab ${i}`, bytes));
  const slots: GPUBuffer[] = [];
  for (let i = 0; i < plan.ring.slots; i++) slots.push(await make(`ring slot ${i}`, plan.ring.slotBytes));
  const expertSlabs: GPUBuffer[] = [];
  for (const [i, { bytes }] of (plan.experts?.slabs ?? []).entries()) expertSlabs.push(await make(`experts ${i}`, bytes));
  const expertUpload = plan.experts && createUpload(gpu, upload.kind, plan.experts.staging);
  if (expertUpload) undo.push(() => expertUpload.destroy());
  const gatherBlock = plan.gather?.parts[0]?.block;
  const gathered = gatherBlock && { block: gatherBlock, buffer: await make('embedding rows', gatherBlock.bytes) };
  return gpu.memory.guarded('activations', () => {
    const scratch = createScratch(gpu, config, plan.scratch);
    const table = new WeightTable(
      gpu,
      plan.placement,
      { slabs, slots, experts: expertSlabs, ...(gathered ? { gathered } : {}) },
      plan.records,
    );
    const recordings = recordModel(
      {
        ...{ gpu, config, table, scratch, kv, f16, activations: unitsFor(gpu, precision ?? 'exact') },
        ...(plan.experts && mixture
          ? { mixture: { experts: plan.experts, kernels: mixture.kernels, DecodeRecorder: mixture.MixtureDecodeRecorder } }
          : {}),
      },
      plan.model,
      sequence,
      plan.gather,
    );
    table.upload();
    const { slotGroups, imageRefs } = table;
    const weaver = plan.staging.weave ? createPairWeaver(gpu, plan.staging.pieceBytes, [...slabs, ...slots]) : undefined;
    const toRead = checkpoint.make ? { ...plan, placement: { ...plan.placement, slabs: [] } } : plan;
    const weights = new WeightStream(toRead, { slabs, slots, slotGroups, imageRefs }, upload, sources, weaver);
    undo.push(() => weights.destroy());
    const rows = gathered
      ? new EmbeddingRows(gpu, gathered.buffer, plan.gather!, { source: tensors.embedTokens, stored, sources })
      : undefined;
    if (rows)
      gpu.device.queue.writeBuffer(
        scratch.ids,
        0,
        Uint32Array.from({ length: plan.scratch.chunkTokens }, (_, i) => i),
      );
    const cache =
      plan.experts &&
      new mixture!.ExpertCache(gpu, {
        ...{ pool: plan.experts, slabs: expertSlabs, table: scratch.expertSlots, upload: expertUpload!, sources },
        ...{ layers: plan.model.layers.map(({ moe }) => moe!.experts), lanes: plan.experts.staging.buffers },
      });
    if (cache) undo.push(() => cache.destroy());
    const recorded = new Map([[sequence, recordings]]);
    const parts = { plan, scratch, recordings: recorded, weights, rows, experts: cache, mixture, speculation };
    const runner = new Runner(gpu, config, parts);
    const experts = cache && { cache, slabs: expertSlabs, upload: expertUpload! };
    return { plan, runner, recordings, sequence, weights, slabs, experts, scratch, upload };
  });
}

const createUpload = (gpu: Gpu, kind: UploadPath['kind'], staging: { buffers: number; pieceBytes: number }): UploadPath =>
  (kind === 'mapped' ? createMappedUpload : createWriteUpload)(gpu, staging);

/** The faster way up, measured with memory that the plan will use for something else later. */
function openUpload(gpu: Gpu, plan: MemoryPlan): Promise<UploadPath> {
  const { pieceBytes, buffers } = plan.staging;
  const spare = plan.bytes.total - plan.bytes.staging;
  const scratchBytes = Math.min(16 * 1024 * 1024, Math.floor(spare / 4 / 256) * 256);
  return chooseUpload(gpu, { pieceBytes, buffers, scratchBytes }).then(({ path }) => path);
}

function checkOptions({ contextTokens, chunkTokens }: SessionOptions, config: ModelConfig): void {
  if (!Number.isInteger(chunkTokens) || chunkTokens < 1 || chunkTokens > 512) {
    throw new EngineError('invalid-request', `chunkTokens is ${chunkTokens}; it must be a whole number from 1 to 512.`);
  }
  if (!Number.isInteger(contextTokens) || contextTokens < 1) {
    throw new EngineError('invalid-request', `contextTokens is ${contextTokens}; it must be a positive whole number.`);
  }
  if (contextTokens > config.maxPositionEmbeddings) {
    throw new EngineError(
      'context-length',
      `contextTokens is ${contextTokens}; this model was made for ${config.maxPositionEmbeddings} at most.`,
    );
  }
}

/** 'gemv_q4 q4g64 subgroups' -> gemv_q4: 'q4g64 subgroups'. */
export function variantsOf(labels: readonly string[]): Record<string, string> {
  const variants: Record<string, string[]> = {};
  for (const label of labels) {
    const [stem = '', ...rest] = label.split(' ');
    variants[stem] = [...(variants[stem] ?? []), rest.join(' ') || 'portable'];
  }
  return Object.fromEntries(Object.entries(variants).map(([stem, list]) => [stem, list.join(', ')]));
}

/** A checkpoint in GPU memory, ready to run: weights, activations, one sequence, compiled pipelines. */
import { EngineError, throwIfAborted } from '../errors';
import type { CheckpointTensors, ModelConfig } from '../format/types';
import type { Gpu } from '../gpu/device';
import type { KvDtype } from '../kernels/variants';
import { type Recordings, recordModel } from '../model/qwen35';
import { createScratch, type Scratch } from '../model/scratch';
import { Sequence } from '../model/sequence';
import { WeightTable } from '../model/weight_table';
import { placeResident, slabBytesFor } from '../plan/placement';
import { blocksOf, type ModelUnits, modelUnits } from '../plan/units';
import type { Sources } from '../stream/fill';
import { loadResident, type ResidentWeights } from '../stream/load_resident';
import { Runner } from './runner';

/** `slabBytes`: largest slab of weights; the default follows the device, tests make it small to split matrices. */
export type SessionOptions = { contextTokens: number; chunkTokens: number; kv: KvDtype; f16: boolean; slabBytes?: number };

export type SessionProgress = { phase: 'weights'; loaded: number; total: number } | { phase: 'pipelines' };

export class ModelSession {
  readonly gpu: Gpu;
  readonly config: ModelConfig;
  readonly options: SessionOptions;
  readonly parameterBytes: number;
  readonly sequence: Sequence;
  readonly runner: Runner;
  readonly kernelLabels: readonly string[];
  readonly #owned: { destroy(): void }[];

  private constructor(
    gpu: Gpu,
    config: ModelConfig,
    options: SessionOptions,
    parts: { parameterBytes: number; sequence: Sequence; runner: Runner; recordings: Recordings; owned: { destroy(): void }[] },
  ) {
    this.gpu = gpu;
    this.config = config;
    this.options = options;
    this.parameterBytes = parts.parameterBytes;
    this.sequence = parts.sequence;
    this.runner = parts.runner;
    this.kernelLabels = parts.recordings.kernelLabels;
    this.#owned = parts.owned;
  }

  /**
   * Loads weights and compiles pipelines at the same time.
   * @throws EngineError 'budget', 'storage', 'shape', 'context-length'; AbortError. Nothing stays allocated then.
   */
  static async load(
    gpu: Gpu,
    checkpoint: { config: ModelConfig; tensors: CheckpointTensors; sources: Sources },
    options: SessionOptions,
    { signal, onProgress }: { signal?: AbortSignal; onProgress?: (progress: SessionProgress) => void } = {},
  ): Promise<ModelSession> {
    const { config, tensors, sources } = checkpoint;
    checkOptions(options, config);
    const slabBytes = options.slabBytes ?? slabBytesFor(gpu.device.limits);
    const units = modelUnits(tensors, slabBytes);
    const placement = placeResident(blocksOf(units), slabBytes);
    const total = placement.slabs.reduce((sum, slab) => sum + slab.bytes, 0);
    const owned: { destroy(): void }[] = [];
    try {
      const sequence = await Sequence.create(gpu, config, { contextTokens: options.contextTokens, kv: options.kv, slots: 1 });
      owned.push(sequence);
      const scratch = await gpu.memory.guarded('activations', () => createScratch(gpu, config, options));
      owned.push(scratch);
      let loaded = 0;
      const onBytes = (bytes: number) => {
        loaded += bytes;
        onProgress?.({ phase: 'weights', loaded, total });
      };
      const weights = await loadResident(gpu, placement, sources, { signal, onBytes });
      owned.push(weights);
      onProgress?.({ phase: 'pipelines' });
      const { table, recordings, runner } = build(gpu, config, options, units, placement, weights, scratch, sequence);
      owned.push(table, runner);
      await recordings.ready;
      throwIfAborted(signal);
      return new ModelSession(gpu, config, options, { parameterBytes: total, sequence, runner, recordings, owned });
    } catch (error) {
      for (const part of owned.reverse()) part.destroy();
      throw error;
    }
  }

  destroy(): void {
    for (const part of this.#owned.splice(0).reverse()) part.destroy();
  }
}

function build(
  gpu: Gpu,
  config: ModelConfig,
  options: SessionOptions,
  units: ModelUnits,
  placement: ReturnType<typeof placeResident>,
  weights: ResidentWeights,
  scratch: Scratch,
  sequence: Sequence,
) {
  const table = new WeightTable(gpu, placement, weights.slabs, placement.places.size + 5 * config.numHiddenLayers + 2);
  const recordings = recordModel({ gpu, config, table, scratch, kv: options.kv, f16: options.f16 }, units, sequence);
  table.upload();
  const runner = new Runner(gpu, config, scratch, new Map([[sequence, recordings]]), options.chunkTokens);
  return { table, recordings, runner };
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

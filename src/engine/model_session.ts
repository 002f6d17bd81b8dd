/** A checkpoint in GPU memory, ready to run: weights, activations, one sequence, compiled pipelines. */
import { EngineError, throwIfAborted } from '../errors';
import type { CheckpointTensors, ModelConfig } from '../format/types';
import type { Gpu } from '../gpu/device';
import { submittedWorkDone } from '../gpu/readback';
import { subgroupsWork } from '../kernels/probe';
import type { KvDtype } from '../kernels/variants';
import { type Recordings, recordModel } from '../model/qwen35';
import { createScratch } from '../model/scratch';
import { Sequence } from '../model/sequence';
import { WeightTable } from '../model/weight_table';
import { type Placement, placeResident, slabBytesFor } from '../plan/placement';
import { blocksOf, type ModelUnits, modelUnits } from '../plan/units';
import type { Sources } from '../stream/fill';
import { createSlabs, fillSlabs } from '../stream/load_resident';
import { Runner } from './runner';

/** `slabBytes`: largest slab of weights; the default follows the device, tests make it small to split matrices. */
export type SessionOptions = { contextTokens: number; chunkTokens: number; kv: KvDtype; f16: boolean; slabBytes?: number };

export type SessionProgress = { phase: 'weights'; loaded: number; total: number } | { phase: 'pipelines' };

type Parts = { runner: Runner; recordings: Recordings; sequence: Sequence };

export class ModelSession {
  readonly gpu: Gpu;
  readonly config: ModelConfig;
  readonly options: SessionOptions;
  readonly parameterBytes: number;
  readonly sequence: Sequence;
  readonly runner: Runner;
  readonly kernelLabels: readonly string[];

  private constructor(gpu: Gpu, config: ModelConfig, options: SessionOptions, parameterBytes: number, parts: Parts) {
    this.gpu = gpu;
    this.config = config;
    this.options = options;
    this.parameterBytes = parameterBytes;
    this.sequence = parts.sequence;
    this.runner = parts.runner;
    this.kernelLabels = parts.recordings.kernelLabels;
  }

  /**
   * Allocates and records everything first, so that what cannot work fails before a byte is fetched; then loads weights and
   * compiles pipelines at the same time.
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
    const subgroups = gpu.subgroups && (gpu.direct || (await subgroupsWork(gpu)));
    const own: Gpu = { ...gpu, subgroups, memory: gpu.memory.scope() };
    try {
      const slabs = await createSlabs(own, placement);
      const parts = await record(own, config, options, units, placement, slabs);
      let loaded = 0;
      const onBytes = (bytes: number) => {
        loaded += bytes;
        onProgress?.({ phase: 'weights', loaded, total });
        if (loaded === total) onProgress?.({ phase: 'pipelines' });
      };
      await together(signal, (joined) => [
        fillSlabs(own, placement, slabs, sources, { signal: joined, onBytes }),
        parts.recordings.ready,
      ]);
      await submittedWorkDone(own); // a device lost meanwhile is an error here, not at the first request
      throwIfAborted(signal);
      return new ModelSession(own, config, options, total, parts);
    } catch (error) {
      own.memory.release();
      throw error;
    }
  }

  destroy(): void {
    this.gpu.memory.release();
  }
}

/** Sequence, activations, weight table and dispatches; pipelines compile from here on. */
async function record(
  gpu: Gpu,
  config: ModelConfig,
  options: SessionOptions,
  units: ModelUnits,
  placement: Placement,
  slabs: readonly GPUBuffer[],
): Promise<Parts> {
  const { contextTokens, chunkTokens, kv, f16 } = options;
  const sequence = await Sequence.create(gpu, config, { contextTokens, kv, slots: 1 });
  return gpu.memory.guarded('activations', () => {
    const scratch = createScratch(gpu, config, options);
    const table = new WeightTable(gpu, placement, slabs, placement.places.size + 5 * config.numHiddenLayers + 2);
    const recordings = recordModel({ gpu, config, table, scratch, kv, f16 }, units, sequence);
    table.upload();
    const runner = new Runner(gpu, config, scratch, new Map([[sequence, recordings]]), chunkTokens);
    return { runner, recordings, sequence };
  });
}

/** Resolves when all have; when one fails, the others' signal aborts, and all have ended before the error is thrown. */
async function together(signal: AbortSignal | undefined, start: (signal: AbortSignal) => Promise<unknown>[]): Promise<void> {
  const stop = new AbortController();
  const jobs = start(signal ? AbortSignal.any([signal, stop.signal]) : stop.signal);
  try {
    await Promise.all(jobs);
  } catch (error) {
    stop.abort();
    await Promise.allSettled(jobs);
    throw error;
  }
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

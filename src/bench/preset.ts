/** A model that exists as shapes only, ready to run: random weights on the device. */
import { sessionOptions } from '../engine/engine_core';
import { ModelSession, sessionPlan } from '../engine/model_session';
import type { ChoiceStore } from '../engine/tune';
import { EngineError } from '../errors';
import type { Gpu } from '../gpu/device';
import type { EngineConfig } from '../protocol/engine';
import type { SyntheticDescription } from '../synth/layout';
import { regularLayerTypes, type SyntheticShapes } from '../synth/presets';
import { weightsOnDevice } from './device_weights';
import { type ExpertFile, storedExperts } from './expert_file';

/**
 * `experts`: where those are read that a budget does not hold.
 * @throws EngineError 'invalid-request' where other weights would stream; as ModelSession.load.
 */
export async function openPreset(
  gpu: Gpu,
  described: SyntheticDescription,
  config: EngineConfig,
  { choices, experts: file }: { choices?: ChoiceStore | undefined; experts?: ExpertFile | undefined } = {},
): Promise<ModelSession> {
  const options = sessionOptions(config, described, gpu);
  const { gather, experts } = sessionPlan(gpu, described, options);
  if (gather || (experts?.complete === false && !file)) {
    throw new EngineError(
      'invalid-request',
      `Under this budget weights would stream, and those of a preset are made in GPU memory and lie nowhere else. ` +
        'Write the model with `synth` and name it with --model, name a file for experts with --experts-file, or raise --gpu-budget.',
    );
  }
  const making: Gpu = { ...gpu, memory: gpu.memory.scope() };
  try {
    const read = file && !experts?.complete ? storedExperts(described, file) : { sources: new Map() };
    const checkpoint = { ...described, ...read, make: weightsOnDevice(making, described) };
    return await ModelSession.load(gpu, checkpoint, options, { choices });
  } finally {
    making.memory.release();
  }
}

/** For a CPU adapter: four layers of the same kinds. Qwen3-Next keeps two value heads' rows together, whose scales must fill 16 bytes. */
export function smallShapes({
  linearNumKeyHeads,
  linearNumValueHeads,
  tieWordEmbeddings,
  moe,
  next,
}: SyntheticShapes): SyntheticShapes {
  return {
    hiddenSize: next ? 256 : 64,
    intermediateSize: 128,
    vocabSize: 512,
    numAttentionHeads: 4,
    numKeyValueHeads: 2,
    headDim: 32,
    layerTypes: regularLayerTypes(4),
    linearNumKeyHeads: 2,
    linearNumValueHeads: (2 * linearNumValueHeads) / linearNumKeyHeads,
    linearKeyHeadDim: 32,
    linearValueHeadDim: 32,
    tieWordEmbeddings,
    ...(moe ? { moe: { ...moe, experts: 8, chosen: 2, intermediateSize: 64, sharedIntermediateSize: 128 } } : {}),
    ...(next ? { next } : {}),
  };
}

/** Activation buffers of one model, sized by the plan; f32 throughout. Owned here, reused by every layer and step. */
import type { ModelConfig } from '../format/types';
import type { Gpu } from '../gpu/device';
import { contextParts, logitRows, type ScratchShape, scratchBytes } from '../plan/shapes';
import { createRope } from './rope';

type Name = keyof ReturnType<typeof scratchBytes>;
/** `residual` [passTokens, hiddenSize] is undefined where a pass is one chunk. */
export type Scratch = Record<Exclude<Name, 'residual'>, GPUBuffer> & {
  headRows: number;
  contextParts: number;
  chunkTokens: number;
  residual: GPUBuffer | undefined;
};

export function createScratch(gpu: Gpu, config: ModelConfig, shape: ScratchShape): Scratch {
  const { STORAGE, UNIFORM, COPY_SRC, COPY_DST } = GPUBufferUsage;
  const { rope: _, residual, ...sizes } = scratchBytes(config, shape);
  const make = (name: string, bytes: number) => {
    const isStep = name === 'step' || name === 'headStep';
    return gpu.memory.create(name, bytes, isStep ? UNIFORM | STORAGE | COPY_DST : STORAGE | COPY_SRC | COPY_DST);
  };
  const buffers = Object.fromEntries(Object.entries(sizes).map(([name, bytes]) => [name, make(name, bytes)]));
  return {
    ...(buffers as Record<Exclude<Name, 'residual' | 'rope'>, GPUBuffer>),
    rope: createRope(gpu, config, shape.contextTokens),
    // Never bound, only copied from and to, so no limit on bindings applies.
    residual: residual > 0 ? gpu.memory.create('residual', residual, COPY_SRC | COPY_DST) : undefined,
    headRows: logitRows(shape),
    contextParts: contextParts(shape.contextTokens),
    chunkTokens: shape.chunkTokens,
  };
}

/** Activation buffers of one model, sized for a chunk; f32 throughout. Owned here, reused by every layer and step. */
import type { ModelConfig } from '../format/types';
import type { Gpu } from '../gpu/device';
import { deltaChannels, deltaChunk } from '../kernels/delta';
import { stepBytes } from '../kernels/step';
import { createRope } from './rope';
import { deltaShape } from './shapes';

export type Scratch = ReturnType<typeof createScratch>;

/** Rows of logits computed at a time: at most 16 MiB, since 512 rows of a 248,320-word vocabulary would be half a gigabyte. */
export function logitRows(vocabSize: number, chunkTokens: number): number {
  return Math.max(1, Math.min(chunkTokens, Math.floor((16 * 1024 * 1024) / (vocabSize * 4))));
}

export function createScratch(
  gpu: Gpu,
  config: ModelConfig,
  { chunkTokens, contextTokens }: { chunkTokens: number; contextTokens: number },
) {
  const { STORAGE, UNIFORM, COPY_SRC, COPY_DST } = GPUBufferUsage;
  const make = (label: string, bytes: number, usage: number) => gpu.memory.create(label, bytes, usage);
  const rows = (label: string, cols: number, tokens = chunkTokens) =>
    make(label, tokens * cols * 4, STORAGE | COPY_SRC | COPY_DST);
  const { hiddenSize, intermediateSize, numAttentionHeads: heads, numKeyValueHeads: kvHeads, headDim } = config;
  const delta = deltaShape(config);
  const chunks = Math.ceil(chunkTokens / deltaChunk);
  const headRows = logitRows(config.vocabSize, chunkTokens);
  return {
    headRows,
    ids: make('ids', chunkTokens * 4, STORAGE | COPY_DST),
    step: make('step', stepBytes, UNIFORM | STORAGE | COPY_DST),
    headStep: make('head step', stepBytes, UNIFORM | STORAGE | COPY_DST),
    rope: createRope(gpu, config, contextTokens),
    hidden: rows('hidden', hiddenSize),
    normed: rows('normed', hiddenSize),
    mixed: rows('mixed', Math.max(heads * headDim, delta.valueHeads * delta.valueDim)),
    qGate: rows('q and gate', heads * 2 * headDim),
    k: rows('k', kvHeads * headDim),
    v: rows('v', kvHeads * headDim),
    q: rows('q', heads * headDim),
    qkvIn: rows('conv input', deltaChannels(delta)),
    qkv: rows('conv output', deltaChannels(delta)),
    z: rows('z', delta.valueHeads * delta.valueDim),
    a: rows('a', delta.valueHeads),
    b: rows('b', delta.valueHeads),
    gates: rows('gates', 2 * delta.valueHeads),
    o: rows('delta output', delta.valueHeads * delta.valueDim),
    chunkU: rows('chunk U', delta.valueHeads * delta.valueDim, chunks * deltaChunk),
    chunkW: rows('chunk W', delta.valueHeads * delta.keyDim, chunks * deltaChunk),
    chunkP: rows('chunk P', delta.valueHeads * deltaChunk * deltaChunk, chunks),
    gate: rows('mlp gate', intermediateSize),
    up: rows('mlp up', intermediateSize),
    act: rows('mlp act', intermediateSize),
    headInput: rows('head input', hiddenSize, headRows),
    logits: rows('logits', config.vocabSize, headRows),
  };
}

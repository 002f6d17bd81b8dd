/** Sizes that follow from a config alone. */
import type { ModelConfig } from '../format/types';

/** The heads of a GatedDeltaNet layer. */
export function deltaShape(config: ModelConfig): { keyHeads: number; valueHeads: number; keyDim: number; valueDim: number } {
  return {
    keyHeads: config.linearNumKeyHeads,
    valueHeads: config.linearNumValueHeads,
    keyDim: config.linearKeyHeadDim,
    valueDim: config.linearValueHeadDim,
  };
}

/** Bytes that a GPU buffer really takes: kernels address vec4. */
export const bufferBytes = (bytes: number): number => Math.max(16, Math.ceil(bytes / 16) * 16);

/** Bytes per token of one layer's keys (or values), and bytes per slot of recurrent and conv state. */
export function stateBytes(
  config: ModelConfig,
  kv: 'f16' | 'f32',
): { kvPerToken: number; recurrentPerSlot: number; convPerSlot: number } {
  const { keyHeads, valueHeads, keyDim, valueDim } = deltaShape(config);
  return {
    kvPerToken: config.numKeyValueHeads * config.headDim * (kv === 'f16' ? 2 : 4),
    recurrentPerSlot: valueHeads * keyDim * valueDim * 4,
    convPerSlot: 3 * (2 * keyHeads * keyDim + valueHeads * valueDim) * 4,
  };
}

/** GPU bytes of everything that one sequence remembers. */
export function sequenceBytes(
  config: ModelConfig,
  { contextTokens, kv, slots }: { contextTokens: number; kv: 'f16' | 'f32'; slots: number },
): { kvCache: number; recurrentState: number } {
  const { kvPerToken, recurrentPerSlot, convPerSlot } = stateBytes(config, kv);
  const attention = config.layerTypes.filter((kind) => kind === 'full_attention').length;
  const delta = config.layerTypes.length - attention;
  return {
    kvCache: attention * 2 * bufferBytes(kvPerToken * contextTokens),
    recurrentState: delta * (bufferBytes(recurrentPerSlot * slots) + bufferBytes(convPerSlot * slots)),
  };
}

/** GPU bytes that one more slot of recurrent and conv state takes at most. */
export function slotBytes(config: ModelConfig, kv: 'f16' | 'f32'): number {
  const { recurrentPerSlot, convPerSlot } = stateBytes(config, kv);
  const delta = config.layerTypes.filter((kind) => kind === 'linear_attention').length;
  return delta * (bufferBytes(recurrentPerSlot) + bufferBytes(convPerSlot));
}

export type ScratchShape = {
  chunkTokens: number;
  contextTokens: number;
  /** Tokens whose residual rows are kept while a unit runs over all of them; chunkTokens where a pass is one chunk. */
  passTokens: number;
  /** Words of the largest head slice. */
  sliceWords: number;
};

/** Keys that decode attention scores at a time, the least that is worth a part; the kernels' own constant. */
const attentionBlock = 64;
/** Enough workgroups for the largest GPUs, few enough that putting their sums together costs little. */
const mostContextParts = 128;

/** Parts that decode attention cuts the context into at most. */
export function contextParts(contextTokens: number): number {
  return Math.min(mostContextParts, Math.ceil(contextTokens / attentionBlock));
}

/** Tokens of one chunk of the chunked delta rule; the kernels' own constant. */
const deltaChunk = 64;
const logitBytes = 16 * 1024 * 1024;

/** Rows of logits computed at a time: at most 16 MiB, since 512 rows of a 248,320-word vocabulary would be half a gigabyte. */
export function logitRows({ sliceWords, chunkTokens }: Pick<ScratchShape, 'sliceWords' | 'chunkTokens'>): number {
  return Math.max(1, Math.min(chunkTokens, Math.floor(logitBytes / (sliceWords * 4))));
}

/** Bytes of every activation buffer by name, f32 throughout; `residual` is 0 where a pass is one chunk. */
export function scratchBytes(config: ModelConfig, shape: ScratchShape) {
  const { chunkTokens, contextTokens, passTokens, sliceWords } = shape;
  const { hiddenSize, intermediateSize, numAttentionHeads: heads, numKeyValueHeads: kvHeads, headDim } = config;
  const { keyHeads, valueHeads, keyDim, valueDim } = deltaShape(config);
  const channels = 2 * keyHeads * keyDim + valueHeads * valueDim;
  const chunks = Math.ceil(chunkTokens / deltaChunk);
  const headRows = logitRows(shape);
  const rows = (cols: number, tokens = chunkTokens) => bufferBytes(tokens * cols * 4);
  return {
    ids: rows(1),
    step: 32,
    headStep: 32,
    rope: bufferBytes(contextTokens * config.rotaryDims * 4),
    residual: passTokens > chunkTokens ? rows(hiddenSize, passTokens) : 0,
    hidden: rows(hiddenSize),
    normed: rows(hiddenSize),
    mixed: rows(Math.max(heads * headDim, valueHeads * valueDim)),
    qGate: rows(heads * 2 * headDim),
    k: rows(kvHeads * headDim),
    v: rows(kvHeads * headDim),
    q: rows(heads * headDim),
    partSums: rows(heads * headDim, contextParts(contextTokens)),
    partStats: rows(heads * 2, contextParts(contextTokens)),
    qkvIn: rows(channels),
    qkv: rows(channels),
    z: rows(valueHeads * valueDim),
    a: rows(valueHeads),
    b: rows(valueHeads),
    gates: rows(2 * valueHeads),
    o: rows(valueHeads * valueDim),
    chunkU: rows(valueHeads * valueDim, chunks * deltaChunk),
    chunkW: rows(valueHeads * keyDim, chunks * deltaChunk),
    chunkP: rows(valueHeads * deltaChunk * deltaChunk, chunks),
    gate: rows(intermediateSize),
    up: rows(intermediateSize),
    act: rows(intermediateSize),
    headInput: rows(hiddenSize, headRows),
    logits: rows(sliceWords, headRows),
  };
}

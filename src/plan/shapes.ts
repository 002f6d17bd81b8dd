/** Sizes that follow from a config alone. */
import type { ModelConfig, MoeConfig } from '../format/types';

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

/** Slots of recurrent and conv state: where steps run, moments to return to, and with experts one that a token leaves its own state for. */
export function stateSlots({ moe }: ModelConfig, snapshotSlots: number): number {
  return 1 + snapshotSlots + (moe ? 1 : 0);
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
export const deltaChunk = 16;
const logitBytes = 16 * 1024 * 1024;

/** Rows of logits computed at a time: at most 16 MiB, since 512 rows of a 248,320-word vocabulary would be half a gigabyte. */
export function logitRows({ sliceWords, chunkTokens }: Pick<ScratchShape, 'sliceWords' | 'chunkTokens'>): number {
  return Math.max(1, Math.min(chunkTokens, Math.floor(logitBytes / (sliceWords * 4))));
}

/** Offsets of storage bindings are multiples of this on every device. */
const bindingAlignment = 256;

/** Where decode keeps what the matrices write that read the same activations: side by side in one buffer, one such set at a time. */
export function projectedAt(config: ModelConfig) {
  const { intermediateSize, numAttentionHeads: heads, numKeyValueHeads: kvHeads, headDim, moe } = config;
  const { keyHeads, valueHeads, keyDim, valueDim } = deltaShape(config);
  return {
    ...sideBySide({ qGate: heads * 2 * headDim, k: kvHeads * headDim, v: kvHeads * headDim }),
    ...sideBySide({
      qkvIn: 2 * keyHeads * keyDim + valueHeads * valueDim,
      z: valueHeads * valueDim,
      b: valueHeads,
      a: valueHeads,
    }),
    ...sideBySide({ router: moe?.experts ?? 0, sharedGate: moe ? 1 : 0, gate: intermediateSize, up: intermediateSize }),
  };
}

function sideBySide<Name extends string>(values: Record<Name, number>): Record<Name, { byteOffset: number; bytes: number }> {
  const ranges = {} as Record<Name, { byteOffset: number; bytes: number }>;
  let byteOffset = 0;
  for (const [name, count] of Object.entries(values) as [Name, number][]) {
    const bytes = bufferBytes(count * 4);
    ranges[name] = { byteOffset, bytes };
    byteOffset = Math.ceil((byteOffset + bytes) / bindingAlignment) * bindingAlignment;
  }
  return ranges;
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
    projected: Math.max(...Object.values(projectedAt(config)).map(({ byteOffset, bytes }) => byteOffset + bytes)),
    codes: codeBytes(Math.max(heads * headDim, valueHeads * valueDim, intermediateSize)),
    normedCodes: codeBytes(hiddenSize),
    squares: bufferBytes(Math.ceil(hiddenSize / 32) * 4),
    headSquares: bufferBytes(((valueHeads * valueDim) / 32) * 4),
    gate: rows(intermediateSize),
    up: rows(intermediateSize),
    act: rows(intermediateSize),
    headInput: rows(hiddenSize, headRows),
    logits: rows(sliceWords, headRows),
    ...moeBytes(config, chunkTokens),
  };
}

/** Of activations in units of 32, f32 with their sum, which take more than integers do: eight units at a time (`unitBytes`). */
const codeBytes = (cols: number): number => bufferBytes(8 * 144 * Math.ceil(cols / 256));

/** Of a mixture: what is between router and residual stream, by token and, in `expertAct` and `expertOut`, by choice of a token. */
function moeBytes({ moe, hiddenSize, layerTypes }: ModelConfig, tokens: number) {
  const rows = (cols: number) => (moe ? bufferBytes(tokens * cols * 4) : 16);
  const { experts, chosen, intermediateSize } = moe ?? { experts: 0, chosen: 0, intermediateSize: 0 };
  return {
    router: rows(experts),
    sharedGate: rows(1),
    sharedOut: rows(hiddenSize),
    picks: moe ? bufferBytes(expertGroupsAt(moe, tokens).words * 4) : 16,
    pickWeights: rows(chosen),
    expertAct: rows(chosen * intermediateSize),
    expertOut: rows(chosen * hiddenSize),
    // Of one token, for every layer: what it chose, and the residual stream before.
    layerPicks: Math.max(16, layerTypes.length * bindingAlignment),
    savedHidden: moe ? layerTypes.length * savedStride(hiddenSize) : 16,
    expertSlots: Math.max(16, layerTypes.length * expertTableStride(experts)),
  };
}

/** Choices of one expert that a kernel takes at a time, the fewest of all kernels. */
const fewestInTile = 4;

/**
 * Where, in words behind the picks of a chunk of `tokens` tokens, the choices lie that are sorted by expert, and the tiles of them: how many
 * there are, and three words of each.
 */
export function expertGroupsAt({ experts, chosen }: Pick<MoeConfig, 'experts' | 'chosen'>, tokens: number) {
  const choices = tokens * chosen;
  const most = Math.floor((choices + Math.min(choices, experts) * (fewestInTile - 1)) / fewestInTile);
  return { places: choices, tiles: 2 * choices, words: 2 * choices + 1 + 3 * most };
}

/** Bytes between two layers' rows of `layerPicks` and of `savedHidden`. */
export const picksStride = bindingAlignment;
export const savedStride = (hiddenSize: number): number => Math.ceil((hiddenSize * 4) / bindingAlignment) * bindingAlignment;

/** Bytes between two layers' rows of the table that says in which slot each expert lies. */
export function expertTableStride(experts: number): number {
  return Math.ceil((experts * 4) / bindingAlignment) * bindingAlignment;
}

/** Tokens whose random numbers and ids the GPU holds while it decodes without the CPU. */
export const loopRing = 256;
/** Of decoding so, beside the sampler: stop ids, and results on their way back, four of 32 bytes. */
export const loopBytes = { stops: 256, results: 128 };

/** All of decoding without the CPU. */
export function tokenLoopBytes(vocab: number): number {
  const sampler = Object.values(samplerBytes({ vocab, ring: loopRing }));
  return [...sampler, ...Object.values(loopBytes)].reduce((sum, bytes) => sum + bytes, 0);
}

/**
 * Bytes of every buffer of a sampler by name. `blocks` parts of the vocabulary are the most that its kernels cut it into, 128, each
 * with a list of as many candidates; `turns` are the passes' numbers, 256 bytes apart as uniform bindings are.
 */
export function samplerBytes({ vocab, ring }: { vocab: number; ring: number }) {
  const blocks = 128;
  return {
    params: 48,
    turns: 9 * 256,
    state: 16,
    history: bufferBytes(vocab * 4),
    draws: bufferBytes(ring * 4),
    emitted: bufferBytes(ring * 4),
    blocks: blocks * 24,
    lists: blocks * blocks * 8,
    histogram: 8 * 256 * 8,
    cuts: bufferBytes(9 * 24),
  };
}

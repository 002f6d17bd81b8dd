/** The published text models by shape. Source: their config.json; the parameter totals are checked in test/node/synth.test.ts. */
import type { LayerType, ModelConfig, MoeConfig } from '../format/types';

/** What decides a checkpoint's tensors. Sizes are element counts, named as in ModelConfig. */
export type SyntheticShapes = Pick<
  ModelConfig,
  | 'hiddenSize'
  | 'intermediateSize'
  | 'vocabSize'
  | 'numAttentionHeads'
  | 'numKeyValueHeads'
  | 'headDim'
  | 'layerTypes'
  | 'linearNumKeyHeads'
  | 'linearNumValueHeads'
  | 'linearKeyHeadDim'
  | 'linearValueHeadDim'
  | 'tieWordEmbeddings'
  | 'moe'
> & {
  /** Names and grouping of Qwen3-Next in place of Qwen3.5's. */
  next?: true;
};

export const presetNames = [
  ...(['qwen3.5-0.8b', 'qwen3.5-2b', 'qwen3.5-4b', 'qwen3.5-9b', 'qwen3.5-27b'] as const),
  ...(['qwen3.5-35b-a3b', 'qwen3.5-122b-a10b', 'qwen3.5-397b-a17b', 'qwen3-next-80b-a3b'] as const),
] as const;
export type PresetName = (typeof presetNames)[number];

type Row = [
  hidden: number,
  layers: number,
  intermediate: number,
  heads: number,
  kvHeads: number,
  valueHeads: number,
  tied: boolean,
  /** Experts and how many of them a token runs through; `intermediate` is that of one, and of the shared one. */
  moe?: [experts: number, chosen: number],
];

const rows: Record<PresetName, Row> = {
  'qwen3.5-0.8b': [1024, 24, 3584, 8, 2, 16, true],
  'qwen3.5-2b': [2048, 24, 6144, 8, 2, 16, true],
  'qwen3.5-4b': [2560, 32, 9216, 16, 4, 32, true],
  'qwen3.5-9b': [4096, 32, 12288, 16, 4, 32, false],
  'qwen3.5-27b': [5120, 64, 17408, 24, 4, 48, false],
  'qwen3.5-35b-a3b': [2048, 40, 512, 16, 2, 32, false, [256, 8]],
  'qwen3.5-122b-a10b': [3072, 48, 1024, 32, 2, 64, false, [256, 8]],
  'qwen3.5-397b-a17b': [4096, 60, 1024, 32, 2, 64, false, [512, 10]],
  'qwen3-next-80b-a3b': [2048, 48, 512, 16, 2, 32, false, [512, 10]],
};

export function presetShapes(name: PresetName): SyntheticShapes {
  const [hiddenSize, layers, intermediateSize, numAttentionHeads, numKeyValueHeads, linearNumValueHeads, tied, moe] = rows[name];
  const next = name.startsWith('qwen3-next');
  return {
    hiddenSize,
    intermediateSize,
    vocabSize: next ? 151_936 : 248_320,
    numAttentionHeads,
    numKeyValueHeads,
    headDim: 256,
    layerTypes: regularLayerTypes(layers),
    linearNumKeyHeads: 16,
    linearNumValueHeads,
    linearKeyHeadDim: 128,
    linearValueHeadDim: 128,
    tieWordEmbeddings: tied,
    ...(moe ? { moe: moeShape(moe, intermediateSize) } : {}),
    ...(next ? { next } : {}),
  };
}

function moeShape([experts, chosen]: [number, number], intermediateSize: number): MoeConfig {
  return { experts, chosen, intermediateSize, sharedIntermediateSize: intermediateSize, renormalised: true };
}

/** Three GatedDeltaNet layers, then one with full attention, from the start. */
export function regularLayerTypes(layers: number): LayerType[] {
  return Array.from({ length: layers }, (_, i) => ((i + 1) % 4 === 0 ? 'full_attention' : 'linear_attention'));
}

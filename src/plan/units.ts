/**
 * A unit is the set of bytes that one piece of the computation needs: the embedding, a layer, the head. Units are what a
 * planner moves; the model runs them in this order.
 */
import type { AttentionLayerTensors, CheckpointTensors, DeltaNetLayerTensors, LayerTensors } from '../format/types';
import { type Block, type MatrixBlocks, matrixBlocks, type VectorBlock, vectorBlock } from './blocks';

export type MlpUnit = { gateProj: MatrixBlocks; upProj: MatrixBlocks; downProj: MatrixBlocks };

export type AttentionUnit = {
  kind: 'full_attention';
  vectors: VectorBlock<'inputNorm' | 'postAttentionNorm' | 'qNorm' | 'kNorm'>;
  qProj: MatrixBlocks;
  kProj: MatrixBlocks;
  vProj: MatrixBlocks;
  oProj: MatrixBlocks;
  mlp: MlpUnit;
};

export type DeltaNetUnit = {
  kind: 'linear_attention';
  vectors: VectorBlock<'inputNorm' | 'postAttentionNorm' | 'conv1d' | 'negExpA' | 'dtBias' | 'norm'>;
  inProjQkv: MatrixBlocks;
  inProjZ: MatrixBlocks;
  inProjB: MatrixBlocks;
  inProjA: MatrixBlocks;
  outProj: MatrixBlocks;
  mlp: MlpUnit;
};

export type LayerUnit = AttentionUnit | DeltaNetUnit;

export type ModelUnits = {
  embedTokens: MatrixBlocks;
  layers: LayerUnit[];
  finalNorm: VectorBlock<'norm'>;
  /** The embedding's own blocks where the head is tied to it. */
  lmHead: MatrixBlocks;
};

export function modelUnits(tensors: CheckpointTensors, maxBlockBytes: number): ModelUnits {
  const embedTokens = matrixBlocks('embed_tokens', tensors.embedTokens, maxBlockBytes);
  return {
    embedTokens,
    layers: tensors.layers.map((layer, index) => layerUnit(`layers.${index}`, layer, maxBlockBytes)),
    finalNorm: vectorBlock('norm', { norm: tensors.finalNorm }),
    lmHead: tensors.lmHead ? matrixBlocks('lm_head', tensors.lmHead, maxBlockBytes) : embedTokens,
  };
}

function layerUnit(label: string, layer: LayerTensors, most: number): LayerUnit {
  const { gateProj, upProj, downProj } = layer.mlp;
  const mlp = {
    gateProj: matrixBlocks(`${label}.mlp.gate_proj`, gateProj, most),
    upProj: matrixBlocks(`${label}.mlp.up_proj`, upProj, most),
    downProj: matrixBlocks(`${label}.mlp.down_proj`, downProj, most),
  };
  return layer.kind === 'full_attention' ? attentionUnit(label, layer, mlp, most) : deltaNetUnit(label, layer, mlp, most);
}

function attentionUnit(label: string, layer: AttentionLayerTensors, mlp: MlpUnit, most: number): AttentionUnit {
  const { inputNorm, postAttentionNorm, qNorm, kNorm } = layer;
  return {
    kind: 'full_attention',
    vectors: vectorBlock(`${label}.vectors`, { inputNorm, postAttentionNorm, qNorm, kNorm }),
    qProj: matrixBlocks(`${label}.self_attn.q_proj`, layer.qProj, most),
    kProj: matrixBlocks(`${label}.self_attn.k_proj`, layer.kProj, most),
    vProj: matrixBlocks(`${label}.self_attn.v_proj`, layer.vProj, most),
    oProj: matrixBlocks(`${label}.self_attn.o_proj`, layer.oProj, most),
    mlp,
  };
}

function deltaNetUnit(label: string, layer: DeltaNetLayerTensors, mlp: MlpUnit, most: number): DeltaNetUnit {
  const { inputNorm, postAttentionNorm, conv1d, aLog, dtBias, norm } = layer;
  const negExpA = { vector: aLog, transform: 'negExp' } as const;
  return {
    kind: 'linear_attention',
    vectors: vectorBlock(`${label}.vectors`, { inputNorm, postAttentionNorm, conv1d, negExpA, dtBias, norm }),
    inProjQkv: matrixBlocks(`${label}.linear_attn.in_proj_qkv`, layer.inProjQkv, most),
    inProjZ: matrixBlocks(`${label}.linear_attn.in_proj_z`, layer.inProjZ, most),
    inProjB: matrixBlocks(`${label}.linear_attn.in_proj_b`, layer.inProjB, most),
    inProjA: matrixBlocks(`${label}.linear_attn.in_proj_a`, layer.inProjA, most),
    outProj: matrixBlocks(`${label}.linear_attn.out_proj`, layer.outProj, most),
    mlp,
  };
}

/** Every block of a unit or of the whole model, each once (a tied head repeats none), in the order of use. */
export function blocksOf(units: ModelUnits): Block[] {
  const blocks = new Set<Block>();
  const add = (value: object) => {
    if ('parts' in value) for (const part of (value as MatrixBlocks).parts) blocks.add(part.block);
    else if ('block' in value) blocks.add((value as VectorBlock<string>).block);
    else for (const inner of Object.values(value)) if (typeof inner === 'object') add(inner);
  };
  add(units.embedTokens);
  for (const layer of units.layers) add(layer);
  add(units.finalNorm);
  add(units.lmHead);
  return [...blocks];
}

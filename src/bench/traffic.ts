/** What a token moves and computes, from plan and config alone: what its time is held against. */
import type { ModelConfig } from '../format/types';
import { type MatrixBlocks, rowStrides } from '../plan/blocks';
import type { MemoryPlan } from '../plan/memory_plan';
import { stateBytes } from '../plan/shapes';

/** Bytes of one decode step. */
export type TokenBytes = {
  /** Every matrix once, the head among them, the small parameters, and one row of the embedding. */
  weights: number;
  /** Keys and values: those of every position so far read, one position written. */
  kv: number;
  /** Recurrent and conv state, read and written. */
  state: number;
  total: number;
};

/** `position`: tokens before this one. It may be a mean. */
export function tokenBytes(plan: MemoryPlan, config: ModelConfig, kv: 'f16' | 'f32', position: number): TokenBytes {
  const { kvPerToken, recurrentPerSlot, convPerSlot } = stateBytes(config, kv);
  const attention = config.layerTypes.filter((kind) => kind === 'full_attention').length;
  const weights = weightBytes(plan) + expertBytes(plan, config);
  const cache = attention * 2 * kvPerToken * (position + 2);
  const state = (config.numHiddenLayers - attention) * 2 * (recurrentPerSlot + convPerSlot);
  return { weights, kv: cache, state, total: weights + cache + state };
}

function weightBytes({ model, gather }: MemoryPlan): number {
  const matrices = model.units.reduce((sum, { kind, bytes }) => sum + (kind === 'embed' ? 0 : bytes), 0);
  return matrices + model.vectors.bytes + rowBytes((model.embedTokens ?? gather)!);
}

/** Of those that a token runs through. */
function expertBytes({ model }: MemoryPlan, { moe }: ModelConfig): number {
  return model.layers.reduce((sum, layer) => sum + (moe && layer.moe ? moe.chosen * layer.moe.experts.bytes : 0), 0);
}

function rowBytes(matrix: MatrixBlocks): number {
  const [words, groups] = rowStrides(matrix);
  if (matrix.format.kind === 'float') return words * 16;
  return words * 4 + groups * (matrix.format.pair === 'f32' ? 8 : 4);
}

/** Multiply-adds of the layers' matrices, twice; the head, which only a prompt's last token needs, is left out. */
export function prefillFlopPerToken({ model }: MemoryPlan, { moe: shape }: Pick<ModelConfig, 'moe'>): number {
  const sizes = (matrices: readonly MatrixBlocks[]) => matrices.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  const layers = model.layers.map(({ mixer, mlp, moe }) => {
    const dense = sizes([...Object.values(mixer), ...Object.values(mlp)]);
    if (!moe || !shape) return dense;
    return dense + sizes([moe.router, moe.sharedGate]) + shape.chosen * sizes(Object.values(moe.experts.matrices));
  });
  return 2 * layers.reduce((sum, size) => sum + size, 0);
}

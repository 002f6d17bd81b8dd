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
  const weights = weightBytes(plan);
  const cache = attention * 2 * kvPerToken * (position + 2);
  const state = (config.numHiddenLayers - attention) * 2 * (recurrentPerSlot + convPerSlot);
  return { weights, kv: cache, state, total: weights + cache + state };
}

function weightBytes({ model, gather }: MemoryPlan): number {
  const matrices = model.units.reduce((sum, { kind, bytes }) => sum + (kind === 'embed' ? 0 : bytes), 0);
  return matrices + model.vectors.bytes + rowBytes((model.embedTokens ?? gather)!);
}

function rowBytes(matrix: MatrixBlocks): number {
  const [words, groups] = rowStrides(matrix);
  if (matrix.format.kind === 'float') return words * 16;
  return words * 4 + groups * (matrix.format.pair === 'f32' ? 8 : 4);
}

/** Multiply-adds of the layers' matrices, twice; the head, which only a prompt's last token needs, is left out. */
export function prefillFlopPerToken({ model }: MemoryPlan): number {
  const matrices = model.layers.flatMap(({ mixer, mlp }) => [...Object.values(mixer), ...Object.values(mlp)]);
  return 2 * matrices.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
}

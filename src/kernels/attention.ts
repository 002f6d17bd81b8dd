import source from '../../wgsl/attention.wgsl?raw';
import sourceCombine from '../../wgsl/attention_combine.wgsl?raw';
import sourceDirect from '../../wgsl/attention_direct.wgsl?raw';
import sourceSplit from '../../wgsl/attention_split.wgsl?raw';
import type { Gpu } from '../gpu/device';
import { createKernel, type Kernel } from '../gpu/kernel';
import { type KvDtype, kvCache, requireAtMost, requireMultiple, shared, wideReduction } from './variants';

export type AttentionShape = { heads: number; kvHeads: number; headDim: number; kv: KvDtype };

/**
 * Causal softmax(q k^T / sqrt(headDim)) v * sigmoid(gate), online softmax over blocks of 64 keys (Dao et al., 2022).
 * q [tokens, heads, headDim], qGate [tokens, heads, 2, headDim] f32, keys, values [capacity, kvHeads, headDim] of `kv`
 * -> y [tokens, heads * headDim] f32.
 * @throws EngineError 'shape' unless 4 divides headDim <= 256 and kvHeads divides heads.
 */
export function createAttention(gpu: Gpu, { heads, kvHeads, headDim, kv }: AttentionShape): Kernel {
  const reduce = wideReduction(gpu);
  const cache = kvCache(kv);
  const label = `attention${cache.suffix}${reduce.suffix}`;
  requireMultiple(label, 'headDim', headDim, 4);
  requireAtMost(label, 'headDim', headDim, 256);
  requireMultiple(label, 'heads', heads, kvHeads);
  return createKernel(gpu, {
    label,
    sources: [shared.step, ...cache.sources, ...reduce.sources, source],
    enable: reduce.enable,
    constants: { HEADS: heads, KV_HEADS: kvHeads, HEAD_DIM: headDim },
    bindings: { q: 'read', qGate: 'read', keys: 'read', values: 'read', y: 'write', step: 'uniform' },
    grid: (tokens) => [heads, tokens],
  });
}

/**
 * The same without workgroup memory or barriers: for CPU adapters, where both are slow.
 * @throws EngineError 'shape' as createAttention.
 */
export function createAttentionDirect(gpu: Gpu, { heads, kvHeads, headDim, kv }: AttentionShape): Kernel {
  const cache = kvCache(kv);
  const label = `attention_direct${cache.suffix}`;
  requireMultiple(label, 'headDim', headDim, 4);
  requireAtMost(label, 'headDim', headDim, 256);
  requireMultiple(label, 'heads', heads, kvHeads);
  return createKernel(gpu, {
    label,
    sources: [shared.step, ...cache.sources, sourceDirect],
    constants: { HEADS: heads, KV_HEADS: kvHeads, HEAD_DIM: headDim },
    bindings: { q: 'read', qGate: 'read', keys: 'read', values: 'read', y: 'write', step: 'uniform' },
    grid: (tokens) => [Math.ceil((tokens * heads) / 64)],
  });
}

/** `parts`: pieces that the context is cut into at most, 128 say, or as many blocks of 64 keys as there can be. */
export type SplitAttentionShape = AttentionShape & { parts: number };

/**
 * The first half of the same for one token: softmax sums over each part of the context, all queries of a key head together, so
 * that the parts run side by side and a key is read once (flash decoding; Dao et al., 2023).
 * q, keys, values as above -> sums [parts, heads, headDim], stats [parts, heads, 2] f32, for createAttentionCombine.
 * @throws EngineError 'shape' as createAttention.
 */
export function createAttentionSplit(gpu: Gpu, { heads, kvHeads, headDim, kv, parts }: SplitAttentionShape): Kernel {
  const cache = kvCache(kv);
  const label = `attention_split${cache.suffix}`;
  requireMultiple(label, 'headDim', headDim, 4);
  requireAtMost(label, 'headDim', headDim, 256);
  requireMultiple(label, 'heads', heads, kvHeads);
  const group = groupOf(heads / kvHeads);
  return createKernel(gpu, {
    label,
    sources: [shared.step, shared.contextParts, ...cache.sources, sourceSplit],
    constants: { HEADS: heads, KV_HEADS: kvHeads, HEAD_DIM: headDim, GROUP: group, PARTS: parts },
    bindings: { q: 'read', keys: 'read', values: 'read', sums: 'write', stats: 'write', step: 'uniform' },
    grid: () => [heads / group, parts],
  });
}

/** Queries that one workgroup takes: all of a key head, or a share of them where they are more than eight. */
function groupOf(queries: number): number {
  let group = Math.min(8, queries);
  while (queries % group !== 0) group--;
  return group;
}

/**
 * The second half: sums, stats of createAttentionSplit, qGate [heads, 2, headDim] f32 -> y [heads * headDim] f32.
 * @throws EngineError 'shape' unless 4 divides headDim.
 */
export function createAttentionCombine(
  gpu: Gpu,
  { heads, headDim, parts }: Pick<SplitAttentionShape, 'heads' | 'headDim' | 'parts'>,
): Kernel {
  const reduce = wideReduction(gpu);
  const label = `attention_combine${reduce.suffix}`;
  requireMultiple(label, 'headDim', headDim, 4);
  return createKernel(gpu, {
    label,
    sources: [shared.step, shared.contextParts, ...reduce.sources, sourceCombine],
    enable: reduce.enable,
    constants: { HEADS: heads, HEAD_DIM: headDim, PARTS: parts },
    bindings: { sums: 'read', stats: 'read', qGate: 'read', y: 'write', step: 'uniform' },
    grid: () => [Math.ceil(headDim / 32), heads],
  });
}

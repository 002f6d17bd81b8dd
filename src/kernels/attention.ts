import source from '../../wgsl/attention.wgsl?raw';
import sourceDirect from '../../wgsl/attention_direct.wgsl?raw';
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

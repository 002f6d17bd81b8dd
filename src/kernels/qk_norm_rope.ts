import source from '../../wgsl/qk_norm_rope.wgsl?raw';
import type { Gpu } from '../gpu/device';
import { createKernel, type Kernel } from '../gpu/kernel';
import { type KvDtype, kvCache, reduction, requireMultiple, shared } from './variants';

/** `rotary`: leading dimensions of a head that RoPE turns. */
export type QkNormRopeShape = { heads: number; kvHeads: number; headDim: number; rotary: number; eps: number; kv: KvDtype };

/**
 * RMSNorm and partial RoPE (Su et al., 2021; pairs (i, i + rotary / 2)) on q and k; k and v into the cache.
 * qGate [tokens, heads, 2, headDim], k, v [tokens, kvHeads, headDim] f32, rope [capacity, rotary / 2] (cos, sin)
 * -> q [tokens, heads, headDim] f32; keys, values [capacity, kvHeads, headDim] of `kv`.
 * @throws EngineError 'shape' unless 4 divides headDim.
 */
export function createQkNormRope(gpu: Gpu, { heads, kvHeads, headDim, rotary, eps, kv }: QkNormRopeShape): Kernel {
  const reduce = reduction(gpu);
  const cache = kvCache(kv);
  const label = `qk_norm_rope${cache.suffix}${reduce.suffix}`;
  requireMultiple(label, 'headDim', headDim, 4);
  return createKernel(gpu, {
    label,
    sources: [shared.parameters, shared.step, ...cache.sources, ...reduce.sources, source],
    enable: reduce.enable,
    constants: { HEADS: heads, KV_HEADS: kvHeads, HEAD_DIM: headDim, ROTARY: rotary, EPS: eps },
    bindings: { qGate: 'read', k: 'read', v: 'read', q: 'write', keys: 'write', values: 'write', rope: 'read', step: 'uniform' },
    weights: 'parameters',
    grid: (tokens) => [heads + 2 * kvHeads, tokens],
  });
}

import source from '../../wgsl/gated_rms_norm.wgsl?raw';
import type { Gpu } from '../gpu/device';
import { createKernel, type Kernel } from '../gpu/kernel';
import { reduction, requireMultiple, shared } from './variants';

/**
 * GatedDeltaNet's output norm, per value head: y = o * (mean(o^2) + eps)^-1/2 * w * silu(z).
 * o, z [tokens, heads, dim] f32, w [dim] f32 -> y [tokens, heads, dim] f32.
 * @throws EngineError 'shape' unless 4 divides dim.
 */
export function createGatedRmsNorm(gpu: Gpu, { heads, dim, eps }: { heads: number; dim: number; eps: number }): Kernel {
  const reduce = reduction(gpu);
  const label = `gated_rms_norm${reduce.suffix}`;
  requireMultiple(label, 'dim', dim, 4);
  return createKernel(gpu, {
    label,
    sources: [shared.parameters, ...reduce.sources, source],
    enable: reduce.enable,
    constants: { HEADS: heads, DIM: dim, EPS: eps },
    bindings: { o: 'read', z: 'read', y: 'write' },
    weights: 'parameters',
    grid: (tokens) => [heads, tokens],
  });
}

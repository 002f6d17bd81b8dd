import source from '../../wgsl/swiglu.wgsl?raw';
import type { Gpu } from '../gpu/device';
import { createKernel, fold, type Kernel } from '../gpu/kernel';
import { requireMultiple, shared } from './variants';

/**
 * y = silu(gate) * up (Shazeer, 2020). gate, up, y [tokens, cols] f32.
 * @throws EngineError 'shape' unless 4 divides cols.
 */
export function createSwiglu(gpu: Gpu, { cols }: { cols: number }): Kernel {
  requireMultiple('swiglu', 'cols', cols, 4);
  return createKernel(gpu, {
    label: 'swiglu',
    sources: [shared.step, source],
    constants: { COLS: cols },
    bindings: { gate: 'read', up: 'read', y: 'write', step: 'uniform' },
    grid: (tokens) => fold(Math.ceil((tokens * cols) / 256)),
  });
}

import source from '../../wgsl/swiglu.wgsl?raw';
import sourceUnits from '../../wgsl/swiglu_units.wgsl?raw';
import type { Gpu } from '../gpu/device';
import { createKernel, fold, type Kernel } from '../gpu/kernel';
import { type ActivationDtype, emission, requireMultiple, shared } from './variants';

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

/** The same for one token -> y [cols] of `y`. @throws EngineError 'shape' unless 32 divides cols. */
export function createSwigluUnits(gpu: Gpu, { cols, y }: { cols: number; y: ActivationDtype }): Kernel {
  const emit = emission(y);
  const label = `swiglu_units${emit.suffix}`;
  requireMultiple(label, 'cols', cols, 32);
  return createKernel(gpu, {
    label,
    sources: [...emit.sources, sourceUnits],
    constants: { COLS: cols, ...emit.constants },
    bindings: { units: 'write', gate: 'read', up: 'read' },
    grid: () => [Math.ceil(cols / 32 / 16)],
  });
}

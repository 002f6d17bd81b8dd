import source from '../../wgsl/rms_norm.wgsl?raw';
import sourceUnits from '../../wgsl/rms_norm_units.wgsl?raw';
import sourceWeigh from '../../wgsl/weigh_units.wgsl?raw';
import type { Gpu } from '../gpu/device';
import { createKernel, type Kernel } from '../gpu/kernel';
import { type ActivationDtype, emission, reduction, requireMultiple, shared } from './variants';

/**
 * y = x * (mean(x^2) + eps)^-1/2 * w per token (Zhang and Sennrich, 2019).
 * x [.., cols] f32 from row step.firstRow, w [cols] f32 -> y [tokens, cols] f32.
 * @throws EngineError 'shape' unless 4 divides cols.
 */
export function createRmsNorm(gpu: Gpu, { cols, eps }: { cols: number; eps: number }): Kernel {
  const reduce = reduction(gpu);
  const label = `rms_norm${reduce.suffix}`;
  requireMultiple(label, 'cols', cols, 4);
  return createKernel(gpu, {
    label,
    sources: [shared.parameters, shared.step, ...reduce.sources, source],
    enable: reduce.enable,
    constants: { COLS: cols, EPS: eps },
    bindings: { x: 'read', y: 'write', step: 'uniform' },
    weights: 'parameters',
    grid: (tokens) => [tokens],
  });
}

/**
 * The same for one token, row step.firstRow of x -> y [cols] of `y`, for a matrix product to read.
 * @throws EngineError 'shape' unless 32 divides cols.
 */
export function createRmsNormUnits(gpu: Gpu, { cols, eps, y }: { cols: number; eps: number; y: ActivationDtype }): Kernel {
  const emit = emission(y);
  const label = `rms_norm_units${emit.suffix}`;
  requireMultiple(label, 'cols', cols, 32);
  return createKernel(gpu, {
    label,
    sources: [shared.parameters, shared.step, ...emit.sources, sourceUnits],
    constants: { COLS: cols, EPS: eps, ...emit.constants },
    bindings: { units: 'write', x: 'read', step: 'uniform' },
    weights: 'parameters',
    grid: () => [1],
  });
}

/**
 * The half of it that needs no sum over all of x: x [cols] f32 -> x * w [cols] of `units`, and the sum of squares of every 32 values,
 * squares [cols/32] f32. Products with `write: 'normed'` do the rest.
 * @throws EngineError 'shape' unless 32 divides cols.
 */
export function createWeighUnits(gpu: Gpu, { cols, units }: { cols: number; units: ActivationDtype }): Kernel {
  const emit = emission(units);
  const label = `weigh_units${emit.suffix}`;
  requireMultiple(label, 'cols', cols, 32);
  return createKernel(gpu, {
    label,
    sources: [shared.parameters, ...emit.sources, shared.weigh, sourceWeigh],
    constants: { COLS: cols, ...emit.constants },
    bindings: { units: 'write', x: 'read', squares: 'write' },
    weights: 'parameters',
    grid: () => [Math.ceil(cols / 32 / 16)],
  });
}

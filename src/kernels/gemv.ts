import source from '../../wgsl/gemv.wgsl?raw';
import sourceDirect from '../../wgsl/gemv_direct.wgsl?raw';
import sourceQ4 from '../../wgsl/gemv_q4.wgsl?raw';
import sourceQ4Direct from '../../wgsl/gemv_q4_direct.wgsl?raw';
import type { MatrixFormat } from '../format/types';
import type { Gpu } from '../gpu/device';
import { createKernel, fold, type Kernel } from '../gpu/kernel';
import { matrix, requireMultiple, wideReduction } from './variants';

/** `accumulate`: add to y, as a residual connection does, in place of writing it. */
export type GemvShape = { cols: number; format: MatrixFormat; accumulate: boolean };

/**
 * y = W x for one token, any weight format: four rows a workgroup.
 * x [cols] f32 -> y f32 at the part's rows. Reads each weight once, so memory bandwidth bounds it.
 * @throws EngineError 'shape' unless 4 divides cols, and group divides it for affine formats.
 */
export function createGemv(gpu: Gpu, shape: GemvShape): Kernel {
  return create(gpu, shape, 'gemv', source);
}

/**
 * The same for 4-bit affine weights, one u32 of eight weights at a time: the projection of every decode step.
 * Source: the affine mode of `mlx.core.quantize`.
 * @throws EngineError 'shape' unless group divides cols and 8 divides group.
 */
export function createGemvQ4(gpu: Gpu, shape: GemvShape & { format: { kind: 'affine'; bits: 4 } }): Kernel {
  requireMultiple('gemv_q4', 'group', shape.format.group, 8);
  return create(gpu, shape, 'gemv_q4', sourceQ4);
}

/**
 * The same, any weight format, without workgroup memory or barriers: for CPU adapters, where both are slow.
 * Sizes come from the record, so that one pipeline serves every matrix.
 */
export function createGemvDirect(gpu: Gpu, { format, accumulate }: Omit<GemvShape, 'cols'>): Kernel {
  const piece = matrix(format);
  const q4 = format.kind === 'affine' && format.bits === 4;
  const label = `${q4 ? 'gemv_q4_direct' : 'gemv_direct'}${piece.suffix}`;
  return createKernel(gpu, {
    label,
    sources: [...piece.sources, q4 ? sourceQ4Direct : sourceDirect],
    constants: { ACCUMULATE: Number(accumulate), ...piece.constants },
    bindings: { x: 'read', y: 'write' },
    weights: true,
    grid: (_, rows) => fold(Math.ceil(rows / 256)),
  });
}

function create(gpu: Gpu, { cols, format, accumulate }: GemvShape, stem: string, main: string): Kernel {
  const piece = matrix(format);
  const reduce = wideReduction(gpu);
  const label = `${stem}${piece.suffix}${reduce.suffix}`;
  requireMultiple(label, 'cols', cols, format.kind === 'affine' ? format.group : 4);
  return createKernel(gpu, {
    label,
    sources: [...piece.sources, ...reduce.sources, main],
    enable: reduce.enable,
    constants: { COLS: cols, ACCUMULATE: Number(accumulate), ...piece.constants },
    bindings: { x: 'read', y: 'write' },
    weights: true,
    grid: (_, rows) => fold(Math.ceil(rows / 4)),
  });
}

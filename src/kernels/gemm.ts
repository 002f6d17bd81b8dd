import source from '../../wgsl/gemm.wgsl?raw';
import sourceDirect from '../../wgsl/gemm_direct.wgsl?raw';
import sourceQ4Direct from '../../wgsl/gemm_q4_direct.wgsl?raw';
import type { MatrixFormat } from '../format/types';
import type { Gpu } from '../gpu/device';
import { createKernel, fold, type Kernel } from '../gpu/kernel';
import { matrix, requireMultiple, shared, tile } from './variants';

/** `outCols`: columns of y, all parts together. `accumulate`: add to y. `f16`: round operand tiles to f16 where the device can. */
export type GemmShape = { cols: number; outCols: number; format: MatrixFormat; accumulate: boolean; f16: boolean };

/**
 * Y = X W^T for a step of several tokens, any weight format, 32 x 32 tiles.
 * x [tokens, cols] f32 -> y [tokens, outCols] f32 at the part's columns.
 * @throws EngineError 'shape' unless 4 divides cols, and group divides it for affine formats.
 */
export function createGemm(gpu: Gpu, { cols, outCols, format, accumulate, f16 }: GemmShape): Kernel {
  const piece = matrix(format);
  const tiles = tile(gpu, f16);
  const label = `gemm${piece.suffix}${tiles.suffix}`;
  requireMultiple(label, 'cols', cols, format.kind === 'affine' ? format.group : 4);
  return createKernel(gpu, {
    label,
    sources: [...piece.sources, shared.step, ...tiles.sources, source],
    enable: tiles.enable,
    constants: { COLS: cols, Y_COLS: outCols, ACCUMULATE: Number(accumulate), ...piece.constants },
    bindings: { x: 'read', y: 'write', step: 'uniform' },
    weights: true,
    grid: (tokens, rows) => {
      const [x, z] = fold(Math.ceil(rows / 32));
      return [x, Math.ceil(tokens / 32), z];
    },
  });
}

/**
 * The same without workgroup memory or barriers: for CPU adapters, where both are slow to compile and to run.
 * Sizes come from the record, so that one pipeline serves every matrix.
 */
export function createGemmDirect(gpu: Gpu, { format, accumulate }: Pick<GemmShape, 'format' | 'accumulate'>): Kernel {
  const piece = matrix(format);
  const q4 = format.kind === 'affine' && format.bits === 4;
  const rowsPerGroup = 64 * (q4 ? 8 : 4);
  const label = `${q4 ? 'gemm_q4_direct' : 'gemm_direct'}${piece.suffix}`;
  return createKernel(gpu, {
    label,
    sources: [...piece.sources, shared.step, q4 ? sourceQ4Direct : sourceDirect],
    constants: { ACCUMULATE: Number(accumulate), ...piece.constants },
    bindings: { x: 'read', y: 'write', step: 'uniform' },
    weights: true,
    grid: (tokens, rows) => {
      const [x, z] = fold(Math.ceil(rows / rowsPerGroup));
      return [x, Math.ceil(tokens / 4), z];
    },
  });
}

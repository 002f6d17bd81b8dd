import source from '../../wgsl/embed.wgsl?raw';
import type { MatrixFormat } from '../format/types';
import type { Gpu } from '../gpu/device';
import { createKernel, type Kernel } from '../gpu/kernel';
import { matrix, requireMultiple } from './variants';

/**
 * Rows of the embedding matrix for a step's token ids.
 * ids [tokens] u32 -> y [tokens, cols] f32. A part of a vocabulary writes only the rows it holds.
 * @throws EngineError 'shape' unless 4 divides cols.
 */
export function createEmbed(gpu: Gpu, { cols, format }: { cols: number; format: MatrixFormat }): Kernel {
  const piece = matrix(format);
  const label = `embed${piece.suffix}`;
  requireMultiple(label, 'cols', cols, 4);
  return createKernel(gpu, {
    label,
    sources: [...piece.sources, source],
    constants: { COLS: cols, ...piece.constants },
    bindings: { ids: 'read', y: 'write' },
    weights: 'matrix',
    grid: (tokens) => [Math.ceil(cols / 256), tokens],
  });
}

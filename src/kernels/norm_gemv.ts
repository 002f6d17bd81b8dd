/** One token's norm and the products behind it in one dispatch, for narrow models, which a dispatch costs as much as a matrix. */
import source from '../../wgsl/norm_gemv_q4.wgsl?raw';
import q4Unit from '../../wgsl/shared/q4_unit.wgsl?raw';
import rowBlocks from '../../wgsl/shared/row_blocks.wgsl?raw';
import xNormed from '../../wgsl/shared/x_normed.wgsl?raw';
import xTile from '../../wgsl/shared/x_tile.wgsl?raw';
import type { MatrixFormat } from '../format/types';
import type { Gpu } from '../gpu/device';
import { createKernel, fold, type Kernel } from '../gpu/kernel';
import { type Affine4, isAffine4, matrix, requireAtMost, requireMultiple, shared, teamReduction } from './variants';

/** Columns that a workgroup can hold in the memory that every device has, beside its sums. */
const mostCols = 2304;

/**
 * y = W n for up to four matrices of one format, n = x * (mean(x^2) + eps)^-1/2 * w. x [cols], w [cols] f32; row r of a matrix goes to
 * y + record.a.w + r, f32.
 * @throws EngineError 'shape' unless 32 divides group, group divides cols, and cols are at most 2,304.
 */
export function createNormGemvQ4(gpu: Gpu, { cols, eps, format }: { cols: number; eps: number; format: Affine4 }): Kernel {
  const [rows, lanes, teams] = [4, 32, 8];
  const piece = matrix(format, { from: 'several' });
  const reduce = teamReduction(gpu, { lanes, teams, blocks: 1 });
  const label = `norm_gemv_q4${piece.suffix}${reduce.suffix}`;
  requireMultiple(label, 'group', format.group, 32);
  requireMultiple(label, 'cols', cols, format.group);
  requireAtMost(label, 'cols', cols, mostCols);
  return createKernel(gpu, {
    label,
    sources: [shared.moreParameters, ...piece.sources, rowBlocks, ...reduce.sources, q4Unit, xTile, xNormed, source],
    enable: reduce.enable,
    constants: {
      ...{ ACCUMULATE: 0, COLS: cols, FOLDED: 0, EPS: eps },
      ...{ ROWS: rows, LANES: lanes, TEAMS: teams, BLOCKS: 1 },
      ...piece.constants,
      ...reduce.constants,
    },
    bindings: { x: 'read', y: 'write' },
    weights: 'both',
    grid: (_, count) => fold(Math.ceil(count / (rows * teams))),
    rowsPerWorkgroup: rows * teams,
  });
}

/** Whether createNormGemvQ4 can do it. */
export function suitsNormGemv(gpu: Gpu, { cols, format }: { cols: number; format: MatrixFormat }): boolean {
  return !gpu.direct && cols <= mostCols && isAffine4(format) && format.group % 32 === 0;
}

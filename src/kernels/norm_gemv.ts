/** One token's norm and the products behind it in one dispatch, for narrow models, which a dispatch costs as much as a matrix. */
import sourceDelta from '../../wgsl/delta_project_q4.wgsl?raw';
import source from '../../wgsl/norm_gemv_q4.wgsl?raw';
import normRows from '../../wgsl/shared/norm_rows.wgsl?raw';
import q4Unit from '../../wgsl/shared/q4_unit.wgsl?raw';
import rowBlocks from '../../wgsl/shared/row_blocks.wgsl?raw';
import writeRow from '../../wgsl/shared/write_row.wgsl?raw';
import writeRowConvolved from '../../wgsl/shared/write_row_convolved.wgsl?raw';
import xNormed from '../../wgsl/shared/x_normed.wgsl?raw';
import xTile from '../../wgsl/shared/x_tile.wgsl?raw';
import type { MatrixFormat } from '../format/types';
import type { Gpu } from '../gpu/device';
import { createKernel, fold, type Kernel, type KernelSpec } from '../gpu/kernel';
import { type Affine4, isAffine4, matrix, requireAtMost, requireMultiple, shared, teamReduction } from './variants';

/** Columns that a workgroup can hold in the memory that every device has, beside its sums. */
const mostCols = 2304;

/**
 * y = W n for up to four matrices of one format, n = x * (mean(x^2) + eps)^-1/2 * w. x [cols], w [cols] f32; row r of a matrix goes to
 * y + record.a.w + r, f32.
 * @throws EngineError 'shape' unless 32 divides group, group divides cols, and cols are at most 2,304.
 */
export function createNormGemvQ4(gpu: Gpu, shape: NormGemvShape): Kernel {
  const spec = normSpec(gpu, 'norm_gemv_q4', shape);
  return createKernel(gpu, {
    ...spec,
    sources: [...spec.sources, writeRow, source],
    constants: { ...spec.constants, ACCUMULATE: 0 },
    bindings: { x: 'read', y: 'write' },
  });
}

/**
 * The same of all that a delta rule reads, the first `channels` of y being q, k and v: convolved over time with SiLU as createConv1dSilu does,
 * state [slots, 3, channels] f32 moving from step.sourceSlot to step.targetSlot.
 * @throws EngineError 'shape' likewise.
 */
export function createDeltaProjectQ4(gpu: Gpu, { channels, ...shape }: NormGemvShape & { channels: number }): Kernel {
  const spec = normSpec(gpu, 'delta_project_q4', shape);
  return createKernel(gpu, {
    ...spec,
    sources: [shared.step, ...spec.sources, writeRowConvolved, sourceDelta],
    constants: { ...spec.constants, CHANNELS: channels },
    bindings: { x: 'read', y: 'write', state: 'write', step: 'uniform' },
  });
}

type NormGemvShape = { cols: number; eps: number; format: Affine4 };

function normSpec(gpu: Gpu, stem: string, { cols, eps, format }: NormGemvShape) {
  const [rows, lanes, teams] = [4, 32, 8];
  const piece = matrix(format, { from: 'several' });
  const reduce = teamReduction(gpu, { lanes, teams, blocks: 1 });
  const label = `${stem}${piece.suffix}${reduce.suffix}`;
  requireMultiple(label, 'group', format.group, 32);
  requireMultiple(label, 'cols', cols, format.group);
  requireAtMost(label, 'cols', cols, mostCols);
  return {
    label,
    sources: [shared.moreParameters, ...piece.sources, rowBlocks, ...reduce.sources, q4Unit, xTile, xNormed, normRows],
    enable: reduce.enable,
    constants: {
      ...{ COLS: cols, FOLDED: 0, EPS: eps },
      ...{ ROWS: rows, LANES: lanes, TEAMS: teams, ROW_BLOCKS: 1, BLOCKS: 1 },
      ...piece.constants,
      ...reduce.constants,
    },
    weights: 'both',
    grid: (_, count) => fold(Math.ceil(count / (rows * teams))),
    rowsPerWorkgroup: rows * teams,
  } satisfies Omit<KernelSpec, 'bindings'>;
}

/** Whether createNormGemvQ4 can do it. */
export function suitsNormGemv(gpu: Gpu, { cols, format }: { cols: number; format: MatrixFormat }): boolean {
  return !gpu.direct && cols <= mostCols && isAffine4(format) && format.group % 32 === 0;
}

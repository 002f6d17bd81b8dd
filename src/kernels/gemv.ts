import source from '../../wgsl/gemv.wgsl?raw';
import sourceDirect from '../../wgsl/gemv_direct.wgsl?raw';
import sourceQ4 from '../../wgsl/gemv_q4.wgsl?raw';
import sourceQ4Direct from '../../wgsl/gemv_q4_direct.wgsl?raw';
import sourceQuantise from '../../wgsl/quantise.wgsl?raw';
import { EngineError } from '../errors';
import type { MatrixFormat } from '../format/types';
import type { Gpu } from '../gpu/device';
import { createKernel, fold, type Kernel } from '../gpu/kernel';
import type { Candidate, ProductShape } from './candidates';
import {
  createGemvQ4Units,
  createGemvQ4Wide,
  lanesFor,
  oneStepLanes,
  rowTeam,
  suits,
  type Team,
  teamName,
  type UnscaledHeads,
  type WideTeam,
  type Write,
  wideName,
  workgroupBytes,
} from './gemv_teams';
import {
  type Affine4,
  emission,
  isAffine4,
  isInt,
  matrix,
  requireMultiple,
  shared,
  type UnitDtype,
  wideReduction,
} from './variants';

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
export function createGemvQ4(gpu: Gpu, shape: GemvShape & { format: Affine4 }): Kernel {
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
    weights: 'matrix',
    grid: (_, rows) => fold(Math.ceil(rows / 256)),
  });
}

/** x [tokens, cols] f32 -> y [tokens, cols/32] units as emit_* writes them: what gemv_q4_units and gemm_q4_few_int read. */
export function createQuantise(gpu: Gpu, { cols, y }: { cols: number; y: UnitDtype }): Kernel {
  const emit = emission(y);
  requireMultiple('quantise', 'cols', cols, 32);
  return createKernel(gpu, {
    label: `quantise${emit.suffix}`,
    sources: [shared.step, ...emit.sources, sourceQuantise],
    constants: { COLS: cols, ...emit.constants },
    bindings: { units: 'write', x: 'read', step: 'uniform' },
    grid: (tokens) => [Math.ceil((tokens * cols) / 32 / 16)],
  });
}

/**
 * Of all exact ones tried on an NVIDIA H200 the fastest for many rows: 43 % of its bandwidth. 12 KiB stage 64 units of 32 columns at a
 * time, whatever the way of reducing.
 */
const usualTeam: WideTeam = { rows: 4, lanes: 32, teams: 4, x: 'staged', kib: 12, nibbles: 'convert' };
/** With fewer rows usualTeam leaves much of a large GPU without work. */
const manyRows = 4096;

/** A row in one step, by as much workgroup memory as makes a difference. */
function oneStep(gpu: Gpu, cols: number, rows: 2 | 4) {
  const kib = Math.min(48, Math.floor(workgroupBytes(gpu) / 1024));
  return { rows, lanes: oneStepLanes(gpu, cols), teams: 1, x: 'held', blocks: 1, kib, nibbles: 'convert' } as const;
}

/**
 * What a recording runs for one token where nothing was measured; always exact. `outCols`: columns of y, all parts together, so that
 * parts change nothing. `sliced`: how many they are changes with a budget, so the choice must not look at them.
 */
export function chooseGemv(gpu: Gpu, shape: GemvShape & { outCols: number }, sliced = false): Kernel {
  const { cols, outCols, format, accumulate } = shape;
  if (gpu.direct) return createGemvDirect(gpu, { format, accumulate });
  if (!isAffine4(format)) return createGemv(gpu, { cols, format, accumulate });
  if (format.group % 32 !== 0) return createGemvQ4(gpu, { cols, format, accumulate });
  const fewRows = oneStep(gpu, cols, 4);
  const team = !sliced && outCols < manyRows && suits(gpu, cols, fewRows) ? fewRows : usualTeam;
  return createGemvQ4Wide(gpu, { cols, format, accumulate, team });
}

/** Whether a matrix can be multiplied by units of `x` here. */
export function takesUnits(gpu: Gpu, x: UnitDtype, { cols, format }: Pick<GemvShape, 'cols' | 'format'>): boolean {
  if (gpu.direct || (isInt(x) && !gpu.int8Dot)) return false;
  return isAffine4(format) && format.group % 32 === 0 && cols % format.group === 0;
}

/**
 * What a recording runs for one token on units of `x` where nothing was measured; `shape` as for chooseGemv.
 * @throws EngineError 'shape' unless takesUnits.
 */
export function chooseGemvUnits(
  gpu: Gpu,
  shape: GemvShape & { outCols: number; x: UnitDtype; write?: Write; heads?: UnscaledHeads },
  sliced = false,
): Kernel {
  const { cols, outCols, format, accumulate, x, write, heads } = shape;
  if (!isAffine4(format)) throw new EngineError('shape', 'Units of activations need 4-bit weights.');
  const team = !sliced && outCols <= 1024 ? { rows: 2 as const, lanes: oneStepLanes(gpu, cols), teams: 1 } : undefined;
  if (team && suits(gpu, cols, team)) return createGemvQ4Units(gpu, { cols, format, accumulate, write, heads, team, x });
  const most = lanesFor(outCols);
  const lanes = !sliced && suits(gpu, cols, rowTeam(most)) ? most : 32;
  // Behind a norm workgroups of one subgroup are 8 % faster at 27B shapes on an NVIDIA H200; where rows are convolved, no size is.
  const own = write?.kind === 'normed' && isInt(x) ? { ...rowTeam(lanes), teams: 1 } : rowTeam(lanes);
  return createGemvQ4Units(gpu, { cols, format, accumulate, write, heads, team: own, x });
}

/** Threads that fill large GPUs about once. */
const manyThreads = 2 ** 16;

/** For long lists of rows: so many blocks for each team, as far as one holds them, that the workgroups fill a large GPU once. */
const blocksToFill = (outCols: number, rows: number, lanes: number): number =>
  Math.max(1, Math.min(lanes / 4, Math.ceil((outCols * lanes) / (rows * manyThreads))));

function wideTeams(gpu: Gpu, { cols, outCols }: ProductShape): WideTeam[] {
  const four = oneStep(gpu, cols, 4);
  return [
    usualTeam,
    { ...usualTeam, nibbles: 'folded' },
    // A larger share of x at once, in the memory that every device has; all of it at once where it fits.
    { ...usualTeam, kib: 16 },
    { ...usualTeam, teams: 8, kib: four.kib, nibbles: 'folded' },
    four,
    oneStep(gpu, cols, 2),
    { ...four, blocks: blocksToFill(outCols, 4, four.lanes), nibbles: 'folded' },
  ];
}

/** What a GPU may run for one token. */
export function gemvCandidates(gpu: Gpu, shape: ProductShape): Candidate[] {
  const { cols, format, accumulate } = shape;
  if (!isAffine4(format)) return [{ name: 'gemv', create: (gpu) => createGemv(gpu, { cols, format, accumulate }) }];
  const plain: Candidate = { name: 'gemv_q4', create: (gpu) => createGemvQ4(gpu, { cols, accumulate, format }) };
  if (format.group % 32 !== 0) return [plain];
  const wide = wideTeams(gpu, shape)
    .filter((team) => suits(gpu, cols, team))
    .map(
      (team): Candidate => ({
        name: `${team.x} ${wideName(team)}`,
        create: (gpu) => createGemvQ4Wide(gpu, { cols, format, accumulate, team }),
      }),
    );
  return [plain, ...wide];
}

const unitDtypes = ['f32x32', 'int8', 'int16', 'int24'] as const;

/** What a GPU may run for one token on an x in units; of integers where WGSL has an int8 dot product. */
export function gemvUnitCandidates(gpu: Gpu, { cols, format, accumulate, write, heads }: ProductShape): Candidate[] {
  if (!isAffine4(format) || format.group % 32 !== 0) return [];
  const lanes = oneStepLanes(gpu, cols);
  const teams: Team[] = [
    { rows: 2, lanes, teams: 1 },
    { rows: 4, lanes, teams: 1 },
    { rows: 4, lanes: 32, teams: 2 },
    { rows: 4, lanes: 64, teams: 1 },
  ];
  return teams
    .filter((team) => suits(gpu, cols, team))
    .flatMap((team) =>
      unitDtypes
        .filter((x) => !isInt(x) || gpu.int8Dot)
        .map(
          (x): Candidate => ({
            name: `${x} ${teamName(team)}`,
            create: (gpu) => createGemvQ4Units(gpu, { cols, format, accumulate, write, heads, team, x }),
            x,
            ...(x === 'int8' ? { tolerance: 0.01 } : {}), // three times what rounding x to int8 gives
          }),
        ),
    );
}

function create(gpu: Gpu, { cols, format, accumulate }: GemvShape, stem: string, main: string): Kernel {
  const piece = matrix(format, { from: 'several' });
  const reduce = wideReduction(gpu);
  const label = `${stem}${piece.suffix}${reduce.suffix}`;
  requireMultiple(label, 'cols', cols, format.kind === 'affine' ? format.group : 4);
  return createKernel(gpu, {
    label,
    sources: [...piece.sources, ...reduce.sources, main],
    enable: reduce.enable,
    constants: { COLS: cols, ACCUMULATE: Number(accumulate), ...piece.constants },
    bindings: { x: 'read', y: 'write' },
    weights: 'matrix',
    grid: (_, rows) => fold(Math.ceil(rows / 4)),
    rowsPerWorkgroup: 4,
  });
}

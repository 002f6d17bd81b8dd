/** One token times 4-bit weights by teams of lanes: many shapes of one loop, among which a measurement chooses. */
import gateUpUnits from '../../wgsl/gate_up_q4_units.wgsl?raw';
import sourceHeld from '../../wgsl/gemv_q4_held.wgsl?raw';
import sourceStaged from '../../wgsl/gemv_q4_staged.wgsl?raw';
import sourceUnits from '../../wgsl/gemv_q4_units.wgsl?raw';
import headSquares2 from '../../wgsl/shared/head_squares_2.wgsl?raw';
import headSquares4 from '../../wgsl/shared/head_squares_4.wgsl?raw';
import pagesAhead from '../../wgsl/shared/pages_ahead.wgsl?raw';
import q4Unit from '../../wgsl/shared/q4_unit.wgsl?raw';
import rowBlocks from '../../wgsl/shared/row_blocks.wgsl?raw';
import scaleHeads from '../../wgsl/shared/scale_heads.wgsl?raw';
import scaleNone from '../../wgsl/shared/scale_none.wgsl?raw';
import writeConvolved from '../../wgsl/shared/write_convolved.wgsl?raw';
import writeNormed from '../../wgsl/shared/write_normed.wgsl?raw';
import writeResidual from '../../wgsl/shared/write_residual.wgsl?raw';
import writeRow from '../../wgsl/shared/write_row.wgsl?raw';
import writeRowConvolved from '../../wgsl/shared/write_row_convolved.wgsl?raw';
import writeRows from '../../wgsl/shared/write_rows.wgsl?raw';
import xStaged from '../../wgsl/shared/x_staged.wgsl?raw';
import { EngineError } from '../errors';
import type { Gpu } from '../gpu/device';
import { createKernel, fold, type Kernel, type KernelSpec } from '../gpu/kernel';
import {
  type ActivationDtype,
  type Affine4,
  emission,
  isInt,
  matrix,
  requireAtMost,
  requireMultiple,
  shared,
  teamReduction,
  type UnitDtype,
  unitReader,
} from './variants';

/**
 * A team of `lanes` threads shares the columns of `rows` neighbouring rows; a workgroup holds `teams` of them: see row_blocks. `ahead`: a lane
 * asks for its next weights before it multiplies those it has.
 */
export type Team = { rows: 2 | 4; lanes: number; teams: number; ahead?: boolean };

/** A team of gemv_q4_staged, or of gemv_q4_held, which needs a lane for each 32 columns and takes `blocks` times `rows` rows. */
export type WideTeam = Team & {
  /** Workgroup memory that the kernel may use. */
  kib: number;
  /** How a nibble becomes a float: see q4_unit. 'convert' is exact. */
  nibbles: 'convert' | 'folded';
} & ({ x: 'staged' } | { x: 'held'; blocks: number });

/**
 * What becomes of W x. 'normed': x is the weighed half of an RMSNorm (createWeighUnits), and the other half of it comes here. 'convolved':
 * that, and the first `channels` of y are q, k and v of a delta rule, convolved over time with SiLU as createConv1dSilu does, state
 * [slots, 3, channels] f32 moving from step.sourceSlot to step.targetSlot; a step of no tokens leaves it as it is. 'residual':
 * y is the residual stream, [cols of the norm behind it], and grows by W x; what createWeighUnits would give of it goes to `units`, in
 * that dtype, and `squares`. Default: y = W x.
 */
export type Write =
  | { kind: 'normed'; eps: number }
  | { kind: 'convolved'; eps: number; channels: number }
  | { kind: 'residual'; units: ActivationDtype };

/**
 * Of an x as createDeltaStepUnits gives it: heads of so many units, whose norm lacks its scale, (mean(o^2) + eps)^-1/2; the squares of each unit
 * come as `headSquares` [cols/32] f32.
 */
export type UnscaledHeads = { units: number; eps: number };

type TeamShape<T> = {
  cols: number;
  format: Affine4;
  /** Add to y, as a residual connection does, in place of writing it. */
  accumulate: boolean;
  write?: Write | undefined;
  team: T;
};

const wideSource = { staged: sourceStaged, held: sourceHeld };

/**
 * y = W x for one token as createGemvQ4 computes it, in 16-byte reads.
 * @throws EngineError 'shape' unless 32 divides group, group divides cols, and the team suits cols.
 */
export function createGemvQ4Wide(gpu: Gpu, shape: Omit<TeamShape<WideTeam>, 'write'>): Kernel {
  const { cols, team } = shape;
  const spec = teamSpec(gpu, `gemv_q4_${team.x}`, shape, blocksOf(team));
  const chunk = chunkUnits(gpu, cols / 32, team);
  if (chunk === undefined) throw new EngineError('shape', `${spec.label}: the team does not suit ${cols} columns.`);
  return createKernel(gpu, {
    ...spec,
    label: `${spec.label} ${wideName(team)}`,
    sources: [...spec.sources, q4Unit, xStaged, wideSource[team.x]],
    constants: { ...spec.constants, CHUNK: chunk, FOLDED: Number(team.nibbles === 'folded') },
  });
}

/**
 * The same for an x in units of `x`. Integers are faster where the GPU multiplies int8; rounding x changes y by 1/254 of a typical
 * value (int8), or as little as f32's own roundings (int16, int24).
 * @throws EngineError 'shape' unless 32 divides group, group divides cols.
 */
export function createGemvQ4Units(
  gpu: Gpu,
  shape: TeamShape<Team> & { x: UnitDtype; heads?: UnscaledHeads | undefined },
): Kernel {
  const spec = teamSpec(gpu, 'gemv_q4_units', shape, 1);
  const reader = unitReader(shape.x);
  const scale = unitScale(shape);
  return createKernel(gpu, {
    ...spec,
    label: `${spec.label}${scale.suffix}${reader.suffix} ${teamName(shape.team)}`,
    sources: unique([...spec.sources, ...reader.sources, ...scale.sources, pagesAhead, sourceUnits]),
    constants: { ...spec.constants, ...reader.constants, ...scale.constants, AHEAD: Number(shape.team.ahead ?? false) },
    bindings: { ...spec.bindings, ...scale.bindings },
  });
}

type UnitScale = Pick<KernelSpec, 'sources' | 'bindings'> & { suffix: string; constants: Record<string, number> };

/** What a unit's part of the sums is multiplied by. */
function unitScale({ heads, write }: { heads?: UnscaledHeads | undefined; write?: Write | undefined }): UnitScale {
  if (!heads) return { suffix: '', sources: [scaleNone], constants: {}, bindings: {} };
  const { units, eps } = heads;
  if (4 % units !== 0 && units % 4 !== 0) throw new EngineError('shape', `Heads of ${units} units straddle quads of them.`);
  if (write && write.kind !== 'residual')
    throw new EngineError('internal', `No product is ${write.kind} and ends a norm of heads.`);
  return {
    suffix: ' heads',
    sources: [write ? headSquares4 : headSquares2, scaleHeads],
    constants: { HEAD_UNITS: units, HEAD_EPS: eps },
    bindings: { headSquares: 'read' },
  };
}

/** Rows of the residual stream, or of what a feed-forward layer holds, that one workgroup makes: a unit. */
const unitRows = 32;

/** Sums of a row have the same order in teams of as many lanes. */
export const rowTeam = (lanes: number): Team => ({ rows: 4, lanes, teams: 64 / lanes });

/** `lanes` for each `rows` rows of a unit. */
export const unitTeam = (lanes: number, rows: 2 | 4 = 4): Team => ({ rows, lanes, teams: unitRows / rows });

/**
 * A unit of a product with an x of `x`: its workgroups are few, so that lanes that read ahead gain where numbers are integers; what f32 needs
 * of registers leaves no room. Tried on an NVIDIA H200.
 */
export const residualTeam = (lanes: number, x: UnitDtype): Team => ({ ...unitTeam(lanes), ahead: isInt(x) });

/** Lanes for four rows of each of two matrices of `rows` rows, for pairTeam; sums of a row depend on them, and so not on parts. */
export function pairLanes(rows: number, x: UnitDtype): 16 | 32 | 64 {
  if (isInt(x) && rows > manyPairs) return 16;
  return lanesFor(2 * rows);
}

/**
 * A unit of two matrices of `rows` rows. Fastest of those tried on an NVIDIA H200 at 0.8B, 9B and 27B shapes: reading ahead as long as the GPU
 * still holds all workgroups at once, which need more registers for it.
 */
export function pairTeam(lanes: number, rows: number, x: UnitDtype): Team {
  const threads = unitTeam(lanes).teams * lanes * (rows / unitRows);
  return { ...unitTeam(lanes), ahead: isInt(x) && threads <= threadsAhead };
}

/** Rows of two matrices from which an H200 does not hold all workgroups of 256 threads at once. */
const manyPairs = 16384;
/** Threads that an H200 holds at once if each reads ahead of two matrices. */
const threadsAhead = 80 * 1024;

/** Rows that a large GPU has few of are shared by more lanes. Fastest of those tried on an NVIDIA H200 at 4B to 27B shapes. */
export const lanesFor = (outCols: number): 32 | 64 => (outCols <= 6144 ? 64 : 32);

/**
 * y = silu(gate x) * (up x) for one token, gate and up the two matrices of the dispatch, x as createWeighUnits or a product with `write`
 * gave it, in units of `x`, and squares [cols/32] f32 -> units [rows] of `units`.
 * @throws EngineError 'shape' unless 32 divides group and group divides cols.
 */
export function createGateUpQ4Units(
  gpu: Gpu,
  {
    cols,
    format,
    eps,
    team,
    x,
    units,
  }: { cols: number; format: Affine4; eps: number; team: Team; x: UnitDtype; units: ActivationDtype },
): Kernel {
  const { rows, lanes, teams } = team;
  const piece = matrix(format, { from: 'several' });
  const reduce = teamReduction(gpu, { lanes, teams, blocks: 3 });
  const reader = unitReader(x);
  const emit = emission(units);
  const label = `gate_up_q4_units${piece.suffix}${reduce.suffix}${reader.suffix} ${teamName(team)}${emit.suffix}`;
  if (rows * teams !== unitRows) throw new EngineError('shape', `${label}: ${rows * teams} rows make no unit.`);
  requireMultiple(label, 'group', format.group, 32);
  requireMultiple(label, 'cols', cols, format.group);
  return createKernel(gpu, {
    label,
    sources: unique([
      ...[...piece.sources, rowBlocks, ...reduce.sources, ...emit.sources],
      ...[...reader.sources, pagesAhead, shared.normScale, gateUpUnits],
    ]),
    enable: reduce.enable,
    constants: {
      ...{ COLS: cols, EPS: eps, AHEAD: Number(team.ahead ?? false), ...reader.constants },
      ...{ ROWS: rows, LANES: lanes, TEAMS: teams, ROW_BLOCKS: 2, BLOCKS: 3 },
      ...{ ...piece.constants, ...reduce.constants, ...emit.constants },
    },
    bindings: { x: 'read', squares: 'read', units: 'write' },
    weights: 'matrix',
    grid: (_, rows) => [rows / unitRows],
  });
}

/** Whether every part holds whole units, so that a kernel that makes units takes it. */
export const wholeUnits = (parts: readonly { firstRow: number; rows: number }[]): boolean =>
  parts.every(({ firstRow, rows }) => firstRow % unitRows === 0 && rows % unitRows === 0);

/** Lanes of a unit's team, `most` at most, that the device can run with up to three blocks of sums; undefined where it can run none. */
export function unitLanes(gpu: Gpu, cols: number, most: number): number | undefined {
  return [most, 32, 16].find((lanes) => {
    const team = unitTeam(lanes);
    return suits(gpu, cols, team) && teamReduction(gpu, { ...team, blocks: 3 }).bytes + 512 <= workgroupBytes(gpu);
  });
}

/** What the kernels of mixtures share with these: `blocks` of as many rows as the team says. */
export function expertTeam(
  gpu: Gpu,
  label: string,
  { cols, format }: { cols: number; format: Affine4 },
  { rows, lanes, teams }: Team,
  { from = 'experts', blocks = 2 }: { from?: 'experts' | 'pool' | 'several'; blocks?: 1 | 2 } = {},
) {
  const piece = matrix(format, { from });
  const reduce = teamReduction(gpu, { lanes, teams, blocks });
  requireMultiple(label, 'group', format.group, 32);
  requireMultiple(label, 'cols', cols, format.group);
  return {
    label: `${label}${piece.suffix}${reduce.suffix} ${lanes}x${teams}`,
    sources: [...piece.sources, rowBlocks, ...reduce.sources, q4Unit],
    enable: reduce.enable,
    constants: {
      ...{ COLS: cols, FOLDED: 0 },
      ...{ ROWS: rows, LANES: lanes, TEAMS: teams, ROW_BLOCKS: blocks, BLOCKS: blocks },
      ...piece.constants,
      ...reduce.constants,
    },
  };
}

function teamSpec(gpu: Gpu, stem: string, shape: TeamShape<Team>, rowBlockCount: number) {
  const { cols, format, team } = shape;
  const { rows, lanes, teams } = team;
  const piece = matrix(format, { from: 'several' });
  const endsNorm = shape.write !== undefined && shape.write.kind !== 'residual';
  const blocks = rowBlockCount + (endsNorm ? 1 : 0);
  const reduce = teamReduction(gpu, { lanes, teams, blocks });
  const writer = writerOf(shape, rows * rowBlockCount * teams);
  const label = `${stem}${piece.suffix}${reduce.suffix}${writer.suffix}`;
  requireMultiple(label, 'group', format.group, 32);
  requireMultiple(label, 'cols', cols, format.group);
  requireAtMost(label, 'blocks', blocks, lanes / 4);
  return {
    label,
    sources: [...piece.sources, rowBlocks, ...reduce.sources, ...writer.sources],
    enable: reduce.enable,
    constants: {
      ...{ COLS: cols, ROWS: rows, LANES: lanes, TEAMS: teams, ROW_BLOCKS: rowBlockCount, BLOCKS: blocks },
      ...{ ...piece.constants, ...reduce.constants, ...writer.constants },
    },
    bindings: { x: 'read', y: 'write', ...writer.bindings },
    weights: writer.weights,
    grid: (_, count) => fold(Math.ceil(count / (rows * rowBlockCount * teams))),
    rowsPerWorkgroup: rows * rowBlockCount * teams,
  } satisfies KernelSpec;
}

type Writer = Pick<KernelSpec, 'sources' | 'bindings' | 'weights'> & { suffix: string; constants: Record<string, number> };

function writerOf({ write, accumulate }: TeamShape<Team>, workgroupRows: number): Writer {
  const plain: Writer = {
    suffix: '',
    sources: [writeRow, writeRows],
    constants: { ACCUMULATE: Number(accumulate) },
    bindings: {},
    weights: 'matrix',
  };
  if (!write) return plain;
  if (write.kind === 'normed') {
    return {
      ...{ suffix: ' normed', sources: [writeRow, shared.normScale, writeNormed] },
      constants: { EPS: write.eps, ACCUMULATE: 0 },
      ...{ bindings: { squares: 'read' }, weights: 'matrix' },
    };
  }
  if (write.kind === 'convolved') {
    return {
      suffix: ' convolved',
      sources: [shared.moreParameters, shared.step, writeRowConvolved, shared.normScale, writeNormed, writeConvolved],
      constants: { EPS: write.eps, CHANNELS: write.channels },
      bindings: { squares: 'read', state: 'write', step: 'uniform' },
      weights: 'both',
    };
  }
  const emit = emission(write.units);
  if (workgroupRows !== unitRows) throw new EngineError('shape', `A workgroup of ${workgroupRows} rows makes no unit.`);
  return {
    suffix: ` residual${emit.suffix}`,
    sources: [shared.moreParameters, ...emit.sources, shared.weigh, writeResidual],
    constants: emit.constants,
    bindings: { units: 'write', squares: 'write' },
    weights: 'both',
  };
}

/** Pieces that two others need come once. */
const unique = (sources: readonly string[]): string[] => [...new Set(sources)];

const blocksOf = (team: Team | WideTeam): number => ('x' in team && team.x === 'held' ? team.blocks : 1);

/** Workgroup memory of a unit of x and its sums. */
const stagedUnitBytes = 9 * 16;

/** Units of 32 columns that are staged at a time, in equal chunks; undefined if the team does not suit so many units. */
function chunkUnits(gpu: Gpu, units: number, team: WideTeam): number | undefined {
  const { lanes, teams, kib, x } = team;
  const room = Math.floor((kib * 1024 - teamReduction(gpu, { lanes, teams, blocks: blocksOf(team) }).bytes) / stagedUnitBytes);
  if (x === 'held') return units <= lanes && room >= 1 ? equalShare(units, room) : undefined;
  return room >= lanes ? equalShare(Math.ceil(units / lanes), Math.floor(room / lanes)) * lanes : undefined;
}

/** The size of the parts when `count` are split into as few as hold at most `most`. */
const equalShare = (count: number, most: number): number => Math.ceil(count / Math.ceil(count / most));

/** Whether the device can run a team on so many columns, and has work for each lane. */
export function suits(gpu: Gpu, cols: number, team: Team | WideTeam): boolean {
  const { lanes, teams } = team;
  const { maxComputeInvocationsPerWorkgroup = 256, maxComputeWorkgroupSizeX = 256 } = gpu.adapter.limits;
  const bytes = workgroupBytes(gpu);
  const units = cols / 32;
  const blocks = blocksOf(team);
  if (lanes * teams > Math.min(maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupSizeX)) return false;
  if (lanes >= units + 32 || blocks > lanes / 4) return false;
  return 'kib' in team
    ? team.kib * 1024 <= bytes && chunkUnits(gpu, units, team) !== undefined
    : teamReduction(gpu, { lanes, teams, blocks }).bytes <= bytes;
}

/** Workgroup memory that the device has. */
export const workgroupBytes = (gpu: Gpu): number => gpu.adapter.limits.maxComputeWorkgroupStorageSize ?? 16384;

/** As many lanes as a row has units, and no more than fill whole subgroups; where those would leave many idle, multiples of 32. */
export function oneStepLanes(gpu: Gpu, cols: number): number {
  const units = cols / 32;
  const whole = (size: number) => Math.ceil(units / size) * size;
  const lanes = whole(Math.max(32, gpu.subgroups ? (gpu.subgroupSizes?.max ?? 0) : 0));
  return lanes < units + 32 ? lanes : whole(32);
}

export const teamName = ({ rows, lanes, teams, ahead }: Team): string =>
  `${rows} rows, ${lanes}x${teams}${ahead ? ' ahead' : ''}`;

export function wideName(team: WideTeam): string {
  const blocks = blocksOf(team);
  return `${teamName(team)}${blocks > 1 ? `, ${blocks} blocks` : ''}, ${team.kib} KiB ${team.nibbles}`;
}

/** One token times 4-bit weights by teams of lanes: many shapes of one loop, among which a measurement chooses. */
import sourceHeld from '../../wgsl/gemv_q4_held.wgsl?raw';
import sourceInt from '../../wgsl/gemv_q4_int.wgsl?raw';
import sourceStaged from '../../wgsl/gemv_q4_staged.wgsl?raw';
import q4Unit from '../../wgsl/shared/q4_unit.wgsl?raw';
import rowBlocks from '../../wgsl/shared/row_blocks.wgsl?raw';
import xStaged from '../../wgsl/shared/x_staged.wgsl?raw';
import { EngineError } from '../errors';
import type { Gpu } from '../gpu/device';
import { createKernel, fold, type Kernel, type KernelSpec } from '../gpu/kernel';
import { type Affine4, type IntDtype, matrix, planesOf, requireAtMost, requireMultiple, teamReduction } from './variants';

/** A team of `lanes` threads shares the columns of `rows` neighbouring rows; a workgroup holds `teams` of them: see row_blocks. */
export type Team = { rows: 2 | 4; lanes: number; teams: number };

/** A team of gemv_q4_staged, or of gemv_q4_held, which needs a lane for each 32 columns and takes `blocks` times `rows` rows. */
export type WideTeam = Team & {
  /** Workgroup memory that the kernel may use. */
  kib: number;
  /** How a nibble becomes a float: see q4_unit. 'convert' is exact. */
  nibbles: 'convert' | 'folded';
} & ({ x: 'staged' } | { x: 'held'; blocks: number });

type TeamShape<T> = {
  cols: number;
  format: Affine4;
  /** Add to y, as a residual connection does, in place of writing it. */
  accumulate: boolean;
  team: T;
};

const wideSource = { staged: sourceStaged, held: sourceHeld };

/**
 * y = W x for one token as createGemvQ4 computes it, in 16-byte reads.
 * @throws EngineError 'shape' unless 32 divides group, group divides cols, and the team suits cols.
 */
export function createGemvQ4Wide(gpu: Gpu, shape: TeamShape<WideTeam>): Kernel {
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
 * The same for an x that emit_int wrote: faster where the GPU multiplies int8. Rounding x changes y by 1/254 of a typical value
 * (int8), or as little as f32's own roundings (int16).
 * @throws EngineError 'shape' unless 32 divides group, group divides cols.
 */
export function createGemvQ4Int(gpu: Gpu, shape: TeamShape<Team> & { x: IntDtype }): Kernel {
  const spec = teamSpec(gpu, 'gemv_q4_int', shape, 1);
  return createKernel(gpu, {
    ...spec,
    label: `${spec.label} ${shape.x} ${teamName(shape.team)}`,
    sources: [...spec.sources, sourceInt],
    constants: { ...spec.constants, PLANES: planesOf(shape.x) },
  });
}

/** What the kernels of mixtures share with these: `blocks` of four rows each. */
export function expertTeam(
  gpu: Gpu,
  label: string,
  { cols, format }: { cols: number; format: Affine4 },
  { lanes, teams }: Team,
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
      ...{ ACCUMULATE: 0, COLS: cols, FOLDED: 0 },
      ...{ ROWS: 4, LANES: lanes, TEAMS: teams, BLOCKS: blocks },
      ...piece.constants,
      ...reduce.constants,
    },
  };
}

function teamSpec(gpu: Gpu, stem: string, { cols, format, accumulate, team }: TeamShape<Team>, blocks: number) {
  const { rows, lanes, teams } = team;
  const piece = matrix(format, { from: 'several' });
  const reduce = teamReduction(gpu, { lanes, teams, blocks });
  const label = `${stem}${piece.suffix}${reduce.suffix}`;
  requireMultiple(label, 'group', format.group, 32);
  requireMultiple(label, 'cols', cols, format.group);
  requireAtMost(label, 'blocks', blocks, lanes / 4);
  return {
    label,
    sources: [...piece.sources, rowBlocks, ...reduce.sources],
    enable: reduce.enable,
    constants: {
      ...{ ACCUMULATE: Number(accumulate), COLS: cols },
      ...{ ROWS: rows, LANES: lanes, TEAMS: teams, BLOCKS: blocks },
      ...piece.constants,
      ...reduce.constants,
    },
    bindings: { x: 'read', y: 'write' },
    weights: 'matrix',
    grid: (_, count) => fold(Math.ceil(count / (rows * blocks * teams))),
    rowsPerWorkgroup: rows * blocks * teams,
  } satisfies KernelSpec;
}

const blocksOf = (team: Team | WideTeam): number => ('x' in team && team.x === 'held' ? team.blocks : 1);

/** Workgroup memory of a unit of x and its sums. */
const unitBytes = 9 * 16;

/** Units of 32 columns that are staged at a time, in equal chunks; undefined if the team does not suit so many units. */
function chunkUnits(gpu: Gpu, units: number, team: WideTeam): number | undefined {
  const { lanes, teams, kib, x } = team;
  const room = Math.floor((kib * 1024 - teamReduction(gpu, { lanes, teams, blocks: blocksOf(team) }).bytes) / unitBytes);
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

export const teamName = ({ rows, lanes, teams }: Team): string => `${rows} rows, ${lanes}x${teams}`;

export function wideName(team: WideTeam): string {
  const blocks = blocksOf(team);
  return `${teamName(team)}${blocks > 1 ? `, ${blocks} blocks` : ''}, ${team.kib} KiB ${team.nibbles}`;
}

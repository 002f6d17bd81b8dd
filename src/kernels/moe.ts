/** A mixture of experts: which ones a token runs through, what they give, and their sum. */
import combine from '../../wgsl/moe_combine.wgsl?raw';
import down from '../../wgsl/moe_down.wgsl?raw';
import downQ4 from '../../wgsl/moe_down_q4.wgsl?raw';
import downSumQ4 from '../../wgsl/moe_down_sum_q4.wgsl?raw';
import gateUp from '../../wgsl/moe_gate_up.wgsl?raw';
import gateUpQ4 from '../../wgsl/moe_gate_up_q4.wgsl?raw';
import project from '../../wgsl/moe_project.wgsl?raw';
import route from '../../wgsl/moe_route.wgsl?raw';
import routeOne from '../../wgsl/moe_route_one.wgsl?raw';
import moeChoice from '../../wgsl/shared/moe_choice.wgsl?raw';
import moeRank from '../../wgsl/shared/moe_rank.wgsl?raw';
import picksGiven from '../../wgsl/shared/picks_given.wgsl?raw';
import picksRanked from '../../wgsl/shared/picks_ranked.wgsl?raw';
import writeRow from '../../wgsl/shared/write_row.wgsl?raw';
import xFar from '../../wgsl/shared/x_far.wgsl?raw';
import xNear from '../../wgsl/shared/x_near.wgsl?raw';
import xNormed from '../../wgsl/shared/x_normed.wgsl?raw';
import xTile from '../../wgsl/shared/x_tile.wgsl?raw';
import xUnits from '../../wgsl/shared/x_units.wgsl?raw';
import { EngineError } from '../errors';
import type { MatrixFormat } from '../format/types';
import type { Gpu } from '../gpu/device';
import { createKernel, fold, type Kernel, type KernelSpec } from '../gpu/kernel';
import { expertTeam, type Team, workgroupBytes } from './gemv_teams';
import { type Affine4, isAffine4, matrix, reduction, requireAtMost, requireMultiple, shared, teamReduction } from './variants';

/** Of how many experts how many are chosen; `renormalised`: their weights sum to 1. */
export type ChoiceShape = { experts: number; chosen: number; renormalised: boolean };

function rankConstants(
  label: string,
  { experts, chosen, renormalised }: ChoiceShape,
  { threads, most }: { threads: number; most: number },
) {
  requireAtMost(label, 'experts', experts, 1024);
  requireAtMost(label, 'chosen', chosen, Math.min(most, experts));
  const groups = 2 ** Math.ceil(Math.log2(chosen));
  return { EXPERTS: experts, CHOSEN: chosen, RENORMALISED: Number(renormalised), RANKERS: threads, GROUPS: groups };
}

/**
 * logits [tokens, experts] f32 -> picks [tokens, chosen] u32, the largest first and of equals the lower index, and weights
 * [tokens, chosen] f32: their softmax over all experts, or, `renormalised`, over the chosen ones.
 * @throws EngineError 'shape' for more than 1,024 experts or 64 chosen ones.
 */
export function createMoeRoute(gpu: Gpu, choice: ChoiceShape): Kernel {
  return createKernel(gpu, {
    label: 'moe_route',
    sources: [moeRank, route],
    constants: rankConstants('moe_route', choice, { threads: 256, most: 64 }),
    bindings: { logits: 'read', picks: 'write', weights: 'write' },
    grid: (tokens) => [tokens],
  });
}

/**
 * The same for one token, whose experts may not all be there: logits [experts] and slots [experts] -> picks [chosen + 1] u32, the last of
 * which counts the chosen ones that `slots` calls absent, and weights [chosen]. hidden [cols] f32 is kept in `saved`.
 * @throws EngineError 'shape' as createMoeRoute, and unless 4 divides cols.
 */
export function createMoeRouteOne(gpu: Gpu, { cols, ...choice }: ChoiceShape & { cols: number }): Kernel {
  requireMultiple('moe_route_one', 'cols', cols, 4);
  return createKernel(gpu, {
    label: 'moe_route_one',
    sources: [moeRank, moeChoice, routeOne],
    constants: { ...rankConstants('moe_route_one', choice, { threads: 256, most: 60 }), COLS: cols },
    bindings: { logits: 'read', slots: 'read', hidden: 'read', picks: 'write', weights: 'write', saved: 'write' },
    grid: () => [1],
  });
}

type MatrixKind = { cols: number; format: MatrixFormat };

/** `rows`, `cols` of one matrix of one expert; `slotBytes`: from one expert to the next in the slab. */
export type ExpertShape = {
  rows: number;
  cols: number;
  format: MatrixFormat;
  chosen: number;
  slotBytes: number;
  /** What an absent expert gives is zero, not what was there before. Of createMoeDown. */
  absentZero?: boolean;
};

/**
 * y = silu(gate x) * (up x) for every choice of every token. x [tokens, cols], y [tokens * chosen, rows] f32; picks [tokens, chosen] and
 * slots [experts] u32. Rows of an expert whose entry is `absentSlot` stay as they are.
 * @throws EngineError 'shape' unless 4 divides cols, and group divides it for affine formats.
 */
export function createMoeGateUp(gpu: Gpu, shape: ExpertShape): Kernel {
  const spec = expertSpec(gpu, 'moe_gate_up', gateUp, shape);
  return createKernel(gpu, { ...spec, constants: { ...spec.constants, CHOSEN: shape.chosen } });
}

/** y = W x for every choice of every token: x [tokens * chosen, cols], y [tokens * chosen, rows] f32; otherwise as createMoeGateUp. */
export function createMoeDown(gpu: Gpu, shape: ExpertShape): Kernel {
  const spec = expertSpec(gpu, 'moe_down', down, shape);
  return createKernel(gpu, { ...spec, constants: { ...spec.constants, ABSENT_ZERO: Number(shape.absentZero ?? false) } });
}

/**
 * createMoeGateUp for 4-bit weights on a GPU, in 16-byte reads.
 * @throws EngineError 'shape' unless 32 divides group and group divides cols.
 */
export function createMoeGateUpQ4(gpu: Gpu, shape: ExpertShape & { format: Affine4 }): Kernel {
  const spec = gateUpQ4Spec(gpu, 'moe_gate_up_q4', shape, { rows: 4, threads: gateUpThreads });
  return createKernel(gpu, {
    ...spec,
    sources: [picksGiven, ...spec.sources],
    constants: { ...spec.constants, CHOSEN: shape.chosen },
    bindings: { x: 'read', picks: 'read', slots: 'read', y: 'write' },
  });
}

/**
 * createMoeRouteOne, but for `saved`, and createMoeGateUpQ4 of its picks in one: logits [experts] -> picks and weights as there, y as here,
 * the same bits. `near`: x passes through workgroup memory, which must have room for it.
 * @throws EngineError 'shape' as both.
 */
export function createMoeRankedGateUpQ4(
  gpu: Gpu,
  shape: ExpertShape & { format: Affine4; near: boolean },
  choice: ChoiceShape,
): Kernel {
  const threads = rankingThreads(gpu, shape, choice.experts);
  const spec = gateUpQ4Spec(gpu, `moe_gate_up_q4 ranked${shape.near ? ' near' : ''}`, shape, { rows: 2, threads });
  return createKernel(gpu, {
    ...spec,
    sources: [moeRank, moeChoice, picksRanked, ...spec.sources],
    constants: { ...spec.constants, ...rankConstants(spec.label, choice, { threads, most: 60 }) },
    bindings: { x: 'read', logits: 'read', slots: 'read', y: 'write', picks: 'write', weights: 'write' },
  });
}

/**
 * `rows` of gate and as many of up share what is read of x. Four are faster for many tokens; a single one's kernels take turns, and with
 * two they fit into an H200's instruction cache (128 KB), which is worth more.
 */
function gateUpQ4Spec(
  gpu: Gpu,
  label: string,
  shape: ExpertShape & { format: Affine4; near?: boolean },
  { rows: teamRows, threads }: { rows: 2 | 4; threads: number },
) {
  const { rows, chosen, slotBytes } = shape;
  const team = { ...expertTeamOf(shape.cols, threads), rows: teamRows };
  const spec = expertTeam(gpu, label, shape, team);
  return {
    ...spec,
    sources: [...spec.sources, ...(shape.near ? [xTile, xNear] : [xUnits, xFar]), gateUpQ4],
    constants: { ...spec.constants, INNER: rows, SLOT_UNITS: slotBytes / 16 },
    weights: 'matrix',
    grid: (tokens) => [Math.ceil(rows / teamRows / team.teams), tokens * chosen],
  } satisfies Omit<KernelSpec, 'bindings'>;
}

/** Whether a workgroup's memory holds all of x beside what kernels of so many experts keep there. */
export function holdsX(gpu: Gpu, { cols, experts = 0 }: { cols: number; experts?: number }): boolean {
  const others = 6 * 1024; // sums of 128 threads, and what is small
  return tileBytes(cols) + 8 * experts + others <= workgroupBytes(gpu);
}

/** Whether createMoeRankedGateUpQ4 can do it. */
export function suitsRanked(gpu: Gpu, { format }: MatrixKind): boolean {
  return !gpu.direct && isAffine4(format) && format.group % 32 === 0;
}

/** createMoeDown likewise. */
export function createMoeDownQ4(gpu: Gpu, shape: ExpertShape & { format: Affine4 }): Kernel {
  const { rows, chosen, slotBytes } = shape;
  const team = expertTeamOf(shape.cols);
  const spec = expertTeam(gpu, 'moe_down_q4', shape, team);
  return createKernel(gpu, {
    ...spec,
    sources: [...spec.sources, xUnits, downQ4],
    constants: { ...spec.constants, OUT: rows, ABSENT_ZERO: Number(shape.absentZero ?? false), SLOT_UNITS: slotBytes / 16 },
    bindings: { x: 'read', picks: 'read', slots: 'read', y: 'write' },
    weights: 'matrix',
    grid: (tokens) => [Math.ceil(rows / 8 / team.teams), tokens * chosen],
  });
}

/** Of createMoeDownSumQ4: where in `projected` what the shared expert needs begins, in 16-byte units. */
export type SharedExpertAt = { gate: number; up: number; sharedGate: number };

/**
 * y += weighted experts + gated shared expert for one token, from what gate_up and the projections gave: createMoeDownQ4, SwiGLU and the
 * shared expert's down, and createMoeCombine in one. x [chosen * cols] f32; `projected` holds gate and up [cols] and the shared gate [1]; y
 * [rows] f32. The shared expert's matrix is the dispatch's (record 0), an expert's is record 1 and lies in `pool`. An absent expert adds 0.
 * @throws EngineError 'shape' unless 32 divides group and group divides cols.
 */
export function createMoeDownSumQ4(gpu: Gpu, shape: ExpertShape & { format: Affine4 }, at: SharedExpertAt): Kernel {
  const { chosen, slotBytes } = shape;
  const { lanes } = expertTeamOf(shape.cols);
  const rounds = Math.ceil((chosen + 1) / Math.floor(256 / lanes));
  const spec = expertTeam(
    gpu,
    'moe_down_sum_q4',
    shape,
    { rows: 4, lanes, teams: Math.ceil((chosen + 1) / rounds) },
    { from: 'pool', blocks: 1 },
  );
  return createKernel(gpu, {
    ...spec,
    sources: [...spec.sources, xUnits, downSumQ4],
    constants: {
      ...spec.constants,
      ...{ CHOSEN: chosen, SLOT_UNITS: slotBytes / 16 },
      ...{ GATE: at.gate, UP: at.up, SHARED_GATE: at.sharedGate },
    },
    bindings: {
      ...{ x: 'read', projected: 'read', picks: 'read', slots: 'read', weights: 'read', pool: 'read', y: 'write' },
    },
    weights: 'matrix',
    grid: (_, rows) => [Math.ceil(rows / 4)],
  });
}

/** Whether createMoeDownSumQ4 can do it: the shared expert is like the others. */
export function suitsDownSum(gpu: Gpu, experts: MatrixKind, sharedOne: MatrixKind): boolean {
  const { format, cols } = experts;
  const alike = JSON.stringify([format, cols]) === JSON.stringify([sharedOne.format, sharedOne.cols]);
  return alike && !gpu.direct && isAffine4(format) && format.group % 32 === 0;
}

/**
 * saved = x [cols], normed = its RMSNorm, and the products with it of up to four matrices: those of `byte` format, or of `format`. Row r of one goes to
 * y + record.a.w + r. All f32.
 * @throws EngineError 'shape' unless 32 divides both groups and these divide cols, and the pairs of both are alike.
 */
export function createMoeProject(gpu: Gpu, shape: { cols: number; eps: number; format: Affine4; bytes: MatrixFormat }): Kernel {
  const { cols, eps, format, bytes } = shape;
  if (!suitsProject(gpu, format, bytes)) throw new EngineError('shape', 'moe_project: formats that do not go together');
  const spec = expertTeam(
    gpu,
    'moe_project',
    { cols, format },
    { rows: 4, lanes: cols < 2048 ? 32 : 64, teams: 2 },
    { from: 'several', blocks: 1 },
  );
  return createKernel(gpu, {
    ...spec,
    sources: [shared.moreParameters, ...spec.sources, writeRow, xTile, xNormed, project],
    constants: { ...spec.constants, EPS: eps, ACCUMULATE: 0 },
    bindings: { x: 'read', normed: 'write', y: 'write', saved: 'write' },
    weights: 'both',
    grid: (_, rows) => [Math.ceil(rows / 8)],
    rowsPerWorkgroup: 8,
  });
}

/** Whether createMoeProject takes matrices of 4 bits beside others of `bytes`. */
export function suitsProject(gpu: Gpu, format: MatrixFormat, bytes: MatrixFormat): boolean {
  if (gpu.direct || !isAffine4(format) || bytes.kind !== 'affine') return false;
  return (
    (bytes.bits === 8 || bytes.bits === 4) && bytes.pair === format.pair && format.group % 32 === 0 && bytes.group % 32 === 0
  );
}

const gateUpThreads = 128;
/** Of a workgroup that also finds out what was chosen, which more threads do sooner where their sums still fit. */
function rankingThreads(gpu: Gpu, { cols, near }: { cols: number; near: boolean }, experts: number): number {
  const { lanes } = expertTeamOf(cols);
  const { bytes } = teamReduction(gpu, { lanes, teams: 256 / lanes, blocks: 2 });
  const small = 3 * 1024; // maxima of the threads, bounds, rows of up
  return bytes + small + 8 * experts + (near ? tileBytes(cols) : 0) <= workgroupBytes(gpu) ? 256 : gateUpThreads;
}

/** Of x_tile. */
const tileBytes = (cols: number): number => (cols / 32) * 9 * 16;

/** As many lanes as a row has units where those are few, and workgroups of `threads`. */
function expertTeamOf(cols: number, threads = gateUpThreads): Team {
  const lanes = cols <= 256 ? 8 : cols <= 512 ? 16 : 32;
  return { rows: 4, lanes, teams: threads / lanes };
}

/** What a recording runs: the exact kernel for the format and device. */
export function chooseMoeGateUp(gpu: Gpu, shape: ExpertShape): Kernel {
  const { format } = shape;
  const q4 = !gpu.direct && isAffine4(format) && format.group % 32 === 0;
  return q4 ? createMoeGateUpQ4(gpu, { ...shape, format }) : createMoeGateUp(gpu, shape);
}

export function chooseMoeDown(gpu: Gpu, shape: ExpertShape): Kernel {
  const { format } = shape;
  const q4 = !gpu.direct && isAffine4(format) && format.group % 32 === 0;
  return q4 ? createMoeDownQ4(gpu, { ...shape, format }) : createMoeDown(gpu, shape);
}

function expertSpec(gpu: Gpu, stem: string, main: string, { rows, cols, format, chosen, slotBytes }: ExpertShape) {
  const piece = matrix(format, { from: 'experts' });
  const reduce = reduction(gpu);
  const label = `${stem}${piece.suffix}${reduce.suffix}`;
  requireMultiple(label, 'cols', cols, format.kind === 'affine' ? format.group : 4);
  requireMultiple(label, 'slotBytes', slotBytes, 16);
  return {
    label,
    sources: [...piece.sources, ...reduce.sources, main],
    enable: reduce.enable,
    constants: { COLS: cols, ROWS: rows, SLOT_UNITS: slotBytes / 16, ...piece.constants, ...reduce.constants },
    bindings: { x: 'read', picks: 'read', slots: 'read', y: 'write' },
    weights: 'matrix',
    grid: (tokens) => [Math.ceil(rows / 4), tokens * chosen],
  } satisfies KernelSpec;
}

/**
 * hidden += sum of weights * experts over a token's choices, in that order, + sigmoid(sharedGate) * sharedOut.
 * experts [tokens * chosen, cols], weights [tokens, chosen], sharedOut and hidden [tokens, cols], sharedGate [tokens], all f32.
 * @throws EngineError 'shape' unless 4 divides cols.
 */
export function createMoeCombine(gpu: Gpu, { cols, chosen }: { cols: number; chosen: number }): Kernel {
  requireMultiple('moe_combine', 'cols', cols, 4);
  return createKernel(gpu, {
    label: 'moe_combine',
    sources: [shared.step, combine],
    constants: { COLS: cols, CHOSEN: chosen },
    bindings: {
      ...{ experts: 'read', weights: 'read', sharedOut: 'read', sharedGate: 'read' },
      ...{ hidden: 'write', step: 'uniform' },
    },
    grid: (tokens) => fold(Math.ceil((tokens * cols) / 256)),
  });
}

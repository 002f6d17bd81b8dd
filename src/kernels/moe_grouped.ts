/** A prompt's experts, each read once for many of its tokens: choices sorted by expert, then products of tiles of them. */
import downGrouped from '../../wgsl/moe_down_grouped.wgsl?raw';
import gateUpGrouped from '../../wgsl/moe_gate_up_grouped.wgsl?raw';
import group from '../../wgsl/moe_group.wgsl?raw';
import columnsAny from '../../wgsl/shared/columns_any.wgsl?raw';
import columnsQ4 from '../../wgsl/shared/columns_q4.wgsl?raw';
import expertGroups from '../../wgsl/shared/expert_groups.wgsl?raw';
import expertTile from '../../wgsl/shared/expert_tile.wgsl?raw';
import expertTileDirect from '../../wgsl/shared/expert_tile_direct.wgsl?raw';
import q4Rows from '../../wgsl/shared/q4_rows.wgsl?raw';
import type { Gpu } from '../gpu/device';
import { createKernel, type Kernel, type KernelSpec, kernelByTokens } from '../gpu/kernel';
import { type ChoiceShape, chooseMoeDown, chooseMoeGateUp, type ExpertShape } from './moe';
import { isAffine4, matrix, requireAtMost, requireMultiple, shared } from './variants';

/** How many experts there are; at which word behind the picks their sorted places and the tiles of them lie. */
export type GroupShape = Pick<ChoiceShape, 'experts'> & { places: number; tiles: number };

/** A workgroup makes up to 8 ty choices by 4 tx rows of gate and of up, or 8 tx of down: 10 KiB of its memory. */
const tileOf = (gpu: Gpu): { tx: number; ty?: number; choices: number } =>
  gpu.direct ? { tx: 16, choices: 4 } : { tx: 16, ty: 4, choices: 32 };

/** Tiles of one expert each that so many choices make at most. */
export function mostTiles(choices: number, experts: number, tileChoices: number): number {
  return Math.floor((choices + Math.min(choices, experts) * (tileChoices - 1)) / tileChoices);
}

/**
 * Choices of an expert, on average, from which on a tile of them costs less than each by itself, by measurement (test/bench/results.csv): on a
 * CPU adapter always; on an NVIDIA H200 lines through what 35B-A3B's prompts took at 8 and at 16 cross at 10.8.
 */
const fewestPerExpert = (gpu: Gpu): number => (gpu.direct ? 0 : 10);

/** Tokens of a chunk from which on they are grouped. */
export function groupedFrom(gpu: Gpu, { experts, chosen }: Pick<ChoiceShape, 'experts' | 'chosen'>): number {
  return Math.max(2, Math.ceil((fewestPerExpert(gpu) * experts) / chosen));
}

/**
 * picks u32 [tokens * chosen] -> behind them, from word `places` on, the choices sorted by expert, and from `tiles` on how many tiles they make, and
 * of each expert, first place and the one behind its last. Nothing for fewer than `from` tokens.
 * @throws EngineError 'shape' for more than 1,024 experts.
 */
export function createMoeGroup(gpu: Gpu, { experts, chosen, places, tiles }: GroupShape & { chosen: number }, from = 1): Kernel {
  requireAtMost('moe_group', 'experts', experts, 1024);
  return createKernel(gpu, {
    label: 'moe_group',
    sources: [shared.step, group],
    constants: { EXPERTS: experts, CHOSEN: chosen, TILE: tileOf(gpu).choices, PLACES: places, TILES: tiles },
    bindings: { picks: 'write', step: 'uniform' },
    grid: (tokens) => [tokens < from ? 0 : 1],
  });
}

/**
 * createMoeGateUp, of picks that createMoeGroup has sorted. Rows of y have the same bits whatever else is computed with them.
 * @throws EngineError 'shape' unless 4 divides cols, and group divides it for affine formats.
 */
export function createMoeGateUpGrouped(gpu: Gpu, shape: ExpertShape, groups: GroupShape): Kernel {
  const spec = groupedSpec(gpu, 'moe_gate_up_grouped', gateUpGrouped, shape, groups, 1);
  return createKernel(gpu, { ...spec, constants: { ...spec.constants, CHOSEN: shape.chosen } });
}

/** createMoeDown likewise. */
export function createMoeDownGrouped(gpu: Gpu, shape: ExpertShape, groups: GroupShape): Kernel {
  return createKernel(gpu, groupedSpec(gpu, 'moe_down_grouped', downGrouped, shape, groups, 2));
}

/** `halves` of a tile that are rows of y: both, or the one that two matrices make together. */
function groupedSpec(
  gpu: Gpu,
  stem: string,
  main: string,
  { rows, cols, format, chosen, slotBytes }: ExpertShape,
  { experts, places, tiles }: GroupShape,
  halves: 1 | 2,
) {
  const piece = matrix(format, { from: 'experts' });
  const byWord = isAffine4(format) && format.group % 8 === 0;
  const { choices, ...tile } = tileOf(gpu);
  const label = `${stem}${piece.suffix}${gpu.direct ? ' direct' : ''}`;
  requireMultiple(label, 'cols', cols, format.kind === 'affine' ? format.group : 4);
  requireMultiple(label, 'slotBytes', slotBytes, 16);
  return {
    label,
    sources: [
      ...piece.sources,
      expertGroups,
      ...(byWord ? [q4Rows, columnsQ4] : [columnsAny]),
      gpu.direct ? expertTileDirect : expertTile,
      main,
    ],
    constants: {
      ...{ COLS: cols, ROWS: rows, SLOT_UNITS: slotBytes / 16, PLACES: places, TILES: tiles, TX: tile.tx },
      ...(tile.ty === undefined ? {} : { TY: tile.ty }),
      ...piece.constants,
    },
    bindings: { x: 'read', picks: 'read', slots: 'read', y: 'write' },
    weights: 'matrix',
    grid: (tokens) => [Math.ceil(rows / (4 * tile.tx * halves)), mostTiles(tokens * chosen, experts, choices)],
  } satisfies KernelSpec;
}

/** What a recording runs for several tokens: chooseMoeGateUp, and from `from` of them on createMoeGateUpGrouped. */
export function chooseMoeGateUpMany(gpu: Gpu, shape: ExpertShape, groups: GroupShape): Kernel {
  return byTokens(gpu, shape, groups, chooseMoeGateUp(gpu, shape), createMoeGateUpGrouped(gpu, shape, groups));
}

/** The same of down. */
export function chooseMoeDownMany(gpu: Gpu, shape: ExpertShape, groups: GroupShape): Kernel {
  return byTokens(gpu, shape, groups, chooseMoeDown(gpu, shape), createMoeDownGrouped(gpu, shape, groups));
}

function byTokens(gpu: Gpu, { chosen }: ExpertShape, { experts }: GroupShape, each: Kernel, grouped: Kernel): Kernel {
  return kernelByTokens([
    { upTo: groupedFrom(gpu, { experts, chosen }) - 1, kernel: each },
    { upTo: Number.POSITIVE_INFINITY, kernel: grouped },
  ]);
}

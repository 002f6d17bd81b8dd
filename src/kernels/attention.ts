import source from '../../wgsl/attention.wgsl?raw';
import sourceCombine from '../../wgsl/attention_combine.wgsl?raw';
import sourceCombineUnits from '../../wgsl/attention_combine_units.wgsl?raw';
import sourceDirect from '../../wgsl/attention_direct.wgsl?raw';
import sourceSplit from '../../wgsl/attention_split.wgsl?raw';
import sourceTiled from '../../wgsl/attention_tiled.wgsl?raw';
import partSums from '../../wgsl/shared/part_sums.wgsl?raw';
import type { Gpu } from '../gpu/device';
import { createKernel, type Kernel, kernelByTokens } from '../gpu/kernel';
import {
  type ActivationDtype,
  emission,
  type KvDtype,
  kvCache,
  requireAtMost,
  requireMultiple,
  shared,
  wideReduction,
} from './variants';

export type AttentionShape = { heads: number; kvHeads: number; headDim: number; kv: KvDtype };

/**
 * Causal softmax(q k^T / sqrt(headDim)) v * sigmoid(gate), online softmax over blocks of 64 keys (Dao et al., 2022).
 * q [tokens, heads, headDim], qGate [tokens, heads, 2, headDim] f32, keys, values [capacity, kvHeads, headDim] of `kv`
 * -> y [tokens, heads * headDim] f32.
 * @throws EngineError 'shape' unless 4 divides headDim <= 256 and kvHeads divides heads.
 */
export function createAttention(gpu: Gpu, { heads, kvHeads, headDim, kv }: AttentionShape): Kernel {
  const reduce = wideReduction(gpu);
  const cache = kvCache(kv);
  const label = `attention${cache.suffix}${reduce.suffix}`;
  requireMultiple(label, 'headDim', headDim, 4);
  requireAtMost(label, 'headDim', headDim, 256);
  requireMultiple(label, 'heads', heads, kvHeads);
  return createKernel(gpu, {
    label,
    sources: [shared.step, ...cache.sources, ...reduce.sources, source],
    enable: reduce.enable,
    constants: { HEADS: heads, KV_HEADS: kvHeads, HEAD_DIM: headDim },
    bindings: { q: 'read', qGate: 'read', keys: 'read', values: 'read', y: 'write', step: 'uniform' },
    grid: (tokens) => [heads, tokens],
  });
}

/**
 * The same without workgroup memory or barriers: for CPU adapters, where both are slow.
 * @throws EngineError 'shape' as createAttention.
 */
export function createAttentionDirect(gpu: Gpu, { heads, kvHeads, headDim, kv }: AttentionShape): Kernel {
  const cache = kvCache(kv);
  const label = `attention_direct${cache.suffix}`;
  requireMultiple(label, 'headDim', headDim, 4);
  requireAtMost(label, 'headDim', headDim, 256);
  requireMultiple(label, 'heads', heads, kvHeads);
  return createKernel(gpu, {
    label,
    sources: [shared.step, ...cache.sources, sourceDirect],
    constants: { HEADS: heads, KV_HEADS: kvHeads, HEAD_DIM: headDim },
    bindings: { q: 'read', qGate: 'read', keys: 'read', values: 'read', y: 'write', step: 'uniform' },
    grid: (tokens) => [Math.ceil((tokens * heads) / 64)],
  });
}

/**
 * A tile of `rows` query rows, four threads each. `wide`: a thread scores 8 rows by 4 keys, not 4 by 4. `ahead`: it reads the next
 * dimensions while it multiplies.
 */
export type AttentionTile = { rows: 32 | 64; wide: boolean; ahead: boolean };

/** Query rows of one token and key head, and workgroups for `tokens` of them. */
const tilesOf = ({ heads, kvHeads }: AttentionShape, { rows }: AttentionTile, tokens: number): number =>
  Math.ceil((tokens * heads) / kvHeads / rows);

/**
 * The same for the many tokens of a prompt: the queries that share a key head, of several tokens, read it once (FlashAttention; Dao et
 * al., 2022). From tile step.firstTile on, so that one that takes long can go in pieces.
 * @throws EngineError 'shape' as createAttention.
 */
export function createAttentionTiled(gpu: Gpu, { tile, ...shape }: AttentionShape & { tile: AttentionTile }): Kernel {
  const { heads, kvHeads, headDim, kv } = shape;
  const { rows, wide, ahead } = tile;
  const cache = kvCache(kv);
  const label = `attention_tiled${cache.suffix} ${attentionTileName(tile)}`;
  requireMultiple(label, 'headDim', headDim, 4);
  requireAtMost(label, 'headDim', headDim, 256);
  requireMultiple(label, 'heads', heads, kvHeads);
  return createKernel(gpu, {
    label,
    sources: [shared.step, ...cache.sources, sourceTiled],
    constants: {
      ...{ HEADS: heads, KV_HEADS: kvHeads, HEAD_DIM: headDim },
      ...{ ROWS: rows, WIDE: Number(wide), AHEAD: Number(ahead) },
    },
    bindings: { q: 'read', qGate: 'read', keys: 'read', values: 'read', y: 'write', step: 'uniform' },
    grid: (tokens) => [kvHeads, tilesOf(shape, tile, tokens)],
    tiles: true,
  });
}

export const attentionTileName = ({ rows, wide, ahead }: AttentionTile): string =>
  `${rows} rows${wide ? ' wide' : ''}${ahead ? ' ahead' : ''}`;

/** Shapes that fit the 16 KiB of workgroup memory that every device has. */
const attentionTiles: readonly AttentionTile[] = [false, true].flatMap((ahead) => [
  { rows: 32, wide: false, ahead },
  { rows: 32, wide: true, ahead },
  { rows: 64, wide: false, ahead },
]);

/** What a GPU may run for several tokens. */
export const attentionCandidates = (shape: AttentionShape): { name: string; create(gpu: Gpu): Kernel }[] => [
  { name: 'a workgroup each', create: (gpu) => createAttention(gpu, shape) },
  ...attentionTiles.map((tile) => ({
    name: `tile ${attentionTileName(tile)}`,
    create: (gpu: Gpu) => createAttentionTiled(gpu, { ...shape, tile }),
  })),
];

/** Up to so many tokens there are too few tiles to fill a large GPU, and one counts by how long it takes (test/bench/results.csv). */
const fewTokens = 128;

/** What a recording runs for several tokens. */
export function chooseAttention(gpu: Gpu, shape: AttentionShape): Kernel {
  if (gpu.direct) return createAttentionDirect(gpu, shape);
  const tiled = (wide: boolean) => createAttentionTiled(gpu, { ...shape, tile: { rows: 32, wide, ahead: true } });
  return kernelByTokens([
    { upTo: fewTokens, kernel: tiled(true) },
    { upTo: Number.POSITIVE_INFINITY, kernel: tiled(false) },
  ]);
}

/** `parts`: pieces that the context is cut into at most, 128 say, or as many blocks of 64 keys as there can be. */
export type SplitAttentionShape = AttentionShape & { parts: number };

/**
 * The first half of the same for one token: softmax sums over each part of the context, all queries of a key head together, so
 * that the parts run side by side and a key is read once (flash decoding; Dao et al., 2023).
 * q, keys, values as above -> sums [parts, heads, headDim], stats [parts, heads, 2] f32, for createAttentionCombine.
 * @throws EngineError 'shape' as createAttention.
 */
export function createAttentionSplit(gpu: Gpu, { heads, kvHeads, headDim, kv, parts }: SplitAttentionShape): Kernel {
  const cache = kvCache(kv);
  const label = `attention_split${cache.suffix}`;
  requireMultiple(label, 'headDim', headDim, 4);
  requireAtMost(label, 'headDim', headDim, 256);
  requireMultiple(label, 'heads', heads, kvHeads);
  const group = groupOf(heads / kvHeads);
  return createKernel(gpu, {
    label,
    sources: [shared.step, shared.contextParts, ...cache.sources, sourceSplit],
    constants: { HEADS: heads, KV_HEADS: kvHeads, HEAD_DIM: headDim, GROUP: group, PARTS: parts },
    bindings: { q: 'read', keys: 'read', values: 'read', sums: 'write', stats: 'write', step: 'uniform' },
    grid: () => [heads / group, parts],
  });
}

/** Queries that one workgroup takes: all of a key head, or a share of them where they are more than eight. */
function groupOf(queries: number): number {
  let group = Math.min(8, queries);
  while (queries % group !== 0) group--;
  return group;
}

/**
 * The second half: sums, stats of createAttentionSplit, qGate [heads, 2, headDim] f32 -> y [heads * headDim] f32.
 * @throws EngineError 'shape' unless 4 divides headDim.
 */
export function createAttentionCombine(
  gpu: Gpu,
  { heads, headDim, parts }: Pick<SplitAttentionShape, 'heads' | 'headDim' | 'parts'>,
): Kernel {
  const reduce = wideReduction(gpu);
  const label = `attention_combine${reduce.suffix}`;
  requireMultiple(label, 'headDim', headDim, 4);
  return createKernel(gpu, {
    label,
    sources: [shared.step, shared.contextParts, ...reduce.sources, partSums, sourceCombine],
    enable: reduce.enable,
    constants: { HEADS: heads, HEAD_DIM: headDim, PARTS: parts },
    bindings: { y: 'write', sums: 'read', stats: 'read', qGate: 'read', step: 'uniform' },
    grid: () => [Math.ceil(headDim / 32), heads],
  });
}

/**
 * The same -> y [heads * headDim] of `y`, for a matrix product to read.
 * @throws EngineError 'shape' unless 32 divides headDim.
 */
export function createAttentionCombineUnits(
  gpu: Gpu,
  { heads, headDim, parts, y }: Pick<SplitAttentionShape, 'heads' | 'headDim' | 'parts'> & { y: ActivationDtype },
): Kernel {
  const reduce = wideReduction(gpu);
  const emit = emission(y);
  const label = `attention_combine_units${reduce.suffix}${emit.suffix}`;
  requireMultiple(label, 'headDim', headDim, 32);
  return createKernel(gpu, {
    label,
    sources: [shared.step, shared.contextParts, ...reduce.sources, partSums, ...emit.sources, sourceCombineUnits],
    enable: reduce.enable,
    constants: { HEADS: heads, HEAD_DIM: headDim, PARTS: parts, ...emit.constants },
    bindings: { units: 'write', sums: 'read', stats: 'read', qGate: 'read', step: 'uniform' },
    grid: () => [headDim / 32, heads],
  });
}

/**
 * Qwen3-Next keeps the input projections of a GatedDeltaNet layer together, rows grouped by key head: `in_proj_qkvz` has, for each, its
 * rows of q, k, then those of the value heads that share it of v and z; `in_proj_ba` likewise b and a. Source: qwen3_next in transformers.
 */
import { EngineError } from '../errors';
import { describeMatrix, type Lookup, rowsOfMatrix } from './parameters';
import type { DeltaNetLayerTensors, MatrixSource, ModelConfig } from './types';

type Projections = Pick<DeltaNetLayerTensors, 'inProjQkv' | 'inProjZ' | 'inProjB' | 'inProjA'>;
type Run = { firstRow: number; rows: number };

/** undefined where the checkpoint has the four projections apart. */
export function describeGroupedProjections(lookup: Lookup, module: string, config: ModelConfig): Projections | undefined {
  const names = [`${module}.in_proj_qkvz`, `${module}.in_proj_ba`] as const;
  if (!names.some((name) => lookup.directory.has(`${name}.weight`))) return undefined;
  const { linearNumKeyHeads: heads, linearNumValueHeads, linearKeyHeadDim: keyDim, linearValueHeadDim, hiddenSize } = config;
  const ratio = linearNumValueHeads / heads;
  const values = ratio * linearValueHeadDim;
  const group = 2 * keyDim + 2 * values;
  const qkvz = describeMatrix(lookup, names[0], heads * group, hiddenSize);
  const ba = describeMatrix(lookup, names[1], 2 * linearNumValueHeads, hiddenSize);
  const runs = (groupRows: number, at: number, rows: number): Run[] =>
    Array.from({ length: heads }, (_, head) => ({ firstRow: head * groupRows + at, rows }));
  const [q, k, v] = [runs(group, 0, keyDim), runs(group, keyDim, keyDim), runs(group, 2 * keyDim, values)];
  return {
    inProjQkv: pick(names[0], qkvz, [...q, ...k, ...v]),
    inProjZ: pick(names[0], qkvz, runs(group, 2 * keyDim + values, values)),
    inProjB: pick(names[1], ba, runs(2 * ratio, 0, ratio)),
    inProjA: pick(names[1], ba, runs(2 * ratio, ratio, ratio)),
  };
}

/** @throws EngineError 'unsupported' where a run would not begin on 16 bytes in GPU memory. */
function pick(module: string, whole: MatrixSource, runs: readonly Run[]): MatrixSource {
  const bits = whole.kind === 'affine' ? [whole.bits * whole.cols, (whole.cols / whole.groupSize) * 32] : [];
  if (runs.length > 1 && runs.some(({ rows }) => bits.some((rowBits) => (rows * rowBits) % 128 !== 0)))
    throw new EngineError(
      'unsupported',
      `${module}: groups of ${runs[0]!.rows} rows of ${whole.cols} do not fill 16 bytes each.`,
    );
  return rowsOfMatrix(whole, runs);
}

/** The matrices that a token is multiplied by, one entry per shape. */
import type { MatrixFormat } from '../format/types';
import type { MatrixBlocks } from '../plan/blocks';
import type { ModelUnits } from '../plan/units';

/** `label`: the modules of this shape. `perToken`: how many matrices of it a token passes. */
export type BenchMatrix = { label: string; rows: number; cols: number; format: MatrixFormat; perToken: number; head: boolean };

/** In the order of use, each shape where it occurs first. */
export function matricesOf({ layers, head }: Pick<ModelUnits, 'layers' | 'head'>): BenchMatrix[] {
  const shapes = new Map<string, BenchMatrix & { modules: Set<string> }>();
  const add = (matrix: MatrixBlocks, isHead: boolean) => {
    const { rows, cols, format } = matrix;
    const key = JSON.stringify([rows, cols, format, isHead]);
    const entry = shapes.get(key) ?? { label: '', rows, cols, format, perToken: 0, head: isHead, modules: new Set<string>() };
    entry.perToken += 1;
    entry.modules.add(isHead ? 'lm_head' : moduleOf(matrix));
    shapes.set(key, entry);
  };
  for (const { mixer, mlp } of layers) for (const matrix of [...Object.values(mixer), ...Object.values(mlp)]) add(matrix, false);
  for (const { matrix } of head) add(matrix, true);
  return [...shapes.values()].map(({ modules, ...shape }) => ({ ...shape, label: [...modules].join(' ') }));
}

/** `layers.3.mlp.up_proj[0..8)` -> `up_proj`. */
function moduleOf({ parts }: MatrixBlocks): string {
  return parts[0]!.block.label.replace(/\[.*$/, '').split('.').at(-1)!;
}

/** The same matrices, small enough for a CPU adapter, in whole groups; what becomes equal is one. */
export function shrunk(matrices: readonly BenchMatrix[], { rows, cols }: { rows: number; cols: number }): BenchMatrix[] {
  const shapes = new Map<string, BenchMatrix>();
  for (const matrix of matrices) {
    const small = { ...matrix, rows: Math.min(matrix.rows, rows), cols: Math.min(matrix.cols, cols) };
    const key = JSON.stringify([small.rows, small.cols, small.format]);
    const known = shapes.get(key);
    if (known) {
      known.label += ` ${small.label}`;
      known.perToken += small.perToken;
      known.head &&= small.head;
    } else shapes.set(key, small);
  }
  return [...shapes.values()];
}

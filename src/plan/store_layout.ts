/**
 * How a model lies in the store: a file for each unit, in the order of use, holding its matrices as GPU memory wants them (words,
 * then interleaved pairs), so that any rows of any matrix are two plain copies and a whole unit is one sequential read. It
 * depends on the checkpoint only, never on a budget. Small parameters keep their own bytes.
 */
import type { CheckpointTensors } from '../format/types';
import type { Fill, StoreIndex } from './blocks';
import { modelUnits } from './units';
import { fillBytes, sourcesOf } from './windows';

/** Changes when the layout does: a stored model of another version is rewritten locally. */
export const storeLayoutVersion = 1;

/** Fills that make a store file from the checkpoint; only copies, rows and pairs, which can be undone. */
export type StoreFile = { name: string; byteLength: number; fills: Fill[] };

export function storeLayout(tensors: CheckpointTensors): { files: StoreFile[]; index: StoreIndex } {
  const { units, vectors } = modelUnits(tensors, { slotBytes: 2 ** 50, residentEmbedding: true });
  const index = new Map<string, { file: string; byteOffset: number }>();
  const files: StoreFile[] = [smallParameters(vectors.blocks, index)];
  for (const unit of units) {
    const name = `${unit.label}.bin`;
    const fills: Fill[] = [];
    for (const { block, byteOffset } of unit.images.flatMap(({ blocks }) => blocks)) {
      index.set(block.label, { file: name, byteOffset });
      for (const fill of block.fills) fills.push({ ...fill, at: fill.at + byteOffset });
    }
    files.push({ name, byteLength: unit.bytes, fills });
  }
  return { files, index };
}

function smallParameters(
  blocks: readonly { block: { label: string; fills: Fill[] } }[],
  index: Map<string, { file: string; byteOffset: number }>,
): StoreFile {
  const name = 'vectors.bin';
  const fills: Fill[] = [];
  let byteLength = 0;
  for (const { block } of blocks) {
    for (const [position, fill] of block.fills.entries()) {
      const [from] = sourcesOf(fill);
      const copy: Fill = { kind: 'copy', at: byteLength, from: from! };
      fills.push(copy);
      index.set(`${block.label} ${position}`, { file: name, byteOffset: byteLength });
      byteLength += Math.ceil(fillBytes(copy) / 16) * 16;
    }
  }
  return { name, byteLength, fills };
}

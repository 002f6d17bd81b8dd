/**
 * How a model lies in the store: a file for each unit, and one for each layer's experts, one behind the other, in the order of use, holding its matrices as GPU memory wants them (words,
 * then interleaved pairs), so that any rows of any matrix are two plain copies and a whole unit is one sequential read. It
 * depends on the checkpoint only, never on a budget. Small parameters keep their own bytes.
 */
import type { CheckpointTensors } from '../format/types';
import type { Fill, StoreIndex } from './blocks';
import type { ExpertLayer } from './experts';
import { modelUnits } from './units';
import { fillBytes, type SlotImage, sourcesOf } from './windows';

/** Changes when the layout does: a stored model of another version is rewritten locally. */
export const storeLayoutVersion = 1;

/** Fills that make a store file from the checkpoint; only copies, rows and pairs, which can be undone. */
export type StoreFile = { name: string; byteLength: number; fills: Fill[] };

export function storeLayout(tensors: CheckpointTensors): { files: StoreFile[]; index: StoreIndex } {
  const { units, vectors, layers } = modelUnits(tensors, { slotBytes: 2 ** 50, residentEmbedding: true });
  const index: Index = new Map();
  const files: StoreFile[] = [smallParameters(vectors.blocks, index)];
  const experts = new Map(layers.map(({ moe }, i) => [`layers.${i}.mlp`, moe?.experts]));
  for (const { label, images } of units) {
    files.push(fileOf(label, images, index));
    const own = experts.get(label);
    if (own) files.push(fileOf(own.label, imagesOf(own), index));
  }
  return { files, index };
}

type Index = Map<string, { file: string; byteOffset: number }>;

/** Images one behind the other. */
function fileOf(label: string, images: Iterable<SlotImage>, index: Index): StoreFile {
  const name = `${label}.bin`;
  const fills: Fill[] = [];
  let start = 0;
  for (const { bytes, blocks } of images) {
    for (const { block, byteOffset } of blocks) {
      index.set(block.label, { file: name, byteOffset: start + byteOffset });
      for (const fill of block.fills) fills.push({ ...fill, at: fill.at + start + byteOffset });
    }
    start += bytes;
  }
  return { name, byteLength: start, fills };
}

function* imagesOf({ count, image }: ExpertLayer): Generator<SlotImage, void, undefined> {
  for (let expert = 0; expert < count; expert++) yield image(expert);
}

function smallParameters(blocks: readonly { block: { label: string; fills: Fill[] } }[], index: Index): StoreFile {
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

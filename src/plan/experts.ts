/**
 * The experts of a mixture. One expert (gate, up and down with their scales) is one image, all of a layer alike: what is read, uploaded
 * and kept whole. A pool has slots for some of them, or for all; which expert lies in which slot is found out at run time.
 */
import { EngineError } from '../errors';
import type { MatrixFormat, MlpTensors, MoeTensors } from '../format/types';
import { align16, type MatrixBlocks, matrixFormat, matrixPart, type StoreIndex } from './blocks';
import type { SlotImage } from './windows';

export const expertMatrices = ['gateProj', 'upProj', 'downProj'] as const;
export type ExpertMatrix = (typeof expertMatrices)[number];
export const tensorNames: Record<ExpertMatrix, string> = { gateProj: 'gate_proj', upProj: 'up_proj', downProj: 'down_proj' };

/** The first expert of a layer stands for all: shapes, formats and places within an expert are the same. */
export type ExpertLayer = {
  label: string;
  count: number;
  /** Of one expert. */
  bytes: number;
  matrices: Record<ExpertMatrix, MatrixBlocks>;
  /** Byte offset of each matrix in the image. */
  at: Record<ExpertMatrix, number>;
  /** What to read for one expert. @throws EngineError 'format' where it is not like the first. */
  image(index: number): SlotImage;
};

export function expertLayer(label: string, tensors: MoeTensors, stored?: StoreIndex): ExpertLayer {
  const first = packExpert(`${label}.0`, tensors.expert(0), stored);
  return {
    label,
    count: tensors.count,
    bytes: first.image.bytes,
    matrices: first.matrices,
    at: first.at,
    image: (index) => {
      const { image, matrices } = packExpert(`${label}.${index}`, tensors.expert(index), stored);
      const alike = expertMatrices.every((name) => sameFormat(matrices[name].format, first.matrices[name].format));
      if (!alike)
        throw new EngineError('format', `${label}: expert ${index} is not stored as expert 0 is. Convert the model again.`);
      return image;
    },
  };
}

/** Compared for every expert that is read. */
function sameFormat(a: MatrixFormat, b: MatrixFormat): boolean {
  if (a.kind === 'float') return b.kind === 'float' && a.dtype === b.dtype;
  return b.kind === 'affine' && a.bits === b.bits && a.group === b.group && a.pair === b.pair;
}

function packExpert(label: string, tensors: MlpTensors, stored: StoreIndex | undefined) {
  const image: SlotImage = { label, bytes: 0, blocks: [] };
  const matrices = {} as Record<ExpertMatrix, MatrixBlocks>;
  const at = {} as Record<ExpertMatrix, number>;
  for (const name of expertMatrices) {
    const source = tensors[name];
    const part = matrixPart(`${label}.${tensorNames[name]}`, source, 0, source.rows, stored);
    matrices[name] = { rows: source.rows, cols: source.cols, format: matrixFormat(source), parts: [part] };
    at[name] = image.bytes;
    image.blocks.push({ block: part.block, byteOffset: image.bytes });
    image.bytes = align16(image.bytes + part.block.bytes);
  }
  return { image, matrices, at };
}

/** Slots of equal size in one buffer, for the experts of layers [firstLayer, firstLayer + layers). */
export type ExpertSlab = { firstLayer: number; layers: number; slots: number; bytes: number };

/** The slab of a layer. */
export function slabOf({ slabs }: Pick<ExpertPool, 'slabs'>, layer: number): number {
  return slabs.findIndex(({ firstLayer, layers }) => layer < firstLayer + layers);
}

export type ExpertPool = {
  slotBytes: number;
  slabs: ExpertSlab[];
  /** Experts of all layers, and how many of them a token runs through. */
  of: number;
  perToken: number;
  /** What a token fetches where a text reuses experts as usual. */
  expectedBytesPerToken: number;
  /** Every expert has a slot of its own. */
  complete: boolean;
  bytes: number;
};

const mib = 1024 * 1024;
/** Larger ones serve more layers at once, which evens out what each needs; but not every browser allocates them. */
const usualSlabBytes = 1024 * mib;

export type PoolShape = {
  layers: number;
  experts: number;
  /** Of a token in one layer: the fewest slots with which a layer can be computed at all. */
  chosen: number;
  slotBytes: number;
  /** Largest slab that the device binds. */
  slabBytes: number;
};

/**
 * As many slots as `bytes` hold, at most one for every expert; undefined if that is too little for any layer. A layer's slots lie in one
 * slab, so that one binding reaches all of them.
 */
export function expertPool(shape: PoolShape, bytes: number): ExpertPool | undefined {
  const { layers, experts, chosen, slotBytes, slabBytes } = shape;
  const perSlab = Math.floor(slabBytes / slotBytes);
  const usual = Math.max(1, Math.min(perSlab, Math.floor(Math.max(usualSlabBytes, experts * slotBytes) / slotBytes)));
  const wanted = Math.min(Math.floor(bytes / slotBytes), layers * Math.min(experts, perSlab));
  const together = Math.max(1, Math.floor(usual / experts)); // layers whose experts a slab holds whole
  const count =
    wanted === layers * experts ? Math.ceil(layers / together) : Math.min(layers, Math.max(1, Math.ceil(wanted / usual)));
  const slabs: ExpertSlab[] = [];
  for (let i = 0; i < count; i++) {
    const firstLayer = Math.floor((layers * i) / count);
    const of = Math.floor((layers * (i + 1)) / count) - firstLayer;
    const share = Math.floor((wanted * (firstLayer + of)) / layers) - Math.floor((wanted * firstLayer) / layers);
    const slots = Math.min(share, of * experts, perSlab);
    if (slots < Math.min(chosen, experts)) return undefined;
    slabs.push({ firstLayer, layers: of, slots, bytes: slots * slotBytes });
  }
  const complete = slabs.every((slab) => slab.slots === slab.layers * experts);
  const held = slabs.reduce((sum, { slots }) => sum + slots, 0);
  const perToken = layers * chosen;
  const expectedBytesPerToken = (1 - expectedHitRate(held / (layers * experts))) * perToken * slotBytes;
  return { slotBytes, slabs, of: layers * experts, perToken, expectedBytesPerToken, complete, bytes: held * slotBytes };
}

/**
 * Share of choices whose expert is there when the least recently used make room: what real text asked of a 35B-A3B at 25, 50 and 75 % of
 * its experts (the middle of 76 to 87, 94 to 96 and 98 to 99), straight lines between.
 */
const hitRates: [held: number, rate: number][] = [
  [0, 0],
  [0.25, 0.815],
  [0.5, 0.95],
  [0.75, 0.985],
  [1, 1],
];

function expectedHitRate(held: number): number {
  const end = Math.max(
    1,
    hitRates.findIndex(([share]) => share >= held),
  );
  const [[x0, y0], [x1, y1]] = [hitRates[end - 1]!, hitRates[end]!];
  return y0 + ((y1 - y0) * (held - x0)) / (x1 - x0);
}

/** Bytes of the smallest pool. */
export function leastPoolBytes({ chosen, experts, slotBytes }: PoolShape): number {
  return Math.min(chosen, experts) * slotBytes;
}

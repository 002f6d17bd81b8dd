/**
 * A unit is the set of bytes that one piece of the computation needs: a layer's mixer, its MLP, a slice of the head. Between units
 * only the residual stream lives on, so a unit is loaded once and run over every token of a pass. Units are what a planner moves,
 * in this order; each is packed into images, a slot's worth of bytes each.
 */
import type { AttentionLayerTensors, CheckpointTensors, DeltaNetLayerTensors, LayerTensors, MatrixSource } from '../format/types';
import {
  type Block,
  blockBytes,
  type MatrixBlocks,
  type MatrixPart,
  matrixFormat,
  matrixPart,
  requireRow,
  rowsWithin,
  type StoreIndex,
  type VectorBlock,
  vectorBlock,
} from './blocks';
import { type ExpertLayer, expertLayer } from './experts';
import type { SlotImage } from './windows';

export type Unit = { label: string; kind: 'embed' | 'mixer' | 'mlp' | 'head'; bytes: number; images: SlotImage[] };

/** Beside the shared expert, which is the layer's `mlp`. */
export type MoeLayer = { router: MatrixBlocks; sharedGate: MatrixBlocks; experts: ExpertLayer };

export type MlpMatrices = { gateProj: MatrixBlocks; upProj: MatrixBlocks; downProj: MatrixBlocks };

export type AttentionLayer = {
  kind: 'full_attention';
  vectors: VectorBlock<'inputNorm' | 'postAttentionNorm' | 'qNorm' | 'kNorm'>;
  mixer: { qProj: MatrixBlocks; kProj: MatrixBlocks; vProj: MatrixBlocks; oProj: MatrixBlocks };
  mlp: MlpMatrices;
  moe?: MoeLayer;
};

export type DeltaNetLayer = {
  kind: 'linear_attention';
  vectors: VectorBlock<'inputNorm' | 'postAttentionNorm' | 'conv1d' | 'negExpA' | 'dtBias' | 'norm'>;
  mixer: { inProjQkv: MatrixBlocks; inProjZ: MatrixBlocks; inProjB: MatrixBlocks; inProjA: MatrixBlocks; outProj: MatrixBlocks };
  mlp: MlpMatrices;
  moe?: MoeLayer;
};

export type ModelLayer = AttentionLayer | DeltaNetLayer;

/** Words [firstWord, firstWord + words) of the vocabulary; `matrix` counts its rows from firstWord. */
export type HeadSlice = { firstWord: number; words: number; matrix: MatrixBlocks };

export type ModelUnits = {
  /** Every unit in the order of use; `layers` and `head` point into them. */
  units: Unit[];
  /** All small parameters: a thousandth of the bytes, and needed at several points of a layer, so always resident. */
  vectors: SlotImage;
  /** undefined: rows are read from the file as tokens need them. */
  embedTokens: MatrixBlocks | undefined;
  layers: ModelLayer[];
  finalNorm: VectorBlock<'norm'>;
  head: HeadSlice[];
};

export type UnitOptions = {
  /** Largest image. */
  slotBytes: number;
  /** Keep the embedding table in GPU memory (a tied one shares the head's bytes), and the head in one slice. */
  residentEmbedding: boolean;
  stored?: StoreIndex;
};

/** @throws EngineError 'budget' if one row of a matrix is larger than a slot. */
export function modelUnits(tensors: CheckpointTensors, options: UnitOptions): ModelUnits {
  const { residentEmbedding, stored } = options;
  const units: Unit[] = [];
  const pack = <Name extends string>(label: string, kind: Unit['kind'], matrices: Record<Name, [string, MatrixSource]>) => {
    const packer = new Packer(label, kind, options);
    const placed = {} as Record<Name, MatrixBlocks>;
    for (const [name, [tensor, source]] of Object.entries(matrices) as [Name, [string, MatrixSource]][])
      placed[name] = packer.add(tensor, source);
    units.push(packer.unit);
    return placed;
  };
  const headSource = tensors.lmHead ?? tensors.embedTokens;
  const headLabel = tensors.lmHead ? 'lm_head' : 'embed_tokens';
  const untied = residentEmbedding && tensors.lmHead;
  const embed = untied ? pack('embed', 'embed', { embed: ['embed_tokens', tensors.embedTokens] }).embed : undefined;
  // A tied head that is also the embedding is needed first.
  const early = residentEmbedding && !tensors.lmHead ? headSlices(headLabel, headSource, options, units) : undefined;
  const layers = tensors.layers.map((layer, index) => modelLayer(`layers.${index}`, layer, pack, options));
  const head = early ?? headSlices(headLabel, headSource, options, units);
  const finalNorm = vectorBlock('norm', { norm: tensors.finalNorm }, stored);
  return {
    units,
    vectors: packVectors([...layers.map(({ vectors }) => vectors.block), finalNorm.block]),
    embedTokens: embed ?? (residentEmbedding ? head[0]!.matrix : undefined),
    layers,
    finalNorm,
    head,
  };
}

type Pack = <Name extends string>(
  label: string,
  kind: Unit['kind'],
  matrices: Record<Name, [string, MatrixSource]>,
) => Record<Name, MatrixBlocks>;

function modelLayer(label: string, layer: LayerTensors, pack: Pack, { stored }: UnitOptions): ModelLayer {
  const mixed = layer.kind === 'full_attention' ? attention(label, layer, pack, stored) : deltaNet(label, layer, pack, stored);
  const { gateProj, upProj, downProj } = layer.mlp;
  const matrices: Record<keyof MlpMatrices, [string, MatrixSource]> = {
    gateProj: [`${label}.mlp.gate_proj`, gateProj],
    upProj: [`${label}.mlp.up_proj`, upProj],
    downProj: [`${label}.mlp.down_proj`, downProj],
  };
  if (!layer.moe) return { ...mixed, mlp: pack(`${label}.mlp`, 'mlp', matrices) };
  const { router, sharedGate, ...mlp } = pack(`${label}.mlp`, 'mlp', {
    router: [`${label}.mlp.gate`, layer.moe.router],
    sharedGate: [`${label}.mlp.shared_expert_gate`, layer.moe.sharedGate],
    ...matrices,
  });
  return {
    ...mixed,
    mlp,
    moe: { router, sharedGate, experts: expertLayer(`${label}.experts`, layer.moe, stored) },
  };
}

function attention(label: string, layer: AttentionLayerTensors, pack: Pack, stored: StoreIndex | undefined) {
  const { inputNorm, postAttentionNorm, qNorm, kNorm } = layer;
  return {
    kind: 'full_attention' as const,
    vectors: vectorBlock(`${label}.vectors`, { inputNorm, postAttentionNorm, qNorm, kNorm }, stored),
    mixer: pack(`${label}.mixer`, 'mixer', {
      qProj: [`${label}.self_attn.q_proj`, layer.qProj],
      kProj: [`${label}.self_attn.k_proj`, layer.kProj],
      vProj: [`${label}.self_attn.v_proj`, layer.vProj],
      oProj: [`${label}.self_attn.o_proj`, layer.oProj],
    }),
  };
}

function deltaNet(label: string, layer: DeltaNetLayerTensors, pack: Pack, stored: StoreIndex | undefined) {
  const { inputNorm, postAttentionNorm, conv1d, aLog, dtBias, norm } = layer;
  const negExpA = { vector: aLog, transform: 'negExp' } as const;
  return {
    kind: 'linear_attention' as const,
    vectors: vectorBlock(`${label}.vectors`, { inputNorm, postAttentionNorm, conv1d, negExpA, dtBias, norm }, stored),
    mixer: pack(`${label}.mixer`, 'mixer', {
      inProjQkv: [`${label}.linear_attn.in_proj_qkv`, layer.inProjQkv],
      inProjZ: [`${label}.linear_attn.in_proj_z`, layer.inProjZ],
      inProjB: [`${label}.linear_attn.in_proj_b`, layer.inProjB],
      inProjA: [`${label}.linear_attn.in_proj_a`, layer.inProjA],
      outProj: [`${label}.linear_attn.out_proj`, layer.outProj],
    }),
  };
}

/** One slice of the whole vocabulary where it stays resident; else a slice for each slot, so that each can come and go alone. */
function headSlices(label: string, source: MatrixSource, options: UnitOptions, units: Unit[]): HeadSlice[] {
  if (options.residentEmbedding) {
    const packer = new Packer('head', 'head', options);
    const matrix = packer.add(label, source);
    units.push(packer.unit);
    return [{ firstWord: 0, words: source.rows, matrix }];
  }
  requireRow(label, source, options.slotBytes);
  const most = evenRows(rowsWithin(source, options.slotBytes));
  const slices: HeadSlice[] = [];
  for (let firstWord = 0; firstWord < source.rows; firstWord += most) {
    const words = Math.min(most, source.rows - firstWord);
    const packer = new Packer(`head ${slices.length}`, 'head', options);
    slices.push({ firstWord, words, matrix: packer.addRows(label, source, firstWord, words) });
    units.push(packer.unit);
  }
  return slices;
}

/** Packs matrices into images one after another, split by rows where an image is full. */
export class Packer {
  readonly unit: Unit;
  readonly #options: UnitOptions;

  constructor(label: string, kind: Unit['kind'], options: UnitOptions) {
    this.unit = { label, kind, bytes: 0, images: [] };
    this.#options = options;
  }

  add(label: string, source: MatrixSource): MatrixBlocks {
    return this.addRows(label, source, 0, source.rows);
  }

  /** Rows [firstRow, firstRow + rows) of `source`, as a matrix that counts its rows from 0. */
  addRows(label: string, source: MatrixSource, firstRow: number, rows: number): MatrixBlocks {
    const { slotBytes, stored } = this.#options;
    requireRow(label, source, slotBytes);
    const parts: MatrixPart[] = [];
    for (let done = 0; done < rows; ) {
      const count = this.#rowsThatFit(source, rows - done);
      const part = matrixPart(label, source, firstRow + done, count, stored);
      this.#place(part.block);
      parts.push({ ...part, firstRow: done });
      done += count;
    }
    return { rows, cols: source.cols, format: matrixFormat(source), parts };
  }

  /** A rest of the current image that holds no more than a sliver of the matrix is left empty. */
  #rowsThatFit(source: MatrixSource, rows: number): number {
    const { slotBytes } = this.#options;
    const left = slotBytes - (this.unit.images.at(-1)?.bytes ?? slotBytes);
    if (blockBytes(source, rows) <= left) return rows;
    const some = evenRows(rowsWithin(source, left));
    if (some >= 64) return some;
    this.unit.images.push({ label: `${this.unit.label} [${this.unit.images.length}]`, bytes: 0, blocks: [] });
    return Math.min(rows, evenRows(rowsWithin(source, slotBytes)));
  }

  #place(block: Block): void {
    const image = this.unit.images.at(-1)!;
    image.blocks.push({ block, byteOffset: image.bytes });
    image.bytes += block.bytes;
    this.unit.bytes += block.bytes;
  }
}

/** Whole tiles of the matrix kernels, where that many rows fit. */
function evenRows(rows: number): number {
  return rows >= 64 ? rows - (rows % 64) : rows;
}

function packVectors(blocks: readonly Block[]): SlotImage {
  const image: SlotImage = { label: 'vectors', bytes: 0, blocks: [] };
  for (const block of blocks) {
    image.blocks.push({ block, byteOffset: image.bytes });
    image.bytes += block.bytes;
  }
  return image;
}

/**
 * Writes a model down as dispatches: each verb is one step of the computation with its buffers, recorded once at load and encoded for
 * every step. This one records any number of tokens: GEMM and the chunked recurrence for prefill, and on CPU adapters, where a
 * dispatch costs little, GEMV for decode too. What a GPU runs for one token is in decode_recorder.ts.
 */
import type { ModelConfig } from '../format/types';
import type { Gpu } from '../gpu/device';
import type { Dispatch } from '../gpu/dispatch';
import type { Kernel, WeightBinding } from '../gpu/kernel';
import type { BufferRange } from '../gpu/memory';
import { chooseAttention } from '../kernels/attention';
import type { ProductShape } from '../kernels/candidates';
import { createConv1dSilu } from '../kernels/conv1d_silu';
import {
  createDeltaChunkPrepare,
  createDeltaChunkScan,
  createDeltaGates,
  createDeltaQkNorm,
  createDeltaRuleDirect,
  deltaChannels,
} from '../kernels/delta';
import { createEmbed } from '../kernels/embed';
import { createGatedRmsNorm } from '../kernels/gated_rms_norm';
import { chooseGemm } from '../kernels/gemm';
import { chooseGemv } from '../kernels/gemv';
import { createQkNormRope } from '../kernels/qk_norm_rope';
import { createRmsNorm } from '../kernels/rms_norm';
import { createSwiglu } from '../kernels/swiglu';
import type { ActivationDtype, KvDtype } from '../kernels/variants';
import type { MatrixBlocks, VectorBlock } from '../plan/blocks';
import { type ExpertLayer, type ExpertPool, slabOf } from '../plan/experts';
import { deltaShape, expertGroupsAt, expertTableStride, picksStride, savedStride } from '../plan/shapes';
import type { DeltaNetLayer } from '../plan/units';
import type { Scratch } from './scratch';
import type { AttentionState, DeltaNetState } from './sequence';
import type { WeightTable } from './weight_table';

export type Mode = 'decode' | 'prefill';
/** The dispatches that one unit's weights serve, in order; `unit` is its place in the plan, -1 where only small parameters are read. */
export type Section = {
  label: string;
  unit: number;
  dispatches: Dispatch[];
  /** What the section before left in scratch beside the residual stream, made again: for when another token's sections ran in between. */
  resume?: Dispatch[];
  /**
   * Of a mixture, dispatches of the same result in three parts: those that choose the experts of `layer`; those that read them, each of which
   * must be in its slot by then; and those that add them up. The second part may run several times, with some of the experts each. The first
   * `projected` dispatches, of `choose` too, are those that the choice waits for: they write `logits`, the router's.
   */
  mixture?: { layer: number; logits: BufferRange; projected: number; choose: Dispatch[]; read: Dispatch[]; sum: Dispatch[] };
};
/**
 * A dispatch that multiplies one token by a matrix, or by several with the same x: what is needed to put another kernel there. `input`,
 * `output`: where x and y lie; `rows` of each part.
 */
export type RecordedProduct = {
  dispatch: Dispatch;
  shape: ProductShape;
  x: ActivationDtype;
  rows: readonly number[];
  input: BufferRange;
  output: BufferRange;
};

/** What `kernel` counts as the rows of a dispatch over parts of so many. */
export function rowsOf({ rowsPerWorkgroup: per = 1 }: Kernel, parts: readonly number[]): number {
  return parts.length === 1 ? parts[0]! : parts.reduce((sum, rows) => sum + Math.ceil(rows / per) * per, 0);
}

/**
 * What a recording is made against. `f16`: let GEMM tiles be f16 where the device can. `activations`: what decode multiplies 4-bit
 * weights by.
 */
export type RecordingContext = {
  gpu: Gpu;
  config: ModelConfig;
  table: WeightTable;
  scratch: Scratch;
  kv: KvDtype;
  f16: boolean;
  activations: ActivationDtype;
  /** Of a mixture: where its experts lie, and its kernels. */
  mixture?: {
    experts: ExpertPool;
    kernels: typeof import('../kernels/mixture');
    DecodeRecorder: typeof import('./mixture_recorder').MixtureDecodeRecorder;
  };
};

export type Activation = Exclude<keyof Scratch, 'headRows' | 'contextParts' | 'chunkTokens' | 'residual'>;
/** Activations that matrices read, by their buffer. */
export type Input = 'normed' | 'mixed' | 'act' | 'headInput';
/** Activations that matrices write. */
export type Output = 'qGate' | 'k' | 'v' | 'qkvIn' | 'z' | 'b' | 'a' | 'router' | 'sharedGate' | 'gate' | 'up';
/** An RMSNorm of the residual stream, `name` of `vectors`, and the matrices that read it. */
export type NormOf<Name extends string = string> = {
  vectors: VectorBlock<Name>;
  name: Name;
  readers: readonly MatrixBlocks[];
};
export type Projection = readonly [matrix: MatrixBlocks, y: Output];

/** What a mixture multiplies its normed input by, beside the experts. */
export type MixtureMatrices = Record<'router' | 'sharedGate' | 'gate' | 'up', MatrixBlocks>;

export class Recorder {
  readonly sections: Section[] = [];
  /** Those of one token whose kernel no slice of a matrix depends on. */
  readonly products: RecordedProduct[] = [];
  protected readonly context: RecordingContext;
  protected readonly step: BufferRange;
  readonly #mode: Mode;

  constructor(context: RecordingContext, mode: Mode, step: GPUBuffer = context.scratch.step) {
    this.context = context;
    this.#mode = mode;
    this.step = { buffer: step };
  }

  /** Of a mixture. */
  protected get moe() {
    return this.context.mixture!.kernels;
  }

  /** Starts the dispatches of the next unit. */
  section(label: string, unit: number): void {
    this.sections.push({ label, unit, dispatches: [] });
  }

  /**
   * The residual stream += every chosen expert that has a slot, and the shared one, whose last matrix is `sharedDown`: normed, and what
   * `normAndProject` gave in; `saved` is what that returned.
   */
  mixture(layer: number, experts: ExpertLayer, sharedDown: MatrixBlocks, _saved: boolean): void {
    const section = this.sections.at(-1)!;
    const { dispatches } = section;
    const projected = dispatches.length;
    this.#route(layer);
    this.shared(sharedDown, experts);
    const first = dispatches.length;
    this.experts(layer, experts, sharedDown);
    const end = dispatches.length;
    this.sum(layer, experts, sharedDown);
    const [choose, read, sum] = [dispatches.slice(0, first), dispatches.slice(first, end), dispatches.slice(end)];
    section.mixture = { layer, logits: this.at('router'), projected, choose, read, sum };
  }

  /** Rows of the embedding into scratch.hidden. */
  embed(matrix: MatrixBlocks): void {
    const { gpu, table, scratch } = this.context;
    const kernel = createEmbed(gpu, { cols: matrix.cols, format: matrix.format });
    const ranges = { ids: { buffer: scratch.ids }, y: { buffer: scratch.hidden } };
    for (const part of matrix.parts) {
      const { reads: _, ...rows } = table.matrixPart(matrix, part); // few of them
      this.add(kernel, ranges, rows, part.rows);
    }
  }

  /** RMSNorm of the residual stream, for its readers to multiply by. */
  norm<Name extends string>({ vectors, name }: NormOf<Name>, y: Input): void {
    const { gpu, config, table } = this.context;
    const kernel = createRmsNorm(gpu, { cols: config.hiddenSize, eps: config.rmsNormEps });
    const ranges = { x: this.at('hidden'), y: this.at(y), step: this.step };
    this.add(kernel, ranges, table.vectors(vectors, name));
  }

  /** norm, and project of a mixer's. */
  projectNormed(norm: NormOf, projections: readonly Projection[]): void {
    this.norm(norm, 'normed');
    this.project('normed', projections);
  }

  /**
   * norm, and project of a mixture's; the norm is for experts, `reader`, too. @returns whether it also keeps the residual stream of `layer`,
   * for a token that must be computed again from here.
   */
  normAndProject(
    _layer: number,
    vectors: VectorBlock<'postAttentionNorm'>,
    matrices: MixtureMatrices,
    reader: MatrixBlocks,
  ): boolean {
    const projections = Object.entries(matrices).map(([y, matrix]): Projection => [matrix, y as Output]);
    const readers = [...Object.values(matrices), reader];
    this.norm({ vectors, name: 'postAttentionNorm', readers }, 'normed');
    this.project('normed', projections);
    return false;
  }

  /** y = W x for each. */
  project(x: Input, projections: readonly Projection[]): void {
    for (const [matrix, y] of projections) this.linear(this.at(x), matrix, this.at(y), {});
  }

  /** The residual stream += W x; `next`: the norm of it that comes then. */
  addTo(x: Input, matrix: MatrixBlocks, _next?: NormOf): void {
    this.linear(this.at(x), matrix, this.at('hidden'), { accumulate: true });
  }

  /** What the shared expert gives, but for its gate. */
  protected shared(down: MatrixBlocks, _experts: ExpertLayer): void {
    this.swiglu(down);
    this.linear(this.at('act'), down, this.at('sharedOut'), {});
  }

  /** Which experts each token runs through: router in, picks and pickWeights out. */
  #route(layer: number): void {
    const { gpu, config } = this.context;
    const own = { logits: this.at('router'), picks: this.picks(layer), weights: this.at('pickWeights') };
    if (this.#mode === 'prefill') {
      this.add(this.moe.createMoeRoute(gpu, config.moe!), own);
      const from = this.moe.groupedFrom(gpu, config.moe!);
      const group = this.moe.createMoeGroup(gpu, { ...this.#groups(), chosen: config.moe!.chosen }, from);
      this.add(group, { picks: own.picks, step: this.step });
      return;
    }
    const kernel = this.moe.createMoeRouteOne(gpu, { ...config.moe!, cols: config.hiddenSize });
    const ranges = { ...own, slots: this.expertSlots(layer), hidden: this.at('hidden'), saved: this.savedHidden(layer) };
    this.add(kernel, ranges);
  }

  /** Where a chunk's choices lie once they are sorted by expert. */
  #groups() {
    const { config, scratch } = this.context;
    const { experts } = config.moe!;
    return { experts, ...expertGroupsAt(config.moe!, scratch.chunkTokens) };
  }

  /** Where a token keeps the residual stream before a mixture. */
  protected savedHidden(layer: number): BufferRange {
    const { hiddenSize } = this.context.config;
    return { buffer: this.context.scratch.savedHidden, offset: layer * savedStride(hiddenSize), size: hiddenSize * 4 };
  }

  /** Of one token each layer has a place of its own. */
  protected picks(layer: number): BufferRange {
    if (this.#mode === 'prefill') return this.at('picks');
    return {
      buffer: this.context.scratch.layerPicks,
      offset: layer * picksStride,
      size: (this.context.config.moe!.chosen + 1) * 4,
    };
  }

  protected experts(layer: number, experts: ExpertLayer, _sharedDown: MatrixBlocks): void {
    const { gpu, table } = this.context;
    this.expertsAct(layer, experts);
    const { shape, slab, picks, slots } = this.expertPlaces(layer);
    const one = { ...shape, ...experts.matrices.downProj };
    const down =
      this.#mode === 'prefill'
        ? this.moe.chooseMoeDownMany(gpu, one, this.#groups())
        : this.moe.chooseMoeDown(gpu, { ...one, absentZero: true });
    const ranges = { x: this.at('expertAct'), picks, slots, y: this.at('expertOut') };
    this.add(down, ranges, table.expert(experts, slab, ['downProj']));
  }

  /** As far as their activation function. */
  protected expertsAct(layer: number, experts: ExpertLayer): void {
    const { gpu, table } = this.context;
    const { shape, slab, picks, slots } = this.expertPlaces(layer);
    const one = { ...shape, ...experts.matrices.gateProj };
    const up =
      this.#mode === 'prefill' ? this.moe.chooseMoeGateUpMany(gpu, one, this.#groups()) : this.moe.chooseMoeGateUp(gpu, one);
    const ranges = { x: this.at('normed'), picks, slots, y: this.at('expertAct') };
    this.add(up, ranges, table.expert(experts, slab, ['gateProj', 'upProj']));
  }

  /** `slab`: of the pool. */
  protected expertPlaces(layer: number) {
    const { config, mixture } = this.context;
    const { experts: pool } = mixture!;
    const shape = { chosen: config.moe!.chosen, slotBytes: pool.slotBytes };
    return { shape, slab: slabOf(pool, layer), picks: this.picks(layer), slots: this.expertSlots(layer) };
  }

  protected sum(_layer: number, _experts: ExpertLayer, _sharedDown: MatrixBlocks): void {
    const { gpu, config } = this.context;
    const kernel = this.moe.createMoeCombine(gpu, { cols: config.hiddenSize, chosen: config.moe!.chosen });
    this.add(kernel, {
      ...{ experts: this.at('expertOut'), weights: this.at('pickWeights') },
      ...{ sharedOut: this.at('sharedOut'), sharedGate: this.at('sharedGate') },
      ...{ hidden: this.at('hidden'), step: this.step },
    });
  }

  /** A layer's row of the table that says where its experts lie. */
  protected expertSlots(layer: number): BufferRange {
    const { experts } = this.context.config.moe!;
    return { buffer: this.context.scratch.expertSlots, offset: layer * expertTableStride(experts), size: experts * 4 };
  }

  /** logits = W headInput; `matrix` is a slice of one whose rows another budget cuts elsewhere. */
  logits(matrix: MatrixBlocks): void {
    this.linear(this.at('headInput'), matrix, this.at('logits'), { sliced: true });
  }

  /** Norm and rotate q and k, put k and v into the cache, attend: qGate, k, v in, mixed out. */
  attention(vectors: VectorBlock<'qNorm' | 'kNorm'>, state: AttentionState, _reader: MatrixBlocks): void {
    const { gpu } = this.context;
    const { shape, cache } = this.prepareAttention(vectors, state);
    const ranges = { q: this.at('q'), qGate: this.at('qGate'), ...cache, y: this.at('mixed'), step: this.step };
    this.add(chooseAttention(gpu, shape), ranges);
  }

  protected prepareAttention(vectors: VectorBlock<'qNorm' | 'kNorm'>, state: AttentionState) {
    const { gpu, config, table, kv } = this.context;
    const shape = { heads: config.numAttentionHeads, kvHeads: config.numKeyValueHeads, headDim: config.headDim, kv };
    const cache = { keys: { buffer: state.keys }, values: { buffer: state.values } };
    const prepare = createQkNormRope(gpu, { ...shape, rotary: config.rotaryDims, eps: config.rmsNormEps });
    const operands = { qGate: this.at('qGate'), k: this.at('k'), v: this.at('v'), q: this.at('q'), rope: this.at('rope') };
    this.add(prepare, { ...operands, ...cache, step: this.step }, table.vectors(vectors, 'qNorm', 'kNorm'));
    return { shape, cache };
  }

  /** projectNormed; then convolve q, k, v, normalise, gate, advance the recurrence, norm the output: mixed out. */
  deltaNet(
    vectors: DeltaNetLayer['vectors'],
    norm: NormOf,
    projections: readonly Projection[],
    { state }: { state: DeltaNetState; reader: MatrixBlocks },
  ): void {
    this.projectNormed(norm, projections);
    const { gpu, config, table } = this.context;
    const shape = deltaShape(config);
    const qkv = this.at('qkv');
    const gates = this.at('gates');
    const { step } = this;
    const conv = createConv1dSilu(gpu, { channels: deltaChannels(shape) });
    this.add(conv, { x: this.at('qkvIn'), y: qkv, state: { buffer: state.conv }, step }, table.vectors(vectors, 'conv1d'));
    this.add(createDeltaQkNorm(gpu, shape), { qkv });
    const operands = { a: this.at('a'), b: this.at('b'), gates, step };
    this.add(createDeltaGates(gpu, shape), operands, table.vectors(vectors, 'negExpA', 'dtBias'));
    const out = { o: this.at('o'), state: { buffer: state.recurrent }, step };
    if (gpu.direct) {
      // On a CPU adapter the chunked form costs three times the recurrence (figures in test/bench/results.csv).
      this.add(createDeltaRuleDirect(gpu, shape), { qkv, gates, ...out });
    } else {
      const chunk = { u: this.at('chunkU'), w: this.at('chunkW'), p: this.at('chunkP') };
      this.add(createDeltaChunkPrepare(gpu, shape), { qkv, gates, ...chunk, step });
      this.add(createDeltaChunkScan(gpu, shape), { qkv, gates, ...chunk, ...out });
    }
    const gated = createGatedRmsNorm(gpu, { heads: shape.valueHeads, dim: shape.valueDim, eps: config.rmsNormEps });
    this.add(gated, { o: this.at('o'), z: this.at('z'), y: this.at('mixed') }, table.vectors(vectors, 'norm'));
  }

  /** act = silu(gate x) * (up x), x normed, for `reader`. */
  gateUp(gate: MatrixBlocks, up: MatrixBlocks, reader: MatrixBlocks): void {
    this.project('normed', [
      [gate, 'gate'],
      [up, 'up'],
    ]);
    this.swiglu(reader);
  }

  /** act = silu(gate) * up. */
  protected swiglu(_reader: MatrixBlocks): void {
    const { gpu, config } = this.context;
    const kernel = createSwiglu(gpu, { cols: config.intermediateSize });
    this.add(kernel, { gate: this.at('gate'), up: this.at('up'), y: this.at('act'), step: this.step });
  }

  /** Where an activation lies. */
  protected at(name: Activation): BufferRange {
    return { buffer: this.context.scratch[name] };
  }

  protected linear(
    x: BufferRange,
    matrix: MatrixBlocks,
    y: BufferRange,
    { accumulate = false, sliced = false }: { accumulate?: boolean; sliced?: boolean },
  ): void {
    const { gpu, table, f16 } = this.context;
    const { cols, rows, format } = matrix;
    const shape = { cols, outCols: rows, format, accumulate };
    const kernel = this.#mode === 'prefill' ? chooseGemm(gpu, { ...shape, f16 }, sliced) : chooseGemv(gpu, shape, sliced);
    const ranges = { x, y, ...(this.#mode === 'prefill' ? { step: this.step } : {}) };
    for (const part of matrix.parts) {
      const dispatch = this.add(kernel, ranges, table.matrixPart(matrix, part), part.rows);
      if (sliced || this.#mode === 'prefill') continue;
      const product = { shape: { ...shape, tokens: 1 }, x: 'f32', rows: [part.rows], input: x } as const;
      this.products.push({ dispatch, ...product, output: { ...y, size: rows * 4 } });
    }
  }

  protected add(kernel: Kernel, ranges: Record<string, BufferRange>, weights?: WeightBinding, rows = 0): Dispatch {
    const dispatch = bound(kernel, ranges, weights, rows);
    this.sections.at(-1)!.dispatches.push(dispatch);
    return dispatch;
  }
}

/** `rows` of the matrix part that `weights` is. */
export function bound(kernel: Kernel, ranges: Record<string, BufferRange>, weights?: WeightBinding, rows = 0): Dispatch {
  const slab = weights?.slab ? { slab: weights.slab } : {};
  const reads = weights?.reads ? { reads: weights.reads } : {};
  return { kernel, activations: kernel.bind(ranges, weights), ...slab, rows, ...reads };
}

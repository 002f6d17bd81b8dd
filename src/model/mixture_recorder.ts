/**
 * A mixture's token on a GPU: its narrow products norm what they read, its projections keep what the CPU may go back to, its experts are chosen
 * with their first product and summed with their last. Loaded with the first mixture.
 */
import type { Dispatch } from '../gpu/dispatch';
import { deltaChannels } from '../kernels/delta';
import { createDeltaProjectQ4, createNormGemvQ4, suitsNormGemv } from '../kernels/norm_gemv';
import { createRmsNormUnits } from '../kernels/rms_norm';
import { type Affine4, isAffine4 } from '../kernels/variants';
import type { MatrixBlocks, VectorBlock } from '../plan/blocks';
import type { ExpertLayer } from '../plan/experts';
import { deltaShape } from '../plan/shapes';
import type { DeltaNetLayer } from '../plan/units';
import { alike, DecodeRecorder, type DeltaInputs } from './decode_recorder';
import { bound, type MixtureMatrices, type NormOf, type Output, type Projection, rowsOf } from './recorder';
import type { DeltaNetState } from './sequence';

export class MixtureDecodeRecorder extends DecodeRecorder {
  /** Its layers have kernels that norm. */
  protected override comesInHalves(): boolean {
    return false;
  }

  /** Narrow projections convolve q, k and v; norms of heads and gates go with the rule then. */
  override deltaNet(
    vectors: DeltaNetLayer['vectors'],
    norm: NormOf,
    projections: readonly Projection[],
    { state, reader }: { state: DeltaNetState; reader: MatrixBlocks },
  ): void {
    const narrow = this.#narrow(projections);
    if (!narrow) {
      super.deltaNet(vectors, norm, projections, { state, reader });
      return;
    }
    this.#projectDelta(projections, narrow, { vectors, state });
    this.rawRule(vectors, state, reader);
  }

  /** In one dispatch for each slab where a dispatch costs as much as such matrices, whose sums are f32 then. */
  override projectNormed(norm: NormOf, projections: readonly Projection[]): void {
    const { gpu, table, scratch } = this.context;
    const shape = this.#narrow(projections);
    if (!shape) {
      super.projectNormed(norm, projections);
      return;
    }
    const kernel = createNormGemvQ4(gpu, shape);
    const ranges = { x: this.at('hidden'), y: { buffer: scratch.projected } };
    for (const run of table.bySlab(this.places(projections))) {
      const rows = run.map(({ part }) => part.rows);
      this.add(kernel, ranges, table.severalAfter(norm.vectors, norm.name, run), rowsOf(kernel, rows));
    }
  }

  /** What createNormGemvQ4 needs, where it is a gain. */
  #narrow(projections: readonly Projection[]): { cols: number; eps: number; format: Affine4 } | undefined {
    const { gpu, config } = this.context;
    const [[first]] = projections as [Projection];
    const { cols, format } = first;
    const suits = alike(projections).length === 1 && suitsNormGemv(gpu, first);
    return suits && isAffine4(format) ? { cols, eps: config.rmsNormEps, format } : undefined;
  }

  #projectDelta(
    projections: readonly Projection[],
    narrow: { cols: number; eps: number; format: Affine4 },
    { vectors, state }: DeltaInputs,
  ): void {
    const { gpu, config, table, scratch } = this.context;
    const project = createDeltaProjectQ4(gpu, { ...narrow, channels: deltaChannels(deltaShape(config)) });
    const ranges = { x: this.at('hidden'), y: { buffer: scratch.projected }, state: { buffer: state.conv }, step: this.step };
    for (const run of table.bySlab(this.places(projections))) {
      const rows = run.map(({ part }) => part.rows);
      this.add(project, ranges, table.severalAfter(vectors, 'inputNorm', run, 'conv1d'), rowsOf(project, rows));
    }
  }

  /** In one dispatch for each slab, where the formats go together. */
  override normAndProject(
    layer: number,
    vectors: VectorBlock<'postAttentionNorm'>,
    matrices: MixtureMatrices,
    _reader: MatrixBlocks,
  ): boolean {
    const { gpu, config, table, scratch } = this.context;
    const { format } = matrices.gate;
    const { format: bytes } = matrices.router;
    const pairs = [
      [matrices.gate, matrices.up],
      [matrices.router, matrices.sharedGate],
    ] as const;
    const sameFormats = pairs.every(([a, b]) => JSON.stringify(a.format) === JSON.stringify(b.format));
    if (
      !sameFormats ||
      !isAffine4(format) ||
      !this.moe.suitsProject(gpu, format, bytes) ||
      !this.moe.holdsX(gpu, matrices.gate)
    ) {
      this.#normedF32(vectors, matrices);
      return false;
    }
    const kernel = this.moe.createMoeProject(gpu, { cols: config.hiddenSize, eps: config.rmsNormEps, format, bytes });
    const own = { x: this.at('hidden'), saved: this.savedHidden(layer) };
    const ranges = { ...own, normed: this.at('normed'), y: { buffer: scratch.projected } };
    const projections = Object.entries(matrices).map(([y, matrix]): Projection => [matrix, y as Output]);
    for (const run of table.bySlab(this.places(projections))) {
      const rows = run.map(({ part }) => part.rows);
      this.add(kernel, ranges, table.severalAfter(vectors, 'postAttentionNorm', run), rowsOf(kernel, rows));
    }
    return true;
  }

  /** The same in dispatches of their own: experts read f32, so all do. */
  #normedF32(vectors: VectorBlock<'postAttentionNorm'>, matrices: MixtureMatrices): void {
    const { gpu, config, table } = this.context;
    const kernel = createRmsNormUnits(gpu, { cols: config.hiddenSize, eps: config.rmsNormEps, y: 'f32' });
    const ranges = { units: this.at('normed'), x: this.at('hidden'), step: this.step };
    this.add(kernel, ranges, table.vectors(vectors, 'postAttentionNorm'));
    const projections = Object.entries(matrices).map(([y, matrix]): Projection => [matrix, y as Output]);
    for (const group of alike(projections)) this.projectGroup('normed', 'f32', group);
  }

  /** The choice goes with the first product of the experts, but where the CPU asks for it in between. */
  override mixture(layer: number, experts: ExpertLayer, sharedDown: MatrixBlocks, saved: boolean): void {
    super.mixture(layer, experts, sharedDown, saved);
    const section = this.sections.at(-1)!;
    const { projected, choose, read, sum } = section.mixture!;
    const ranked = saved && this.#rankedAct(layer, experts);
    if (ranked)
      section.dispatches = [...choose.slice(0, projected), ...choose.slice(projected + 1), ranked, ...read.slice(1), ...sum];
  }

  #rankedAct(layer: number, experts: ExpertLayer): Dispatch | undefined {
    const { gpu, config, table } = this.context;
    const { gateProj } = experts.matrices;
    const { format } = gateProj;
    if (!isAffine4(format) || !this.moe.suitsRanked(gpu, gateProj)) return undefined;
    const { shape, slab, picks, slots } = this.expertPlaces(layer);
    const near = this.moe.holdsX(gpu, { cols: gateProj.cols, experts: config.moe!.experts });
    const kernel = this.moe.createMoeRankedGateUpQ4(gpu, { ...shape, ...gateProj, format, near }, config.moe!);
    const own = { logits: this.at('router'), picks, weights: this.at('pickWeights') };
    const ranges = { ...own, x: this.at('normed'), slots, y: this.at('expertAct') };
    return bound(kernel, ranges, table.expert(experts, slab, ['gateProj', 'upProj']));
  }

  protected override shared(down: MatrixBlocks, experts: ExpertLayer): void {
    if (this.#sumsDown(experts, down)) return;
    this.swiglu(down);
    this.product('act', down, 'sharedOut', { accumulate: false, sliced: false });
  }

  protected override experts(layer: number, experts: ExpertLayer, sharedDown: MatrixBlocks): void {
    if (this.#sumsDown(experts, sharedDown)) this.expertsAct(layer, experts);
    else super.experts(layer, experts, sharedDown);
  }

  protected override sum(layer: number, experts: ExpertLayer, sharedDown: MatrixBlocks): void {
    const { downProj } = experts.matrices;
    const { format } = downProj;
    if (!this.#sumsDown(experts, sharedDown) || !isAffine4(format)) {
      super.sum(layer, experts, sharedDown);
      return;
    }
    const { gpu, table, scratch } = this.context;
    const { shape, slab, picks, slots } = this.expertPlaces(layer);
    const units = (name: Output) => this.offset(name) / 16;
    const at = { gate: units('gate'), up: units('up'), sharedGate: units('sharedGate') };
    const kernel = this.moe.createMoeDownSumQ4(gpu, { ...shape, ...downProj, format }, at);
    const ranges = {
      ...{ x: this.at('expertAct'), projected: { buffer: scratch.projected }, picks, slots },
      ...{ weights: this.at('pickWeights'), pool: { buffer: table.expertSlabs[slab]! }, y: this.at('hidden') },
    };
    for (const part of sharedDown.parts)
      this.add(kernel, ranges, table.withExpert(sharedDown, part, experts, 'downProj'), part.rows);
  }

  /** Of formats alone depends which kernels run, so that no budget changes results. */
  #sumsDown({ matrices }: ExpertLayer, sharedDown: MatrixBlocks): boolean {
    return this.moe.suitsDownSum(this.context.gpu, matrices.downProj, sharedDown);
  }
}

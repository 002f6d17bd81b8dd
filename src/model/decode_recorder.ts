/**
 * What a GPU runs for one token, where a dispatch costs as much as a small matrix: matrices that read the same activations go in one
 * dispatch, a norm or an activation function writes what the product behind it reads (units of f32, or of integers where the GPU multiplies int8),
 * and of the delta rule the convolution goes with the products before it, all else is one kernel, where formats allow.
 */
import type { ModelConfig } from '../format/types';
import type { Kernel, WeightBinding } from '../gpu/kernel';
import type { BufferRange } from '../gpu/memory';
import { createAttentionCombine, createAttentionCombineUnits, createAttentionSplit } from '../kernels/attention';
import { createDeltaPrepare, createDeltaStep, createDeltaStepUnits, deltaChannels } from '../kernels/delta';
import { chooseGemv, chooseGemvUnits, createQuantise, takesUnits } from '../kernels/gemv';
import {
  createGateUpQ4Units,
  createGemvQ4Units,
  lanesFor,
  pairLanes,
  pairTeam,
  residualTeam,
  rowTeam,
  type Team,
  type UnscaledHeads,
  unitLanes,
  unitTeam,
  type Write,
  wholeUnits,
} from '../kernels/gemv_teams';
import { createRmsNormUnits, createWeighUnits } from '../kernels/rms_norm';
import { createSwigluUnits } from '../kernels/swiglu';
import { type ActivationDtype, isAffine4 } from '../kernels/variants';
import type { MatrixBlocks, VectorBlock } from '../plan/blocks';
import { deltaShape, projectedAt } from '../plan/shapes';
import type { DeltaNetLayer } from '../plan/units';
import { type Activation, bound, type Input, type NormOf, type Output, type Projection, Recorder, rowsOf } from './recorder';
import type { AttentionState, DeltaNetState } from './sequence';
import type { MatrixPlace } from './weight_table';

/** Whether this recorder's kernels, which write whole units of 32 activations, suit the model. */
export function suitsUnits(config: ModelConfig): boolean {
  const { valueDim } = deltaShape(config);
  return config.hiddenSize % 32 === 0 && config.intermediateSize % 32 === 0 && valueDim % 32 === 0 && 1024 % valueDim === 0;
}

export class DecodeRecorder extends Recorder {
  /** Of the norm whose first half `normedCodes` and `squares` hold. */
  #weighed: string | undefined;
  /** Whether what `normed` holds is but that half. */
  #half = false;
  /** Of a delta rule's heads in `mixed`, where their norm lacks its scale. */
  #heads: UnscaledHeads | undefined;

  override norm<Name extends string>(norm: NormOf<Name>, y: Input): void {
    const { gpu, config, table } = this.context;
    const { vectors, name, readers } = norm;
    const dtype = this.#inputDtype(readers);
    this.#half = y === 'normed' && this.comesInHalves(readers);
    if (!this.#half) {
      const kernel = createRmsNormUnits(gpu, { cols: config.hiddenSize, eps: config.rmsNormEps, y: dtype });
      this.add(kernel, { units: this.#input(y, dtype), x: this.at('hidden'), step: this.step }, table.vectors(vectors, name));
      return;
    }
    const kernel = createWeighUnits(gpu, { cols: config.hiddenSize, units: dtype });
    const ranges = { units: this.#input(y, dtype), x: this.at('hidden'), squares: this.at('squares') };
    const weights = table.vectors(vectors, name);
    if (this.#weighed === keyOf(norm)) this.sections.at(-1)!.resume = [bound(kernel, ranges, weights)];
    else this.add(kernel, ranges, weights);
  }

  /** Whether the product in front of a norm begins it and those behind end it. */
  protected comesInHalves(readers: readonly MatrixBlocks[]): boolean {
    return this.#inputDtype(readers) !== 'f32';
  }

  override embed(matrix: MatrixBlocks): void {
    this.#weighed = undefined;
    super.embed(matrix);
  }

  override project(x: Input, projections: readonly Projection[]): void {
    const dtype = this.#inputDtype(projections.map(([matrix]) => matrix));
    for (const group of alike(projections)) this.projectGroup(x, dtype, group);
  }

  /**
   * In as few dispatches as there are slabs: of all matrices of the group depends which kernel, so that no budget changes results. `delta`:
   * of a group that q, k and v of a delta rule are in, half of a norm in front; they are convolved too.
   */
  protected projectGroup(
    from: Input,
    dtype: ActivationDtype,
    group: readonly Projection[],
    { team, delta }: { team?: Team | undefined; delta?: DeltaInputs } = {},
  ): void {
    const { config, table, scratch } = this.context;
    const x = this.#input(from, dtype);
    const half = from === 'normed' && this.#half;
    const [{ cols, format }] = group[0]!;
    const outCols = group.reduce((sum, [{ rows }]) => sum + rows, 0);
    const eps = config.rmsNormEps;
    let write: Write | undefined = half ? { kind: 'normed', eps } : undefined;
    if (delta) write = { kind: 'convolved', eps, channels: deltaChannels(deltaShape(config)) };
    const shape = { cols, outCols, format, accumulate: false, ...(write ? { write } : {}) };
    const kernel = this.#gemv(shape, dtype, { team });
    for (const run of table.bySlab(this.places(group))) {
      const rows = run.map(({ part }) => part.rows);
      const output = { buffer: scratch.projected };
      const ranges: Record<string, BufferRange> = { x, y: output };
      if (half) ranges.squares = this.at('squares');
      if (delta) Object.assign(ranges, { state: { buffer: delta.state.conv }, step: this.step });
      const weights = delta ? table.severalAfter(delta.vectors, 'inputNorm', run, 'conv1d') : table.several(run);
      const dispatch = this.add(kernel, ranges, weights, rowsOf(kernel, rows));
      if (!team) this.products.push({ dispatch, shape: { ...shape, tokens: 1 }, x: dtype, rows, input: x, output });
    }
  }

  /** All parts of the matrices, and where their rows go. */
  protected places(projections: readonly Projection[]): MatrixPlace[] {
    return projections.flatMap(([matrix, y]) =>
      matrix.parts.map((part): MatrixPlace => ({ matrix, part, at: this.offset(y) / 4 })),
    );
  }

  override gateUp(gate: MatrixBlocks, up: MatrixBlocks, reader: MatrixBlocks): void {
    const { gpu, config, table } = this.context;
    const { cols, format } = gate;
    const x = this.#inputDtype([gate, up]);
    const alikeBoth = this.#half && x !== 'f32' && isAffine4(format) && sameFormat(gate, up);
    const lanes = alikeBoth ? unitLanes(gpu, cols, pairLanes(gate.rows, x)) : undefined;
    const pairs = lanes ? this.#pairs(gate, up) : undefined;
    if (!alikeBoth || !lanes || !pairs) {
      // The lanes of a row tell its sum's order, and whether the pairs lie together is a matter of the budget.
      const team = lanes ? rowTeam(lanes) : undefined;
      const projections = [[gate, 'gate'] as const, [up, 'up'] as const];
      for (const group of alike(projections)) this.projectGroup('normed', x, group, { team });
      this.swiglu(reader);
      return;
    }
    const units = this.#inputDtype([reader]);
    const team = pairTeam(lanes, gate.rows, x);
    const kernel = createGateUpQ4Units(gpu, { cols, format, eps: config.rmsNormEps, team, x, units });
    const ranges = { x: this.#input('normed', x), squares: this.at('squares'), units: this.#input('act', units) };
    for (const pair of pairs) this.add(kernel, ranges, table.several(pair), pair[0]!.part.rows);
  }

  /** The parts of two matrices, in pairs of the same rows in the same slab; undefined where they do not lie so. */
  #pairs(gate: MatrixBlocks, up: MatrixBlocks): MatrixPlace[][] | undefined {
    const { table } = this.context;
    if (gate.parts.length !== up.parts.length || !wholeUnits(gate.parts)) return undefined;
    const pairs = gate.parts.map((part, i): MatrixPlace[] => [
      { matrix: gate, part, at: 0 },
      { matrix: up, part: up.parts[i]!, at: 0 },
    ]);
    const together = pairs.every((pair) => {
      const [a, b] = [pair[0]!.part, pair[1]!.part];
      return a.firstRow === b.firstRow && a.rows === b.rows && table.bySlab(pair).length === 1;
    });
    return together ? pairs : undefined;
  }

  override addTo(x: Input, matrix: MatrixBlocks, next?: NormOf): void {
    const { gpu } = this.context;
    const heads = x === 'mixed' ? this.#heads : undefined;
    const fits = next && this.comesInHalves(next.readers) && this.#inputDtype([matrix]) !== 'f32';
    const lanes = fits ? unitLanes(gpu, matrix.cols, lanesFor(matrix.rows)) : undefined;
    if (!fits || !lanes) {
      this.#weighed = undefined;
      this.product(x, matrix, 'hidden', { accumulate: true, sliced: false, heads });
      return;
    }
    if (wholeUnits(matrix.parts)) {
      this.#weighed = keyOf(next);
      this.#addAndWeigh(x, matrix, next, { lanes, heads });
      return;
    }
    this.#weighed = undefined;
    this.product(x, matrix, 'hidden', { accumulate: true, sliced: false, team: rowTeam(lanes), heads }); // the same bits
  }

  #addAndWeigh(
    x: Input,
    matrix: MatrixBlocks,
    next: NormOf,
    { lanes, heads }: { lanes: number; heads: UnscaledHeads | undefined },
  ): void {
    const { table } = this.context;
    const [dtype, units] = [this.#inputDtype([matrix]), this.#inputDtype(next.readers)];
    const write = { kind: 'residual' as const, units };
    const shape = {
      cols: matrix.cols,
      outCols: matrix.rows,
      format: matrix.format,
      accumulate: true,
      write,
      ...(heads ? { heads } : {}),
    };
    const kernel = this.#gemv(shape, dtype, { team: dtype === 'f32' ? unitTeam(lanes) : residualTeam(lanes, dtype) });
    const written = { y: this.at('hidden'), units: this.#input('normed', units), squares: this.at('squares') };
    for (const part of matrix.parts) {
      const weights = table.severalAfter(next.vectors, next.name, [{ matrix, part, at: 0 }]);
      this.add(kernel, { x: this.#input(x, dtype), ...written, ...this.#headRanges(heads) }, weights, part.rows);
    }
  }

  #headRanges(heads: UnscaledHeads | undefined): Record<string, BufferRange> {
    return heads ? { headSquares: this.at('headSquares') } : {};
  }

  override logits(matrix: MatrixBlocks): void {
    this.product('headInput', matrix, 'logits', { accumulate: false, sliced: true });
  }

  protected product(
    x: Input,
    matrix: MatrixBlocks,
    y: Activation,
    { accumulate, sliced, team, heads }: { accumulate: boolean; sliced: boolean; team?: Team; heads?: UnscaledHeads | undefined },
  ): void {
    const { table } = this.context;
    const dtype = this.#inputDtype([matrix]);
    const own = { cols: matrix.cols, outCols: matrix.rows, format: matrix.format, accumulate };
    const shape = { ...own, ...(heads ? { heads } : {}) };
    const kernel = this.#gemv(shape, dtype, { sliced, team });
    const input = this.#input(x, dtype);
    const output = { ...this.at(y), size: matrix.rows * 4 };
    for (const part of matrix.parts) {
      const dispatch = this.add(
        kernel,
        { x: input, y: output, ...this.#headRanges(heads) },
        table.matrixPart(matrix, part),
        part.rows,
      );
      if (!sliced && !team)
        this.products.push({ dispatch, shape: { ...shape, tokens: 1 }, x: dtype, rows: [part.rows], input, output });
    }
  }

  override attention(vectors: VectorBlock<'qNorm' | 'kNorm'>, state: AttentionState, reader: MatrixBlocks): void {
    const { gpu, scratch } = this.context;
    const { shape, cache } = this.prepareAttention(vectors, state);
    const split = { ...shape, parts: scratch.contextParts };
    const sums = { sums: this.at('partSums'), stats: this.at('partStats') };
    const mixed = this.at('mixed');
    this.#heads = undefined;
    this.add(createAttentionSplit(gpu, split), { q: this.at('q'), ...cache, ...sums, step: this.step });
    const parts = { ...sums, qGate: this.at('qGate'), step: this.step };
    const dtype = this.#inputDtype([reader]);
    if (shape.headDim % 32 === 0) {
      this.add(createAttentionCombineUnits(gpu, { ...split, y: dtype }), { ...parts, units: this.#input('mixed', dtype) });
      return;
    }
    this.add(createAttentionCombine(gpu, split), { ...parts, y: mixed });
    if (dtype !== 'f32')
      this.add(createQuantise(gpu, { cols: reader.cols, y: dtype }), {
        units: this.#input('mixed', dtype),
        x: mixed,
        step: this.step,
      });
  }

  /** The convolution goes with the products before it where those end a norm, norms of heads and gates then with the rule. */
  override deltaNet(
    vectors: DeltaNetLayer['vectors'],
    norm: NormOf,
    projections: readonly Projection[],
    { state, reader }: { state: DeltaNetState; reader: MatrixBlocks },
  ): void {
    this.norm(norm, 'normed');
    if (this.#half) {
      const dtype = this.#inputDtype(projections.map(([matrix]) => matrix));
      for (const group of alike(projections)) {
        const convolves = group.some(([, y]) => y === 'qkvIn');
        this.projectGroup('normed', dtype, group, convolves ? { delta: { vectors, state } } : {});
      }
      this.rawRule(vectors, state, reader);
      return;
    }
    this.project('normed', projections);
    this.#preparedRule(vectors, state, reader);
  }

  protected rawRule(vectors: DeltaNetLayer['vectors'], state: DeltaNetState, reader: MatrixBlocks): void {
    const heads = { aAt: this.offset('a') / 4, bAt: this.offset('b') / 4 };
    const inputs = { qkv: this.at('qkvIn'), projected: { buffer: this.context.scratch.projected } };
    this.#rule(heads, inputs, this.context.table.vectors(vectors, 'norm', 'negExpA', 'dtBias'), { state, reader });
  }

  #preparedRule(vectors: DeltaNetLayer['vectors'], state: DeltaNetState, reader: MatrixBlocks): void {
    const { gpu, config, table } = this.context;
    const inputs = { qkv: this.at('qkv'), gates: this.at('gates') };
    this.add(
      createDeltaPrepare(gpu, deltaShape(config)),
      { x: this.at('qkvIn'), a: this.at('a'), b: this.at('b'), ...inputs, state: { buffer: state.conv }, step: this.step },
      table.vectors(vectors, 'conv1d', 'negExpA', 'dtBias'),
    );
    this.#rule('ready', inputs, table.vectors(vectors, 'norm'), { state, reader });
  }

  /** A reader of units ends the output norm, so that a head can have several workgroups; one of f32 gets it whole. */
  #rule(
    heads: Parameters<typeof createDeltaStep>[1]['heads'],
    inputs: Record<string, BufferRange>,
    weights: WeightBinding,
    { state, reader }: { state: DeltaNetState; reader: MatrixBlocks },
  ): void {
    const { gpu, config } = this.context;
    const shape = { ...deltaShape(config), heads };
    const eps = config.rmsNormEps;
    const ranges = { ...inputs, z: this.at('z'), state: { buffer: state.recurrent }, step: this.step };
    const dtype = this.#inputDtype([reader]);
    if (dtype === 'f32') {
      this.#heads = undefined;
      this.add(createDeltaStep(gpu, { ...shape, eps }), { ...ranges, y: this.at('mixed') }, weights);
      return;
    }
    this.#heads = { units: shape.valueDim / 32, eps };
    const out = { units: this.#input('mixed', dtype), squares: this.at('headSquares') };
    this.add(createDeltaStepUnits(gpu, { ...shape, y: dtype }), { ...ranges, ...out }, weights);
  }

  protected override swiglu(reader: MatrixBlocks): void {
    const dtype = this.#inputDtype([reader]);
    const kernel = createSwigluUnits(this.context.gpu, { cols: this.context.config.intermediateSize, y: dtype });
    this.add(kernel, { units: this.#input('act', dtype), gate: this.at('gate'), up: this.at('up') });
  }

  protected override at(name: Activation): BufferRange {
    const { config, scratch } = this.context;
    const range = projectedAt(config)[name as Output];
    return range ? { buffer: scratch.projected, offset: range.byteOffset, size: range.bytes } : super.at(name);
  }

  protected offset(y: Output): number {
    return projectedAt(this.context.config)[y].byteOffset;
  }

  /** Units lie in two buffers: what a product reads, and the norm that it begins meanwhile. Nobody reads them later. */
  #input(x: Input, dtype: ActivationDtype): BufferRange {
    if (dtype === 'f32') return this.at(x);
    return this.at(x === 'normed' || x === 'headInput' ? 'normedCodes' : 'codes');
  }

  #inputDtype(readers: readonly MatrixBlocks[]): ActivationDtype {
    const { gpu, activations } = this.context;
    return activations !== 'f32' && readers.every((matrix) => takesUnits(gpu, activations, matrix)) ? activations : 'f32';
  }

  #gemv(
    shape: Parameters<typeof chooseGemv>[1] & { write?: Write; heads?: UnscaledHeads },
    dtype: ActivationDtype,
    { sliced = false, team }: { sliced?: boolean; team?: Team | undefined },
  ): Kernel {
    const { gpu } = this.context;
    const { format } = shape;
    if (dtype === 'f32') return chooseGemv(gpu, shape, sliced);
    return team && isAffine4(format)
      ? createGemvQ4Units(gpu, { ...shape, format, team, x: dtype })
      : chooseGemvUnits(gpu, { ...shape, x: dtype }, sliced);
  }
}

/** What the convolution of a delta rule's inputs needs beside them. */
export type DeltaInputs = { vectors: DeltaNetLayer['vectors']; state: DeltaNetState };

const keyOf = ({ vectors, name }: NormOf): string => `${vectors.block.label} ${name}`;
const sameFormat = (a: MatrixBlocks, b: MatrixBlocks): boolean => JSON.stringify(a.format) === JSON.stringify(b.format);

/** Neighbours of the same columns and format: what one kernel can take. */
export function alike(projections: readonly Projection[]): Projection[][] {
  const groups: Projection[][] = [];
  const key = ([{ cols, format }]: Projection) => JSON.stringify([cols, format]);
  for (const projection of projections) {
    const last = groups.at(-1);
    if (last && key(last[0]!) === key(projection)) last.push(projection);
    else groups.push([projection]);
  }
  return groups;
}

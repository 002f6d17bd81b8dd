/**
 * Writes a model down as dispatches: each verb is one kernel with its buffers, recorded once at load and encoded for every
 * step. A recording is for one token (`decode`: GEMV, the plain recurrence) or for several (`prefill`: GEMM, the chunked one).
 */
import type { ModelConfig } from '../format/types';
import type { Gpu } from '../gpu/device';
import type { Dispatch } from '../gpu/dispatch';
import type { Kernel } from '../gpu/kernel';
import type { BufferRange } from '../gpu/memory';
import { createAttention, createAttentionCombine, createAttentionDirect, createAttentionSplit } from '../kernels/attention';
import { createConv1dSilu } from '../kernels/conv1d_silu';
import {
  createDeltaChunkPrepare,
  createDeltaChunkScan,
  createDeltaGates,
  createDeltaQkNorm,
  createDeltaRule,
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
import type { KvDtype } from '../kernels/variants';
import type { MatrixBlocks, VectorBlock } from '../plan/blocks';
import { deltaShape } from '../plan/shapes';
import type { DeltaNetLayer } from '../plan/units';
import type { Scratch } from './scratch';
import type { AttentionState, DeltaNetState } from './sequence';
import type { WeightBinding, WeightTable } from './weight_table';

export type Mode = 'decode' | 'prefill';
/** The dispatches that one unit's weights serve, in order; `unit` is its place in the plan, -1 where only small parameters are read. */
export type Section = { label: string; unit: number; dispatches: Dispatch[] };
/** What a recording is made against. `f16`: let GEMM tiles be f16 where the device can. */
export type RecordingContext = { gpu: Gpu; config: ModelConfig; table: WeightTable; scratch: Scratch; kv: KvDtype; f16: boolean };

export class Recorder {
  readonly sections: Section[] = [];
  readonly kernels = new Set<Kernel>();
  readonly #context: RecordingContext;
  readonly #mode: Mode;
  readonly #step: BufferRange;

  constructor(context: RecordingContext, mode: Mode, step: GPUBuffer = context.scratch.step) {
    this.#context = context;
    this.#mode = mode;
    this.#step = { buffer: step };
  }

  /** Starts the dispatches of the next unit. */
  section(label: string, unit: number): void {
    this.sections.push({ label, unit, dispatches: [] });
  }

  embed(matrix: MatrixBlocks, ids: GPUBuffer, y: GPUBuffer): void {
    const { gpu, table } = this.#context;
    const kernel = createEmbed(gpu, { cols: matrix.cols, format: matrix.format });
    for (const part of matrix.parts)
      this.#add(kernel, { ids: { buffer: ids }, y: { buffer: y } }, table.matrixPart(matrix, part), part.rows);
  }

  rmsNorm<Name extends string>(x: GPUBuffer, vectors: VectorBlock<Name>, name: Name, y: GPUBuffer): void {
    const { gpu, config, table } = this.#context;
    const kernel = createRmsNorm(gpu, { cols: config.hiddenSize, eps: config.rmsNormEps });
    this.#add(kernel, { x: { buffer: x }, y: { buffer: y }, step: this.#step }, table.vectors(vectors, name));
  }

  /** y = W x, or y += W x. `sliced`: `matrix` is a slice of one whose rows another budget cuts elsewhere. */
  linear(x: GPUBuffer, matrix: MatrixBlocks, y: GPUBuffer, { accumulate = false, sliced = false } = {}): void {
    const { gpu, table, f16 } = this.#context;
    const { cols, rows, format } = matrix;
    const shape = { cols, outCols: rows, format, accumulate };
    const kernel = this.#mode === 'prefill' ? chooseGemm(gpu, { ...shape, f16 }, sliced) : chooseGemv(gpu, shape, sliced);
    const ranges = { x: { buffer: x }, y: { buffer: y }, ...(this.#mode === 'prefill' ? { step: this.#step } : {}) };
    for (const part of matrix.parts) this.#add(kernel, ranges, table.matrixPart(matrix, part), part.rows);
  }

  /** Norm and rotate q and k, put k and v into the cache, attend: scratch.q/k/v in, scratch.mixed out. */
  attention(vectors: VectorBlock<'qNorm' | 'kNorm'>, state: AttentionState): void {
    const { gpu, config, table, scratch, kv } = this.#context;
    const shape = { heads: config.numAttentionHeads, kvHeads: config.numKeyValueHeads, headDim: config.headDim, kv };
    const cache = { keys: { buffer: state.keys }, values: { buffer: state.values } };
    const [qGate, k, v, q, rope] = [scratch.qGate, scratch.k, scratch.v, scratch.q, scratch.rope].map((buffer) => ({ buffer }));
    const prepare = createQkNormRope(gpu, { ...shape, rotary: config.rotaryDims, eps: config.rmsNormEps });
    this.#add(
      prepare,
      { qGate: qGate!, k: k!, v: v!, q: q!, rope: rope!, ...cache, step: this.#step },
      table.vectors(vectors, 'qNorm', 'kNorm'),
    );
    const y = { buffer: scratch.mixed };
    if (this.#mode === 'decode' && !gpu.direct) {
      const split = { ...shape, parts: scratch.contextParts };
      const sums = { sums: { buffer: scratch.partSums }, stats: { buffer: scratch.partStats } };
      this.#add(createAttentionSplit(gpu, split), { q: q!, ...cache, ...sums, step: this.#step });
      this.#add(createAttentionCombine(gpu, split), { ...sums, qGate: qGate!, y, step: this.#step });
    } else {
      const attend = gpu.direct ? createAttentionDirect(gpu, shape) : createAttention(gpu, shape);
      this.#add(attend, { q: q!, qGate: qGate!, ...cache, y, step: this.#step });
    }
  }

  /** Convolve q, k, v, normalise, gate, advance the recurrence, norm the output: scratch.qkvIn/z/a/b in, scratch.mixed out. */
  deltaNet(vectors: DeltaNetLayer['vectors'], state: DeltaNetState): void {
    const { gpu, config, table, scratch } = this.#context;
    const shape = deltaShape(config);
    const range = (buffer: GPUBuffer): BufferRange => ({ buffer });
    const qkv = range(scratch.qkv);
    const gates = range(scratch.gates);
    const step = this.#step;
    const conv = createConv1dSilu(gpu, { channels: deltaChannels(shape) });
    this.#add(conv, { x: range(scratch.qkvIn), y: qkv, state: range(state.conv), step }, table.vectors(vectors, 'conv1d'));
    this.#add(createDeltaQkNorm(gpu, shape), { qkv });
    this.#add(
      createDeltaGates(gpu, shape),
      { a: range(scratch.a), b: range(scratch.b), gates, step },
      table.vectors(vectors, 'negExpA', 'dtBias'),
    );
    const out = { o: range(scratch.o), state: range(state.recurrent), step };
    if (gpu.direct) {
      // On a CPU adapter the chunked form costs three times the recurrence (figures in test/bench/results.csv).
      this.#add(createDeltaRuleDirect(gpu, shape), { qkv, gates, ...out });
    } else if (this.#mode === 'decode') {
      this.#add(createDeltaRule(gpu, shape), { qkv, gates, ...out });
    } else {
      const chunk = { u: range(scratch.chunkU), w: range(scratch.chunkW), p: range(scratch.chunkP) };
      this.#add(createDeltaChunkPrepare(gpu, shape), { qkv, gates, ...chunk, step });
      this.#add(createDeltaChunkScan(gpu, shape), { qkv, gates, ...chunk, ...out });
    }
    const norm = createGatedRmsNorm(gpu, { heads: shape.valueHeads, dim: shape.valueDim, eps: config.rmsNormEps });
    this.#add(norm, { o: range(scratch.o), z: range(scratch.z), y: range(scratch.mixed) }, table.vectors(vectors, 'norm'));
  }

  swiglu(gate: GPUBuffer, up: GPUBuffer, y: GPUBuffer): void {
    const kernel = createSwiglu(this.#context.gpu, { cols: this.#context.config.intermediateSize });
    this.#add(kernel, { gate: { buffer: gate }, up: { buffer: up }, y: { buffer: y }, step: this.#step });
  }

  #add(kernel: Kernel, ranges: Record<string, BufferRange>, weights?: WeightBinding, rows = 0): void {
    this.kernels.add(kernel);
    this.sections.at(-1)!.dispatches.push({ kernel, activations: kernel.bind(ranges), ...(weights ? { weights } : {}), rows });
  }
}

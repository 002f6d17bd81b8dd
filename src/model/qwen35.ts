/**
 * Qwen3.5: GatedDeltaNet layers with a gated full-attention layer in between, pre-norm, SwiGLU or a mixture of SwiGLU experts. The
 * reference is transformers' `modeling_qwen3_5.py`, `modeling_qwen3_5_moe.py` and `modeling_qwen3_next.py`.
 */
import type { Dispatch } from '../gpu/dispatch';
import type { MatrixBlocks } from '../plan/blocks';
import type { HeadSlice, ModelLayer, ModelUnits, MoeLayer } from '../plan/units';
import { DecodeRecorder, suitsUnits } from './decode_recorder';
import { type Mode, type NormOf, type RecordedProduct, Recorder, type RecordingContext, type Section } from './recorder';
import type { LayerState, Sequence } from './sequence';

/** Logits of words [firstWord, firstWord + words) for rows of the residual stream. */
export type HeadSection = Section & { firstWord: number; words: number };
/** `body` runs the residual stream through embedding and layers, `head` turns its rows into logits, slice by slice. */
export type Recording = { body: Section[]; head: HeadSection[] };
/** The recordings that run one sequence. */
export type Recordings = Record<Mode, Recording> & {
  products: readonly RecordedProduct[];
  readonly kernelLabels: string[];
  /** Of all kernels in use: where it differs, so may the bits of a result. */
  readonly kernelDigest: string;
  readonly ready: Promise<unknown>;
};

/**
 * Records the model for one sequence's state. `gathered`: the table that holds the chunk's rows of the embedding, where it is not
 * resident whole. Pipelines compile meanwhile; `ready` resolves when all of them have.
 */
export function recordModel(
  context: RecordingContext,
  model: ModelUnits,
  sequence: Sequence,
  gathered?: MatrixBlocks,
): Recordings {
  const recorders: Recorder[] = [];
  const record = (mode: Mode): Recording => {
    const body = recorderFor(context, mode);
    recordBody(body, model, sequence, gathered);
    const head = recorderFor(context, mode, context.scratch.headStep);
    const slices = model.head.map((slice, i) => recordHead(head, model, slice, i));
    recorders.push(body, head);
    return { body: body.sections, head: head.sections.map((section, i) => ({ ...section, ...slices[i]! })) };
  };
  const [decode, prefill] = [record('decode'), record('prefill')];
  const sections = recorders.flatMap((recorder) => recorder.sections);
  const kernels = () => [...new Set(sections.flatMap(everyDispatch).map(({ kernel }) => kernel))];
  return {
    decode,
    prefill,
    products: recorders.flatMap((recorder) => recorder.products),
    get kernelLabels() {
      return [...new Set(kernels().flatMap((k) => k.label.split(' | ')))].sort(); // kernelByTokens joins them so
    },
    get kernelDigest() {
      return [...new Set(kernels().map((k) => k.digest))].sort().join();
    },
    get ready() {
      return Promise.all(kernels().map((k) => k.ready));
    },
  };
}

function everyDispatch({ dispatches, resume = [], mixture }: Section): Dispatch[] {
  const parts = mixture ? [...mixture.choose, ...mixture.read, ...mixture.sum] : [];
  return [...dispatches, ...resume, ...parts];
}

function recorderFor(context: RecordingContext, mode: Mode, step?: GPUBuffer): Recorder {
  const fused = mode === 'decode' && !context.gpu.direct && suitsUnits(context.config);
  if (!fused) return new Recorder(context, mode, step);
  const Kind = context.mixture?.DecodeRecorder ?? DecodeRecorder;
  return new Kind(context, mode, step);
}

function recordBody(r: Recorder, model: ModelUnits, sequence: Sequence, gathered?: MatrixBlocks): void {
  const unitOf = new Map(model.units.map(({ label }, index) => [label, index]));
  r.section('embed', unitOf.get('embed') ?? (gathered ? -1 : unitOf.get('head')!));
  r.embed(gathered ?? model.embedTokens!);
  for (const [index, layer] of model.layers.entries()) {
    const state = sequence.layers[index]!;
    r.section(`layers.${index}.mixer`, unitOf.get(`layers.${index}.mixer`)!);
    mixer(r, layer, state);
    r.section(`layers.${index}.mlp`, unitOf.get(`layers.${index}.mlp`)!);
    const next = model.layers[index + 1];
    if (layer.moe) mixture(r, layer, layer.moe, index);
    else feedForward(r, layer, next && inputNorm(next));
  }
}

/** x <- x + mixer(norm(x)), x the residual stream [tokens, hiddenSize]. */
function mixer(r: Recorder, layer: ModelLayer, state: LayerState): void {
  const next = layer.moe ? undefined : feedForwardNorm(layer);
  if (layer.kind === 'full_attention' && state.kind === 'full_attention') {
    const { qProj, kProj, vProj, oProj } = layer.mixer;
    r.projectNormed(inputNorm(layer), [
      [qProj, 'qGate'],
      [kProj, 'k'],
      [vProj, 'v'],
    ]);
    r.attention(layer.vectors, state, oProj);
    r.addTo('mixed', oProj, next);
  } else if (layer.kind === 'linear_attention' && state.kind === 'linear_attention') {
    const { inProjQkv, inProjZ, inProjB, inProjA, outProj } = layer.mixer;
    const projections = [
      [inProjQkv, 'qkvIn'],
      [inProjZ, 'z'],
      [inProjB, 'b'],
      [inProjA, 'a'],
    ] as const;
    r.deltaNet(layer.vectors, inputNorm(layer), projections, { state, reader: outProj });
    r.addTo('mixed', outProj, next);
  }
}

/** x <- x + down(silu(gate n) * up n), n = norm(x). */
function feedForward(r: Recorder, layer: ModelLayer, next: NormOf | undefined): void {
  const { gateProj, upProj, downProj } = layer.mlp;
  r.norm(feedForwardNorm(layer), 'normed');
  r.gateUp(gateProj, upProj, downProj);
  r.addTo('act', downProj, next);
}

/** Ahead of a layer's mixer. */
function inputNorm({ vectors, mixer }: ModelLayer): NormOf {
  if ('qProj' in mixer) return { vectors, name: 'inputNorm', readers: [mixer.qProj, mixer.kProj, mixer.vProj] };
  const { inProjQkv, inProjZ, inProjB, inProjA } = mixer;
  return { vectors, name: 'inputNorm', readers: [inProjQkv, inProjZ, inProjB, inProjA] };
}

const feedForwardNorm = ({ vectors, mlp: { gateProj, upProj } }: ModelLayer): NormOf => ({
  vectors,
  name: 'postAttentionNorm',
  readers: [gateProj, upProj],
});

/**
 * x <- x + shared(n) * sigmoid(gate n) + sum of weight * expert(n), n = norm(x).
 */
function mixture(r: Recorder, { vectors, mlp }: ModelLayer, { router, sharedGate, experts }: MoeLayer, index: number): void {
  const { gateProj, upProj, downProj } = mlp;
  const projections = { router, sharedGate, gate: gateProj, up: upProj };
  const saved = r.normAndProject(index, vectors, projections, experts.matrices.gateProj);
  r.mixture(index, experts, downProj, saved);
}

/** Final norm and logits of rows [headStep.firstRow, headStep.firstRow + headStep.tokens) of the residual stream. */
function recordHead(r: Recorder, model: ModelUnits, { firstWord, words, matrix }: HeadSlice, index: number) {
  const firstHead = model.units.findIndex(({ kind }) => kind === 'head');
  r.section(`head ${index}`, firstHead + index);
  r.norm({ vectors: model.finalNorm, name: 'norm', readers: [matrix] }, 'headInput');
  r.logits(matrix);
  return { firstWord, words };
}

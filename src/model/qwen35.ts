/**
 * Qwen3.5 (dense): GatedDeltaNet layers with a gated full-attention layer in between, pre-norm, SwiGLU. The reference is
 * transformers' `modeling_qwen3_5.py`.
 */
import type { MatrixBlocks } from '../plan/blocks';
import type { HeadSlice, ModelLayer, ModelUnits } from '../plan/units';
import { type Mode, Recorder, type RecordingContext, type Section } from './recorder';
import type { Scratch } from './scratch';
import type { LayerState, Sequence } from './sequence';

/** Logits of words [firstWord, firstWord + words) for rows of the residual stream. */
export type HeadSection = Section & { firstWord: number; words: number };
/** `body` runs the residual stream through embedding and layers, `head` turns its rows into logits, slice by slice. */
export type Recording = { body: Section[]; head: HeadSection[] };
/** The recordings that run one sequence. */
export type Recordings = Record<Mode, Recording> & {
  kernelLabels: string[];
  /** Of all kernels in use: where it differs, so may the bits of a result. */
  kernelDigest: string;
  ready: Promise<unknown>;
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
    const body = new Recorder(context, mode);
    recordBody(body, context.scratch, model, sequence, gathered);
    const head = new Recorder(context, mode, context.scratch.headStep);
    const slices = model.head.map((slice, i) => recordHead(head, context.scratch, model, slice, i));
    recorders.push(body, head);
    return { body: body.sections, head: head.sections.map((section, i) => ({ ...section, ...slices[i]! })) };
  };
  const [decode, prefill] = [record('decode'), record('prefill')];
  const kernels = recorders.flatMap((recorder) => [...recorder.kernels]);
  return {
    decode,
    prefill,
    kernelLabels: [...new Set(kernels.flatMap((k) => k.label.split(' | ')))].sort(), // kernelByTokens joins them so
    kernelDigest: [...new Set(kernels.map((k) => k.digest))].sort().join(),
    ready: Promise.all(kernels.map((k) => k.ready)),
  };
}

function recordBody(r: Recorder, scratch: Scratch, model: ModelUnits, sequence: Sequence, gathered?: MatrixBlocks): void {
  const unitOf = new Map(model.units.map(({ label }, index) => [label, index]));
  r.section('embed', unitOf.get('embed') ?? (gathered ? -1 : unitOf.get('head')!));
  r.embed(gathered ?? model.embedTokens!, scratch.ids, scratch.hidden);
  for (const [index, layer] of model.layers.entries()) {
    const state = sequence.layers[index]!;
    r.section(`layers.${index}.mixer`, unitOf.get(`layers.${index}.mixer`)!);
    mixer(r, scratch, layer, state);
    r.section(`layers.${index}.mlp`, unitOf.get(`layers.${index}.mlp`)!);
    feedForward(r, scratch, layer);
  }
}

/** x <- x + mixer(norm(x)). scratch.hidden [tokens, hiddenSize] is updated in place. */
function mixer(r: Recorder, s: Scratch, layer: ModelLayer, state: LayerState): void {
  r.rmsNorm(s.hidden, layer.vectors, 'inputNorm', s.normed);
  if (layer.kind === 'full_attention' && state.kind === 'full_attention') {
    const { qProj, kProj, vProj, oProj } = layer.mixer;
    r.linear(s.normed, qProj, s.qGate);
    r.linear(s.normed, kProj, s.k);
    r.linear(s.normed, vProj, s.v);
    r.attention(layer.vectors, state);
    r.linear(s.mixed, oProj, s.hidden, { accumulate: true });
  } else if (layer.kind === 'linear_attention' && state.kind === 'linear_attention') {
    const { inProjQkv, inProjZ, inProjB, inProjA, outProj } = layer.mixer;
    r.linear(s.normed, inProjQkv, s.qkvIn);
    r.linear(s.normed, inProjZ, s.z);
    r.linear(s.normed, inProjB, s.b);
    r.linear(s.normed, inProjA, s.a);
    r.deltaNet(layer.vectors, state);
    r.linear(s.mixed, outProj, s.hidden, { accumulate: true });
  }
}

/** x <- x + down(silu(gate n) * up n), n = norm(x). */
function feedForward(r: Recorder, s: Scratch, { vectors, mlp }: ModelLayer): void {
  r.rmsNorm(s.hidden, vectors, 'postAttentionNorm', s.normed);
  r.linear(s.normed, mlp.gateProj, s.gate);
  r.linear(s.normed, mlp.upProj, s.up);
  r.swiglu(s.gate, s.up, s.act);
  r.linear(s.act, mlp.downProj, s.hidden, { accumulate: true });
}

/** Final norm and logits of rows [headStep.firstRow, headStep.firstRow + headStep.tokens) of the residual stream. */
function recordHead(r: Recorder, s: Scratch, model: ModelUnits, { firstWord, words, matrix }: HeadSlice, index: number) {
  const firstHead = model.units.findIndex(({ kind }) => kind === 'head');
  r.section(`head ${index}`, firstHead + index);
  r.rmsNorm(s.hidden, model.finalNorm, 'norm', s.headInput);
  r.linear(s.headInput, matrix, s.logits, { sliced: true });
  return { firstWord, words };
}

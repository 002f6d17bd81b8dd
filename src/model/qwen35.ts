/**
 * Qwen3.5 (dense): GatedDeltaNet layers with a gated full-attention layer in between, pre-norm, SwiGLU. The reference is
 * transformers' `modeling_qwen3_5.py`.
 */
import type { MlpUnit, ModelUnits } from '../plan/units';
import { type Mode, Recorder, type RecordingContext, type Section } from './recorder';
import type { Scratch } from './scratch';
import type { LayerState, Sequence } from './sequence';

/** The recordings that run one sequence; `head` turns rows of the residual stream into logits. */
export type Recordings = Record<Mode, { body: Section[]; head: Section[] }> & { kernelLabels: string[]; ready: Promise<unknown> };

/** Records the model for one sequence's state. Pipelines compile meanwhile; `ready` resolves when all of them have. */
export function recordModel(context: RecordingContext, units: ModelUnits, sequence: Sequence): Recordings {
  const recorders: Recorder[] = [];
  const record = (mode: Mode) => {
    const body = new Recorder(context, mode);
    const head = new Recorder(context, mode, context.scratch.headStep);
    recordBody(body, context.scratch, units, sequence);
    recordHead(head, context.scratch, units);
    recorders.push(body, head);
    return { body: body.sections, head: head.sections };
  };
  const [decode, prefill] = [record('decode'), record('prefill')];
  const kernels = recorders.flatMap((recorder) => [...recorder.kernels]);
  return {
    decode,
    prefill,
    kernelLabels: [...new Set(kernels.map((k) => k.label))].sort(),
    ready: Promise.all(kernels.map((k) => k.ready)),
  };
}

function recordBody(r: Recorder, scratch: Scratch, units: ModelUnits, sequence: Sequence): void {
  r.section('embed');
  r.embed(units.embedTokens, scratch.ids, scratch.hidden);
  for (const [index, layer] of units.layers.entries()) {
    r.section(`layer ${index}`);
    decoderLayer(r, scratch, layer, sequence.layers[index]!);
  }
}

/** x <- x + mixer(norm(x)); x <- x + mlp(norm(x)). scratch.hidden [tokens, hiddenSize] is updated in place. */
function decoderLayer(r: Recorder, s: Scratch, layer: ModelUnits['layers'][number], state: LayerState): void {
  r.rmsNorm(s.hidden, layer.vectors, 'inputNorm', s.normed);
  if (layer.kind === 'full_attention' && state.kind === 'full_attention') {
    r.linear(s.normed, layer.qProj, s.qGate);
    r.linear(s.normed, layer.kProj, s.k);
    r.linear(s.normed, layer.vProj, s.v);
    r.attention(layer.vectors, state);
    r.linear(s.mixed, layer.oProj, s.hidden, true);
  } else if (layer.kind === 'linear_attention' && state.kind === 'linear_attention') {
    r.linear(s.normed, layer.inProjQkv, s.qkvIn);
    r.linear(s.normed, layer.inProjZ, s.z);
    r.linear(s.normed, layer.inProjB, s.b);
    r.linear(s.normed, layer.inProjA, s.a);
    r.deltaNet(layer.vectors, state);
    r.linear(s.mixed, layer.outProj, s.hidden, true);
  }
  r.rmsNorm(s.hidden, layer.vectors, 'postAttentionNorm', s.normed);
  feedForward(r, s, layer.mlp);
}

/** down(silu(gate x) * up x), added to the residual stream. */
function feedForward(r: Recorder, s: Scratch, mlp: MlpUnit): void {
  r.linear(s.normed, mlp.gateProj, s.gate);
  r.linear(s.normed, mlp.upProj, s.up);
  r.swiglu(s.gate, s.up, s.act);
  r.linear(s.act, mlp.downProj, s.hidden, true);
}

/** Final norm and logits of rows [headStep.firstRow, headStep.firstRow + headStep.tokens) of the residual stream. */
function recordHead(r: Recorder, s: Scratch, units: ModelUnits): void {
  r.section('head');
  r.rmsNorm(s.hidden, units.finalNorm, 'norm', s.headInput);
  r.linear(s.headInput, units.lmHead, s.logits);
}

/**
 * Sampling without the CPU: the next token is drawn where the logits are. What is dispatched depends on a request's parameters:
 *
 *   greedy                      maxima, greedy
 *   top-k up to 128             top_k, merge; top-p and min-p are free
 *   none, or min-p alone        maxima, sums, draw
 *   top-p, or a larger top-k    maxima, four passes of histogram for each, sums, draw
 *
 * No workgroup reads more than a hundredth of a large vocabulary, and one that is last reads what the others left of it. Nothing here
 * needs subgroups.
 */
import sourceDraw from '../../wgsl/sample_draw.wgsl?raw';
import sourceGreedy from '../../wgsl/sample_greedy.wgsl?raw';
import sourceHistogram from '../../wgsl/sample_histogram.wgsl?raw';
import sourceMaxima from '../../wgsl/sample_maxima.wgsl?raw';
import sourceMerge from '../../wgsl/sample_merge.wgsl?raw';
import sourceSums from '../../wgsl/sample_sums.wgsl?raw';
import sourceTopK from '../../wgsl/sample_top_k.wgsl?raw';
import common from '../../wgsl/shared/sample.wgsl?raw';
import cut from '../../wgsl/shared/sample_cut.wgsl?raw';
import emit from '../../wgsl/shared/sample_emit.wgsl?raw';
import logits from '../../wgsl/shared/sample_logits.wgsl?raw';
import type { Gpu } from '../gpu/device';
import { createKernel, type Kernel } from '../gpu/kernel';

/** `vocab`: logits that may be drawn. `ring`: how many tokens' draws and results are kept. */
export type SampleShape = { vocab: number; ring: number };

/** As the engine's; bias and masks are not among them, so requests with either are sampled on the CPU. */
export type SampleParams = {
  /** 0 is greedy. */
  temperature: number;
  /** 0: off. */
  topK: number;
  /** 1: off. */
  topP: number;
  /** 0: off. */
  minP: number;
  /** 1: off. */
  repetitionPenalty: number;
  presencePenalty: number;
  frequencyPenalty: number;
};

const threads = 256;
/** Blocks that the vocabulary is cut into at most; the kernels' own constant. */
const mostBlocks = 128;
/** Candidates that a workgroup can hold; the kernels' own constant. */
const mostFound = 1024;
const mostListed = 128;

/** Ids that one thread looks at, and blocks of 256 threads. */
export function sampleBlocks(vocab: number): { perThread: number; blocks: number } {
  const perThread = Math.ceil(vocab / (threads * mostBlocks));
  return { perThread, blocks: Math.ceil(vocab / (threads * perThread)) };
}

export type SampleKind = 'greedy' | 'lists' | 'sums';
/** What a request's parameters ask for; `passes` are those of sample_histogram, and `end` is the cut that the last of them gives. */
export type SamplePlan = { kind: SampleKind; passes: readonly number[]; end: number };

/** Which dispatches draw a token. */
export function planSample(params: SampleParams, { vocab }: Pick<SampleShape, 'vocab'>): SamplePlan {
  if (params.temperature === 0) return { kind: 'greedy', passes: [], end: 0 };
  if (isListed(params, vocab)) return { kind: 'lists', passes: [], end: 0 };
  const counted = isLimited(params, vocab);
  const nucleus = Math.fround(params.topP) < 1;
  const passes = [...(counted ? [0, 1, 2, 3] : []), ...(nucleus ? [4, 5, 6, 7] : [])];
  return { kind: 'sums', passes, end: passes.length > 0 ? passes.at(-1)! + 1 : 0 };
}

const isLimited = ({ topK }: SampleParams, vocab: number): boolean => topK > 0 && topK < vocab;
const isListed = (params: SampleParams, vocab: number): boolean =>
  isLimited(params, vocab) && params.topK <= Math.min(mostListed, mostFound / sampleBlocks(vocab).perThread);

/** The WGSL's Params. */
export function packSampleParams(params: SampleParams, { vocab }: Pick<SampleShape, 'vocab'>): Uint32Array<ArrayBuffer> {
  const { temperature, topK, topP, minP, presencePenalty, frequencyPenalty } = params;
  const repetition = Math.fround(params.repetitionPenalty);
  const penalised = repetition !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0;
  const words = new Uint32Array(12);
  new Float32Array(words.buffer).set([temperature, topP, minP, repetition, 1 / repetition, presencePenalty, frequencyPenalty]);
  words.set([topK, Number(penalised), Number(isLimited(params, vocab)), Number(Math.fround(topP) < 1)], 7);
  return words;
}

/** What the CPU's generator gave, uniform in [0, 1), as the kernels read it: f32, and still below 1. */
export function packDraws(draws: readonly number[]): Float32Array<ArrayBuffer> {
  return Float32Array.from(draws, (draw) => Math.min(Math.fround(draw), 1 - 2 ** -24));
}

/** What sampling remembers of a request's tokens: bit 31 = in the prompt, below it the count in the reply. -> [vocab] u32. */
export function packHistory(
  vocab: number,
  prompt: Iterable<number>,
  replyCounts: ReadonlyMap<number, number> = new Map(),
): Uint32Array<ArrayBuffer> {
  const history = new Uint32Array(vocab);
  for (const token of prompt) if (token < vocab) history[token] = 2 ** 31;
  for (const [token, count] of replyCounts) if (token < vocab) history[token]! += count;
  return history;
}

/** Tokens drawn so far, and a logit that was not finite: its value, its id, and which token was to be drawn. */
export type SampleState = { drawn: number; fault?: { value: number; token: number; draw: number } };

/** @param words the four of the WGSL's State. */
export function unpackSampleState(words: Uint32Array): SampleState {
  const [drawn, bits, token, draw] = words as unknown as [number, number, number, number];
  if (bits === 0) return { drawn };
  return { drawn, fault: { value: new Float32Array(Uint32Array.of(bits).buffer)[0]!, token, draw } };
}

function constants(vocab: number): { PER: number; BLOCKS: number } {
  const { perThread, blocks } = sampleBlocks(vocab);
  return { PER: perThread, BLOCKS: blocks };
}

/** logits [vocab or more] f32, history [vocab] u32 -> blocks [128] Block; clears histogram [8, 256, 2] u32. */
export function createSampleMaxima(gpu: Gpu, { vocab }: SampleShape): Kernel {
  return createKernel(gpu, {
    label: 'sample_maxima',
    sources: [common, logits, sourceMaxima],
    constants: { VOCAB: vocab, ...constants(vocab) },
    bindings: { logits: 'read', history: 'read', blocks: 'write', histogram: 'write', params: 'uniform' },
    grid: () => [sampleBlocks(vocab).blocks],
  });
}

/** blocks of sample_maxima -> ids [1] u32, emitted [ring] u32; history [vocab] u32 and state are brought up to date. */
export function createSampleGreedy(gpu: Gpu, { vocab, ring }: SampleShape): Kernel {
  return createKernel(gpu, {
    label: 'sample_greedy',
    sources: [common, emit, sourceGreedy],
    constants: { RING: ring, ...constants(vocab) },
    bindings: { blocks: 'read', history: 'write', ids: 'write', emitted: 'write', state: 'write', params: 'uniform' },
    grid: () => [1],
  });
}

/** logits [vocab or more] f32, history [vocab] u32 -> blocks [128] Block, lists [128, 128] (key, id) u32. */
export function createSampleTopK(gpu: Gpu, { vocab }: SampleShape): Kernel {
  return createKernel(gpu, {
    label: 'sample_top_k',
    sources: [common, logits, sourceTopK],
    constants: { VOCAB: vocab, ...constants(vocab) },
    bindings: { logits: 'read', history: 'read', blocks: 'write', lists: 'write', params: 'uniform' },
    grid: () => [sampleBlocks(vocab).blocks],
  });
}

/** blocks, lists of sample_top_k, draws [ring] f32 -> as createSampleGreedy. */
export function createSampleMerge(gpu: Gpu, { vocab, ring }: SampleShape): Kernel {
  return createKernel(gpu, {
    label: 'sample_merge',
    sources: [common, emit, sourceMerge],
    constants: { RING: ring, ...constants(vocab) },
    bindings: {
      blocks: 'read',
      lists: 'read',
      draws: 'read',
      history: 'write',
      ids: 'write',
      emitted: 'write',
      state: 'write',
      params: 'uniform',
    },
    grid: () => [1],
  });
}

const cutBindings = {
  logits: 'read',
  history: 'read',
  blocks: 'read',
  histogram: 'write',
  cuts: 'write',
  params: 'uniform',
  turn: 'uniform',
} as const;

/** Pass `turn` [1] u32: logits, history, blocks -> histogram [8, 256, 2] u32 of this pass, cuts [9] Cut of the one before. */
export function createSampleHistogram(gpu: Gpu, { vocab }: SampleShape): Kernel {
  return createKernel(gpu, {
    label: 'sample_histogram',
    sources: [common, logits, cut, sourceHistogram],
    constants: { VOCAB: vocab, ...constants(vocab) },
    bindings: cutBindings,
    grid: () => [sampleBlocks(vocab).blocks],
  });
}

/** After the passes before `turn`: logits, history, histogram -> blocks [128] Block, cuts [9] Cut. */
export function createSampleSums(gpu: Gpu, { vocab }: SampleShape): Kernel {
  return createKernel(gpu, {
    label: 'sample_sums',
    sources: [common, logits, cut, sourceSums],
    constants: { VOCAB: vocab, ...constants(vocab) },
    bindings: { ...cutBindings, blocks: 'write' },
    grid: () => [sampleBlocks(vocab).blocks],
  });
}

/** logits, blocks and cuts of sample_sums, draws [ring] f32 -> as createSampleGreedy. */
export function createSampleDraw(gpu: Gpu, { vocab, ring }: SampleShape): Kernel {
  return createKernel(gpu, {
    label: 'sample_draw',
    sources: [common, logits, emit, sourceDraw],
    constants: { VOCAB: vocab, RING: ring, ...constants(vocab) },
    bindings: {
      logits: 'read',
      blocks: 'read',
      cuts: 'read',
      draws: 'read',
      history: 'write',
      ids: 'write',
      emitted: 'write',
      state: 'write',
      params: 'uniform',
      turn: 'uniform',
    },
    grid: () => [1],
  });
}

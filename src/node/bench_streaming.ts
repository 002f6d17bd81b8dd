/** `bench --streaming`: a model from files under a budget: what it predicts, what it takes, and what its parts take alone. */
import { count, figure, percent } from '../bench/report';
import { benchStreaming, type StreamedPass, type StreamingBench, type StreamingFigures } from '../bench/streaming';
import { loadedPlan, planOf, sessionOptions, withSpeeds } from '../engine/engine_core';
import type { ExpertReport } from '../engine/expert_report';
import { ModelSession } from '../engine/model_session';
import type { Gpu } from '../gpu/device';
import type { EngineConfig } from '../protocol/engine';
import type { PlanPrediction, PlanReport } from '../protocol/plan';
import { type ModelSource, openModelSource } from '../stream/model_source';
import { openDirectory } from './file_source';

/** Of decoded tokens per second: before anything was loaded (`planModel`), and of the loaded engine (`engine.plan`). */
type Predictions = { before: number | null; loaded: number | null };

export type StreamingReport = StreamingFigures & {
  plan: Omit<PlanReport, 'units' | 'prediction' | 'disk'>;
  peakGpuBytes: number;
  tokensPerSecond: number;
  predicted: Predictions;
};

/** Prints the figures. @throws EngineError as `createEngine` does. */
export async function reportStreaming(
  gpu: Gpu,
  model: string,
  config: EngineConfig,
  bench: StreamingBench,
): Promise<StreamingReport> {
  const files = await openDirectory(model);
  const source = await openModelSource(files, { text: false });
  try {
    const before = (await planOf(gpu, source, config)).prediction;
    const { session, plan } = await loaded(gpu, source, config);
    const { units: _units, prediction, disk: _disk, ...kept } = plan;
    console.log(planText(plan));
    const figures = await benchStreaming(session, bench);
    session.destroy();
    const report = {
      plan: kept,
      peakGpuBytes: gpu.memory.peakBytes,
      tokensPerSecond: 1000 / figures.token.wallMs.median,
      predicted: { before: rateOf(before), loaded: rateOf(prediction) },
      ...figures,
    };
    console.log(figuresText(report));
    return report;
  } finally {
    await source.close();
    files.close();
  }
}

const rateOf = (prediction: PlanPrediction | undefined): number | null => prediction?.tokensPerSecond ?? null;

async function loaded(gpu: Gpu, source: ModelSource, config: EngineConfig): Promise<{ session: ModelSession; plan: PlanReport }> {
  const { checkpoint, sources } = source;
  const options = await withSpeeds({ gpu, model: source }, sessionOptions(config, checkpoint, gpu), undefined);
  const session = await ModelSession.load(gpu, { config: checkpoint.config, tensors: checkpoint.tensors, sources }, options);
  return { session, plan: await loadedPlan(source, session, options.speeds) };
}

const gb = (bytes: number): string => `${(bytes / 1e9).toFixed(3)} GB`;

function planText({ model, gpuBudgetBytes, gpu, ring, streamedBytesPerToken, contextTokens, chunkTokens }: PlanReport): string {
  const budget = gpuBudgetBytes === undefined ? 'no budget' : `budget ${gb(gpuBudgetBytes)}`;
  return (
    `\n${model}, ${budget}: ${gb(gpu.residentWeights)} resident, ${gb(streamedBytesPerToken)} streamed per token through ` +
    `${ring.slots} slots of ${(ring.slotBytes / 2 ** 20).toFixed(1)} MiB; context ${contextTokens}, chunk ${chunkTokens}`
  );
}

function figuresText({ token, prompt, experts, predicted, tokensPerSecond, peakGpuBytes, plan }: StreamingReport): string {
  const bytes = plan.streamedBytesPerToken;
  const against = (name: string, rate: number | null) =>
    rate === null ? [] : [`${name} ${figure(rate)} (${signed(rate / tokensPerSecond - 1)})`];
  const predictions = [...against('before loading', predicted.before), ...against('loaded', predicted.loaded)];
  return [
    `  peak ${gb(peakGpuBytes)} counted`,
    `  ${figure(tokensPerSecond)} tokens/s; predicted ${predictions.join(', ') || 'nothing'}`,
    passText(token, bytes),
    ...(experts ? [expertText(experts)] : []),
    ...(prompt ? [passText(prompt, bytes)] : []),
    ...(prompt && !prompt.equal ? ['  no prompt of one pass takes as long to compute as its weights to read'] : []),
  ].join('\n');
}

function passText({ tokens, wallMs, ratio, overlap, ...alone }: StreamedPass, bytes: number): string {
  const moved = (ms: number) => (bytes > 0 ? `${figure(ms)} (${figure(bytes / ms / 1e6)} GB/s)` : figure(ms));
  const hidden = overlap === null ? '' : `, overlap ${overlap.toFixed(2)}`;
  return (
    `  ${count(tokens, 'token')}: ${figure(wallMs.median)} ms ± ${percent(wallMs.spread / 2)}; alone read ${moved(alone.readMs)}, ` +
    `upload ${moved(alone.uploadMs)}, both as the engine does ${moved(alone.throughMs)}, compute ${figure(alone.computeMs)}; ` +
    `${ratio.toFixed(2)} of the largest${hidden}`
  );
}

function expertText({ slots, hits, misses, prefetchHits, bytesPerToken, syncsPerToken }: ExpertReport): string {
  const early = misses > 0 ? `, ${percent(prefetchHits / misses)} of the others fetched ahead` : '';
  return (
    `  experts in ${count(slots, 'slot')}: ${percent(hits / (hits + misses))} of choices found theirs there${early}; ` +
    `${figure(bytesPerToken / 1e6)} MB and ${figure(syncsPerToken)} waits a token`
  );
}

const signed = (share: number): string => `${share < 0 ? '-' : '+'}${percent(Math.abs(share))}`;

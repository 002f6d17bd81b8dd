/** A benchmark from a request that is plain data to results that are: what a page asks its worker for. `bench` in Node shares its parts. */
import { variantsOf } from '../engine/model_session';
import { type AdapterFacts, type Gpu, openGpu } from '../gpu/device';
import { modelUnits } from '../plan/units';
import type { EngineConfig } from '../protocol/engine';
import { describeSynthetic, type SyntheticModel, syntheticShapes } from '../synth/layout';
import { type Ceilings, type Effort, effortOn, measureCeilings } from './ceilings';
import { benchKernels, type KernelBench } from './kernels';
import { matricesOf, shrunk } from './matrices';
import { benchModel } from './model';
import { type ReportedContext, withModelShares } from './model_report';
import { openPreset, smallShapes } from './preset';
import { type ProductTotal, productTotals, type ReportedRow, withShares } from './report';
import type { BenchRequest, ModelRun } from './request';
import { measureTransfers, type Transfers } from './transfers';

const mib = 2 ** 20;
/** For a CPU adapter, whose figures mean nothing: enough to see that everything runs. */
const small = { rows: 128, cols: 256, tokens: 4, context: 32, promptTokens: 16, decodeTokens: 4, repeat: 2 };

/** Tokens of a product there. */
export const smallTokens = small.tokens;

export type BenchResult = {
  adapter: AdapterFacts;
  subgroups: boolean;
  preset: string;
  ceilings: Ceilings & Transfers;
  kernels?: ReportedRow[];
  totals?: ProductTotal[];
  label?: string;
  gpuBudget?: EngineConfig['gpuBudget'] | null;
  repeat?: number;
  /** As the engine ran it. */
  chunkTokens?: number;
  kv?: string;
  precision?: string | undefined;
  variants?: Record<string, string>;
  model?: ReportedContext[];
};

export type BenchHooks = {
  onStep?(text: string): void;
  /** What there is so far. */
  onResult?(result: BenchResult): void;
};

/** Opens the device itself. @throws EngineError 'unsupported', 'budget', 'invalid-request', … */
export async function runBench(request: BenchRequest, { onStep, onResult }: BenchHooks = {}): Promise<BenchResult> {
  const gpu = await openGpu(navigator.gpu, { disable: request.disable });
  const effort = effortOn(gpu, request.seconds);
  onStep?.('bandwidth and arithmetic');
  const ceilings = { ...(await measureCeilings(gpu, effort)), ...(await measureTransfers(gpu)) };
  const { preset, bits } = request.model;
  let result: BenchResult = { adapter: gpu.adapter, subgroups: gpu.subgroups, preset, ceilings };
  const grow = (more: Partial<BenchResult>) => {
    result = { ...result, ...more };
    onResult?.(result);
  };
  grow({});
  try {
    if (request.kernels) await runKernels(gpu, request, effort, ceilings, grow, onStep);
    else {
      grow({ label: labelOn(gpu, `${preset} ${bits}-bit`), gpuBudget: request.config.gpuBudget ?? null, model: [] });
      await runModel(gpu, request, effort, ceilings, grow, onStep);
    }
    return result;
  } finally {
    gpu.device.destroy();
  }
}

export interface BenchWorkerApi {
  run(
    request: BenchRequest,
    onStep: NonNullable<BenchHooks['onStep']>,
    onResult: NonNullable<BenchHooks['onResult']>,
  ): Promise<BenchResult>;
}

/** What the worker offers; callbacks are comlink proxies. */
export const createBenchWorker = (): BenchWorkerApi => ({
  run: (request, onStep, onResult) => runBench(request, { onStep, onResult }),
});

type Grow = (more: Partial<BenchResult>) => void;

async function runKernels(
  gpu: Gpu,
  { model, tokens, only }: BenchRequest,
  effort: Effort,
  ceilings: Ceilings,
  grow: Grow,
  onStep: BenchHooks['onStep'],
): Promise<void> {
  const rows: ReportedRow[] = [];
  onStep?.('matrix products');
  await benchKernels(gpu, {
    ...kernelBench(gpu, { model, tokens, ...(only === undefined ? {} : { only }) }, effort),
    onRows: (more) => {
      rows.push(...more.map((row) => withShares(row, ceilings)));
      onStep?.(`matrix products: ${more[0]?.matrix ?? ''}, ${more[0]?.tokens ?? 0} tokens`);
      grow({ kernels: [...rows] });
    },
  });
  grow({ kernels: rows, totals: productTotals(rows, ceilings) });
}

async function runModel(
  gpu: Gpu,
  request: BenchRequest,
  effort: Effort,
  ceilings: Ceilings,
  grow: Grow,
  onStep: BenchHooks['onStep'],
): Promise<void> {
  const { model, contexts, promptTokens, decodeTokens, repeat } = fittedTo(gpu, request);
  const described = describeSynthetic(model as SyntheticModel);
  const rows: ReportedContext[] = [];
  const openProfiled = () => {
    onStep?.('every kernel alone');
    return openGpu(navigator.gpu, { disable: request.disable, timestamps: true });
  };
  grow({ repeat });
  await benchModel(gpu, {
    ...{ contexts, promptTokens, decodeTokens, repeat, seed: 1 },
    ...(request.profile ? { profile: { effort, openGpu: openProfiled } } : {}),
    open: async (gpu, contextTokens) => {
      onStep?.(`making the weights for a context of ${contextTokens}`);
      const session = await openPreset(gpu, described, { ...request.config, contextTokens });
      const { chunkTokens, kv, precision } = session.options;
      grow({ chunkTokens, kv, precision, variants: variantsOf(session.kernelLabels) });
      onStep?.(`prefill and decode, ${contextTokens} tokens`);
      return session;
    },
    onContext: (figures) => {
      rows.push(withModelShares(figures, ceilings));
      grow({ model: [...rows] });
    },
    onProfiles: (figures) => {
      rows[rows.findIndex(({ context }) => context === figures.context)] = withModelShares(figures, ceilings);
      grow({ model: [...rows] });
    },
  });
}

/** What to measure of a model's products; small on a CPU adapter. */
export function kernelBench(
  { adapter }: Gpu,
  { model, tokens, only }: { model: SyntheticModel; tokens: readonly number[]; only?: string },
  effort: Effort,
): KernelBench {
  const { tensors } = describeSynthetic(model);
  const matrices = matricesOf(modelUnits(tensors, { slotBytes: Number.POSITIVE_INFINITY, residentEmbedding: true }));
  return {
    matrices: adapter.isCpu ? shrunk(matrices, small) : matrices,
    tokens: adapter.isCpu ? [...new Set(tokens.map((count) => Math.min(count, small.tokens)))] : tokens,
    rotateBytes: adapter.isCpu ? mib / 4 : 256 * mib,
    effort,
    ...(only === undefined ? {} : { only }),
  };
}

/** Of a model that exists as shapes only: what `fittedTo` makes of it is not to be taken for the model. */
export const labelOn = ({ adapter }: Gpu, label: string): string => (adapter.isCpu ? `${label}, tiny shapes on a CPU` : label);

/** The run as it was asked for, or a small one on a CPU adapter. */
export function fittedTo<Run extends ModelRun>({ adapter }: Gpu, run: Run): Run {
  if (!adapter.isCpu) return run;
  const { model, contexts, promptTokens, decodeTokens, repeat } = run;
  return {
    ...run,
    model: typeof model === 'string' ? model : { shapes: smallShapes(syntheticShapes(model)), bits: model.bits },
    contexts: [...new Set(contexts.map((context) => Math.min(context, small.context)))],
    promptTokens: Math.min(promptTokens, small.promptTokens),
    decodeTokens: Math.min(decodeTokens, small.decodeTokens),
    repeat: Math.min(repeat, small.repeat),
  };
}

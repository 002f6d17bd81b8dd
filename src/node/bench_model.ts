/** `bench --preset` and `bench --model`: a whole model's prefill and decode at several lengths of context. */
import type { Ceilings } from '../bench/ceilings';
import { benchModel, type ModelBench } from '../bench/model';
import { modelTable, profileTable, type ReportedContext, withModelShares } from '../bench/model_report';
import { openPreset } from '../bench/preset';
import { fittedTo, labelOn } from '../bench/run';
import { sessionOptions, withSpeeds } from '../engine/engine_core';
import { ModelSession, variantsOf } from '../engine/model_session';
import type { ChoiceStore } from '../engine/tune';
import type { Gpu } from '../gpu/device';
import type { EngineConfig } from '../protocol/engine';
import { type ModelSource, openModelSource } from '../stream/model_source';
import { describeSynthetic, type SyntheticModel } from '../synth/layout';
import { keep } from './bench_file';
import { openDirectory } from './file_source';

export type ModelOptions = Pick<ModelBench, 'contexts' | 'promptTokens' | 'decodeTokens' | 'repeat' | 'profile'> & {
  /** A folder of files, or shapes alone. */
  model: string | SyntheticModel;
  label: string;
  config: EngineConfig;
  /** Measure kernels first, and keep what came out. */
  choices?: ChoiceStore;
  json?: string;
};

/** Prints every context as soon as it is there, and keeps the file up to date: a run may be cut short. */
export async function reportModel(gpu: Gpu, given: ModelOptions, report: { ceilings: Ceilings }) {
  const options = fittedTo(gpu, given);
  const { contexts, promptTokens, decodeTokens, repeat, profile } = options;
  const label = typeof given.model === 'string' ? given.label : labelOn(gpu, given.label);
  const rows: ReportedContext[] = [];
  let kept = Promise.resolve();
  let how: object = {};
  const { open, close } = await opener(gpu, options);
  const bench: ModelBench = {
    ...{ contexts, promptTokens, decodeTokens, repeat, seed: 1 },
    ...(profile ? { profile } : {}),
    open: async (contextTokens) => {
      const session = await open(contextTokens);
      const { chunkTokens, kv, precision } = session.options;
      how = { chunkTokens, kv, precision, variants: variantsOf(session.kernelLabels) };
      return session;
    },
    onContext: (figures) => {
      const row = withModelShares(figures, report.ceilings);
      rows.push(row);
      console.log(`\n${modelTable(label, bench, [row])}`);
      if (!('skipped' in row)) for (const profile of row.profiles) console.log(`\n${profileTable(row.context, profile)}`);
      const now = { ...report, model: rows };
      kept = kept.then(() => keep(options.json, now));
    },
  };
  try {
    await benchModel(gpu, bench);
  } finally {
    await kept;
    await close();
  }
  return { label, gpuBudget: options.config.gpuBudget ?? null, repeat, ...how, model: rows };
}

/** A model is named once and loaded for every context. */
async function opener(gpu: Gpu, { model, config, choices }: ModelOptions) {
  if (typeof model !== 'string') {
    const described = describeSynthetic(model);
    return {
      open: (contextTokens: number) => openPreset(gpu, described, { ...config, contextTokens }, choices),
      close: async () => {},
    };
  }
  const files = await openDirectory(model);
  const source = await openModelSource(files, { text: false });
  const open = (contextTokens: number) => openFiles(gpu, source, { ...config, contextTokens }, choices);
  const close = async () => {
    await source.close();
    files.close();
  };
  return { open, close };
}

async function openFiles(gpu: Gpu, model: ModelSource, config: EngineConfig, choices?: ChoiceStore): Promise<ModelSession> {
  const { checkpoint, sources } = model;
  const options = await withSpeeds({ gpu, model }, sessionOptions(config, checkpoint, gpu), undefined);
  return ModelSession.load(gpu, { config: checkpoint.config, tensors: checkpoint.tensors, sources }, options, { choices });
}

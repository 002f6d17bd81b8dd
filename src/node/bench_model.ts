/** `bench --preset` and `bench --model`: a whole model's prefill and decode at several lengths of context. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Ceilings } from '../bench/ceilings';
import type { ExpertFile } from '../bench/expert_file';
import { benchModel, type ModelBench } from '../bench/model';
import { modelTable, profileTable, type ReportedContext, type ReportedFigures, withModelShares } from '../bench/model_report';
import { openPreset } from '../bench/preset';
import { fittedTo, labelOn } from '../bench/run';
import { budgetOfSlots, type PlannedModel } from '../bench/slot_budget';
import { sessionOptions, withSpeeds } from '../engine/engine_core';
import { ModelSession, variantsOf } from '../engine/model_session';
import type { ChoiceStore } from '../engine/tune';
import { EngineError } from '../errors';
import type { Gpu } from '../gpu/device';
import type { EngineConfig } from '../protocol/engine';
import { type ModelSource, openModelSource } from '../stream/model_source';
import { describeSynthetic, type SyntheticModel } from '../synth/layout';
import type { Popularity } from '../synth/tensors';
import { popularityKey } from '../synth/texts';
import { keep } from './bench_file';
import { openExpertFile } from './expert_file';
import { openDirectory } from './file_source';

export type ModelOptions = Pick<ModelBench, 'contexts' | 'promptTokens' | 'decodeTokens' | 'repeat' | 'profile' | 'trace'> & {
  /** A folder of files, or shapes alone. */
  model: string | SyntheticModel;
  label: string;
  config: EngineConfig;
  /** Slots for such a share of all experts, in place of a budget. */
  slotShare?: number | undefined;
  /** Where the experts of shapes alone are read that a budget does not hold; `bytes` of a file that is to be made. */
  expertsFile?: { path: string; bytes: number } | undefined;
  /** Measure kernels first, and keep what came out. */
  choices?: ChoiceStore;
  json?: string;
};

/** Prints every context as soon as it is there, and keeps the file up to date: a run may be cut short. */
export async function reportModel(gpu: Gpu, given: ModelOptions, report: { ceilings: Ceilings }) {
  const options = fittedTo(gpu, given);
  const { contexts, promptTokens, decodeTokens, repeat, profile, trace } = options;
  const label = typeof given.model === 'string' ? given.label : labelOn(gpu, given.label);
  const rows: ReportedContext[] = [];
  let kept = Promise.resolve();
  const keepNow = () => {
    const now = { ...report, model: [...rows] };
    kept = kept.then(() => keep(options.json, now));
  };
  let how: object = {};
  const { open, close, readFrom, routing } = await opener(options);
  if (readFrom) console.log(readFromText(readFrom));
  const bench: ModelBench = {
    ...{ contexts, promptTokens, decodeTokens, repeat, seed: 1 },
    ...(profile ? { profile } : {}),
    ...(trace ? { trace } : {}),
    open: async (gpu, contextTokens) => {
      const session = await open(gpu, contextTokens);
      const { chunkTokens, kv, precision } = session.options;
      how = { chunkTokens, kv, precision, variants: variantsOf(session.kernelLabels) };
      return session;
    },
    onContext: (figures) => {
      const row = withModelShares(figures, report.ceilings);
      rows.push(row);
      console.log(`\n${modelTable(label, { ...bench, routing }, [row])}`);
      keepNow();
    },
    onProfiles: (figures) => {
      const row = withModelShares(figures, report.ceilings) as ReportedFigures;
      rows[rows.findIndex(({ context }) => context === row.context)] = row;
      for (const profile of row.profiles) console.log(`\n${profileTable(row.context, profile)}`);
      keepNow();
    },
  };
  try {
    await benchModel(gpu, bench);
  } finally {
    await kept;
    await close();
  }
  const asked = { gpuBudget: options.config.gpuBudget ?? null, slotShare: options.slotShare ?? null, trace: trace ?? null };
  const file = readFrom && { bytes: readFrom.source.size, images: readFrom.images, experts: readFrom.experts };
  return {
    label,
    ...asked,
    repeat,
    ...how,
    ...(routing ? { routing } : {}),
    ...(file ? { expertsFile: file } : {}),
    model: rows,
  };
}

/** A model is named once and loaded for every context. */
async function opener({ model, config: given, choices, slotShare, expertsFile }: ModelOptions): Promise<Opener> {
  const fitted = (gpu: Gpu, described: PlannedModel, contextTokens: number): EngineConfig => {
    const config = { ...given, contextTokens };
    return slotShare === undefined ? config : { ...config, gpuBudget: budgetOfSlots(gpu, described, config, slotShare) };
  };
  if (typeof model !== 'string') {
    const described = describeSynthetic(model);
    const experts = expertsFile && (await openExpertFile(expertsFile.path, described, expertsFile.bytes));
    return {
      open: (gpu, contextTokens) => openPreset(gpu, described, fitted(gpu, described, contextTokens), { choices, experts }),
      close: async () => experts?.source.close(),
      readFrom: experts,
      routing: described.config.moe && { skew: 0, locality: 0 },
    };
  }
  if (expertsFile) throw new EngineError('invalid-request', '--experts-file is for a --preset; a --model has its own files.');
  const files = await openDirectory(model);
  const source = await openModelSource(files, { text: false });
  const open: Opener['open'] = (gpu, contextTokens) =>
    openFiles(gpu, source, fitted(gpu, source.checkpoint, contextTokens), choices);
  const close = async () => {
    await source.close();
    files.close();
  };
  return { open, close, readFrom: undefined, routing: await routingOf(model) };
}

type Opener = {
  open: ModelBench['open'];
  close(): Promise<void>;
  /** In place of the files of a model. */
  readFrom: ExpertFile | undefined;
  /** Of a synthetic mixture, as `synth` wrote it down. */
  routing: Popularity | undefined;
};

async function routingOf(folder: string): Promise<Popularity | undefined> {
  const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as { [popularityKey]?: Popularity };
  return config[popularityKey];
}

function readFromText({ source, images, experts }: ExpertFile): string {
  const shared = images < experts ? `, which ${experts} experts share` : '';
  return `Experts without a slot are read from ${source.label}: ${(source.size / 1e9).toFixed(2)} GB, ${images} images${shared}`;
}

async function openFiles(gpu: Gpu, model: ModelSource, config: EngineConfig, choices?: ChoiceStore): Promise<ModelSession> {
  const { checkpoint, sources } = model;
  const options = await withSpeeds({ gpu, model }, sessionOptions(config, checkpoint, gpu), undefined);
  return ModelSession.load(gpu, { config: checkpoint.config, tensors: checkpoint.tensors, sources }, options, { choices });
}

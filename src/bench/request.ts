/** What a benchmark is asked for, as plain data, and its form in a page's query. */
import { EngineError } from '../errors';
import type { DisabledFeature } from '../gpu/device';
import type { EngineConfig } from '../protocol/engine';
import { type SyntheticModel, syntheticBits } from '../synth/layout';
import { type PresetName, presetNames } from '../synth/presets';
import type { ModelBench } from './model';

export type ModelRun = Pick<ModelBench, 'contexts' | 'promptTokens' | 'decodeTokens' | 'repeat'> & {
  /** Shapes alone, or whatever else the caller can open. */
  model: SyntheticModel | string;
};

export type BenchRequest = ModelRun & {
  model: { preset: PresetName; bits: SyntheticModel['bits'] };
  /** Of every candidate of its matrix products, in place of the model. */
  kernels: boolean;
  /** Of a model: also every kind of dispatch alone. */
  profile: boolean;
  tokens: number[];
  only?: string;
  config: EngineConfig;
  disable: DisabledFeature[];
  /** For each of the ceilings and candidates. */
  seconds?: number;
};

/**
 * From a page's query, in the words of the command line: preset, bits, context, prompt, decode, repeat, gpu-budget, precision, kv, chunk,
 * profile, kernels, tokens, only, disable, seconds-per. @throws EngineError 'invalid-request' that names the option.
 */
export function requestFromQuery(query: URLSearchParams): BenchRequest {
  const number = (name: string, usual: number, least: number, most: number) => {
    const text = query.get(name);
    return text === null || text === '' ? usual : numberIn(name, text, least, most);
  };
  const numbers = (name: string, usual: string, least: number, most: number) => [
    ...new Set((query.get(name) || usual).split(',').map((text) => numberIn(name, text.trim(), least, most))),
  ];
  const choice = <T extends string>(name: string, choices: readonly T[]) => chosen(name, query.get(name), choices);
  const bits = choice('bits', ['3', '4', '16']) ?? '4';
  const [chunk, seconds] = [number('chunk', 0, 1, 512), query.get('seconds-per')];
  const [kv, precision] = [choice('kv', ['f16', 'f32']), choice('precision', ['exact', 'fast'])];
  return {
    model: {
      preset: presetNamed('preset', query.get('preset') || '0.8b'),
      bits: syntheticBits.find((known) => String(known) === bits)!,
    },
    kernels: query.has('kernels'),
    profile: query.has('profile'),
    tokens: numbers('tokens', '1,8,64,512', 1, 4096),
    ...(query.get('only') ? { only: query.get('only')! } : {}),
    contexts: numbers('context', '0,4096', 0, 1 << 24),
    promptTokens: number('prompt', 512, 1, 1 << 20),
    decodeTokens: number('decode', 128, 2, 1 << 20),
    repeat: number('repeat', 3, 1, 100),
    disable: (query.get('disable') ?? '')
      .split(',')
      .filter(Boolean)
      .map((name) => chosen('disable', name, ['subgroups', 'f16'])!),
    ...(seconds ? { seconds: secondsIn(seconds) } : {}),
    config: {
      ...(chunk > 0 ? { chunkTokens: chunk } : {}),
      ...(kv ? { kv } : {}),
      ...(precision ? { precision } : {}),
      ...(query.get('gpu-budget') ? { gpuBudget: query.get('gpu-budget')! } : {}),
    },
  };
}

function numberIn(name: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new EngineError('invalid-request', `${name} must be a whole number from ${least} to ${most}; it is '${text}'.`);
}

function secondsIn(text: string): number {
  const value = Number(text);
  if (value >= 0 && value <= 60) return value;
  throw new EngineError('invalid-request', `seconds-per must be a number from 0 to 60; it is '${text}'.`);
}

function chosen<T extends string>(name: string, text: string | null, choices: readonly T[]): T | undefined {
  if (!text) return undefined;
  const found = choices.find((choice) => choice === text);
  if (found) return found;
  throw new EngineError('invalid-request', `${name} must be ${choices.join(' or ')}; it is '${text}'.`);
}

/** The full name, or what follows `qwen3.5-`. @throws EngineError 'invalid-request' that names the option */
export function presetNamed(option: string, text: string): PresetName {
  const found = presetNames.find((name) => name === text || name === `qwen3.5-${text}`);
  if (found) return found;
  throw new EngineError('invalid-request', `${option} must be ${presetNames.join(' or ')}; it is '${text}'.`);
}

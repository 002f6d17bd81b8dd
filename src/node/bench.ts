/**
 * `bench`: the machine's ceilings, and Sluice held against them: a whole model at several lengths of context, or with --kernels every
 * candidate of its matrix products. A preset's random weights are made on the device. With --streaming a model's time per token under a budget is
 * held against what its parts take alone, and nothing else of the device is used.
 */
import { type Effort, effortOn, measureCeilings } from '../bench/ceilings';
import { ceilingsText } from '../bench/report';
import { presetNamed } from '../bench/request';
import { measureTransfers } from '../bench/transfers';
import { EngineError } from '../errors';
import type { Gpu } from '../gpu/device';
import { parseBytes } from '../plan/byte_budget';
import type { EngineConfig } from '../protocol/engine';
import { type SyntheticModel, syntheticBits } from '../synth/layout';
import { type PresetName, presetNames } from '../synth/presets';
import { decimal, disabledFeatures, oneOf, readOptions, required, wholeNumber } from './arguments';
import { keep } from './bench_file';
import { reportKernels, tokenCounts } from './bench_kernels';
import { type ModelOptions, reportModel } from './bench_model';
import { reportStreaming } from './bench_streaming';
import { openChoices } from './choices_file';
import { openNodeGpu, reportSoftware } from './open_gpu';

const usage =
  `bench [--preset <${presetNames.join('|')}> [--bits 3|4|16] | --model <dir>] [--prompt <n>] [--decode <n>] [--context 0,4096,32768] ` +
  '[--gpu-budget <bytes|4GB>] [--chunk <n>] [--kv f16|f32] [--precision exact|fast] [--repeat <n>] [--profile] [--tune <file>] [--trace real] [--slots <n>%] [--experts-file <path> [--experts-bytes <40GB>]] | bench --kernels [--preset …] [--bits 3|4] [--tokens 1,8,64,512] ' +
  '[--context …] [--kv f16|f32] [--only <part of a matrix, of a candidate or of "attention 512 at 4096">] | bench --streaming --model <dir> --gpu-budget <bytes|4GB> [--context <n>] [--decode <n>] [--chunk …] [--kv …] [--precision …] [--repeat <n>]; all: [--disable subgroups,f16] [--json <file>]; all but --streaming: [--seconds-per <n>]';

type Raw = Record<string, string | boolean | undefined>;

/** Dawn rounds them for web pages, to 65 us. */
const fineTimestamps = ['disable-dawn-features=timestamp_quantization'];

export async function bench(args: readonly string[]): Promise<void> {
  const o = readOptions(
    args,
    {
      ...{
        kernels: 'flag',
        streaming: 'flag',
        preset: 'text',
        tokens: 'text',
        only: 'text',
        disable: 'text',
        'seconds-per': 'text',
        json: 'text',
      },
      ...{ model: 'text', bits: 'text', prompt: 'text', decode: 'text', context: 'text', repeat: 'text' },
      ...{ 'gpu-budget': 'text', chunk: 'text', kv: 'text', profile: 'flag', precision: 'text', tune: 'text' },
      ...{ trace: 'text', slots: 'text', 'experts-file': 'text', 'experts-bytes': 'text' },
    },
    usage,
  );
  refuseForeign(o);
  const json = typeof o.json === 'string' ? { json: o.json } : {};
  if (o.streaming === true) return streamingRun(o, json.json);
  const run = o.kernels === true ? kernelRun(o, json) : modelRun(o, json);
  const seconds = decimal('seconds-per', o['seconds-per'], { least: 0, most: 60 });
  const gpu = await openNodeGpu({ disable: disabledFeatures(o.disable) });
  const { adapter } = gpu;
  sayDevice(gpu);
  if (adapter.isCpu) console.log('No GPU: sizes are tiny, and the figures say nothing about speed.');
  const effort = effortOn(gpu, seconds);
  const ceilings = { ...(await measureCeilings(gpu, effort)), ...(await measureTransfers(gpu)) };
  console.log(ceilingsText(ceilings));
  const report = {
    adapter,
    subgroups: gpu.subgroups,
    preset: typeof o.model === 'string' ? null : presetOf(o),
    ceilings,
  };
  const result = { ...report, ...(await run(gpu, effort, report)) };
  await keep(json.json, result);
  console.log(JSON.stringify(result));
}

const ofModels = 'model preset prompt decode context gpu-budget chunk kv precision repeat profile tune trace slots seconds-per';
/** What each kind takes, beside what all do. */
const optionsOf = {
  '--kernels': 'kernels preset bits tokens context kv only seconds-per',
  '--streaming': 'streaming model gpu-budget context decode chunk kv precision repeat',
  '--model': `${ofModels} experts-file`, // refused with its own words
  '--preset': `${ofModels} bits experts-file experts-bytes`,
  'the ceilings alone': 'seconds-per',
};

function kindOf(o: Raw): keyof typeof optionsOf {
  if (o.streaming === true) return '--streaming';
  if (o.kernels === true) return '--kernels';
  if (o.model !== undefined) return '--model';
  return o.preset === undefined ? 'the ceilings alone' : '--preset';
}

/** @throws EngineError 'invalid-request': an option without effect would make figures look like what they are not. */
function refuseForeign(o: Raw): void {
  const kind = kindOf(o);
  const known = [...optionsOf[kind].split(' '), 'disable', 'json'];
  const foreign =
    Object.keys(o).find((name) => o[name] !== undefined && !known.includes(name)) ??
    (o['experts-bytes'] !== undefined && o['experts-file'] === undefined ? 'experts-bytes' : undefined);
  if (foreign) throw new EngineError('invalid-request', `--${foreign} has no effect on a bench of ${kind}. Leave it out.`);
}

function sayDevice({ adapter, subgroups }: Gpu): void {
  console.log(`${adapter.vendor} ${adapter.architecture} ${adapter.description}, subgroups ${subgroups ? 'on' : 'off'}`);
}

/** No ceilings: their buffers would count as the model's to whoever watches this process from outside. */
async function streamingRun(o: Raw, json: string | undefined): Promise<void> {
  const model = required('model', o.model, usage);
  const contextTokens = wholeNumber('context', o.context, { least: 1, most: 1 << 24 });
  const config = { ...engineConfig(o), ...(contextTokens === undefined ? {} : { contextTokens }) };
  const decodeTokens = wholeNumber('decode', o.decode, { least: 2, most: 1 << 20 }) ?? 8;
  const repeat = wholeNumber('repeat', o.repeat, { least: 1, most: 100 }) ?? 3;
  const gpu = await openNodeGpu({ disable: disabledFeatures(o.disable) });
  sayDevice(gpu);
  reportSoftware(gpu);
  const { vendor, architecture, description, isCpu } = gpu.adapter;
  const report = await reportStreaming(gpu, model, config, { decodeTokens, repeat, seed: 1 });
  const result = { adapter: { vendor, architecture, description, isCpu }, repeat, ...report };
  await keep(json, result);
  console.log(JSON.stringify(result));
}

type Report = Parameters<typeof reportModel>[2];
type Run = (gpu: Gpu, effort: Effort, report: Report) => Promise<object>;

function kernelRun(o: Raw, json: { json?: string }): Run {
  const options = {
    model: { preset: presetOf(o), bits: bitsOf(o, ['3', '4']) } satisfies SyntheticModel,
    tokens: tokenCounts(o.tokens),
    contexts: contextLengths(o.context),
    kv: oneOf('kv', o.kv, ['f16', 'f32']) ?? 'f16',
    ...(typeof o.only === 'string' ? { only: o.only } : {}),
    ...json,
  };
  return (gpu, effort, report) => reportKernels(gpu, options, effort, report);
}

/** Without a model the ceilings alone. */
function modelRun(o: Raw, json: { json?: string }): Run {
  if (o.model === undefined && o.preset === undefined) return async () => ({});
  if (o.model !== undefined && o.preset !== undefined)
    throw new EngineError('invalid-request', '--model and --preset name two models. Give one of them.');
  const options: ModelOptions = {
    ...namedModel(o),
    contexts: contextLengths(o.context),
    promptTokens: wholeNumber('prompt', o.prompt, { least: 1, most: 1 << 20 }) ?? 512,
    decodeTokens: wholeNumber('decode', o.decode, { least: 2, most: 1 << 20 }) ?? 128,
    repeat: wholeNumber('repeat', o.repeat, { least: 1, most: 100 }) ?? 3,
    config: engineConfig(o),
    ...expertOptions(o),
    ...json,
  };
  return async (gpu, effort, report) => {
    const tuned = typeof o.tune === 'string' ? { ...options, choices: await openChoices(o.tune) } : options;
    const openGpu = () => openNodeGpu({ disable: disabledFeatures(o.disable), timestamps: true, dawnFlags: fineTimestamps });
    return reportModel(gpu, o.profile === true ? { ...tuned, profile: { effort, openGpu } } : tuned, report);
  };
}

/** @throws EngineError 'invalid-request'. */
function expertOptions(o: Raw): Pick<ModelOptions, 'trace' | 'slotShare' | 'expertsFile'> {
  const trace = oneOf('trace', o.trace, ['real']);
  const slots = typeof o.slots === 'string' ? /^(\d+(?:\.\d+)?)%$/.exec(o.slots) : undefined;
  const slotShare = slots ? Number(slots[1]) / 100 : undefined;
  if (o.slots !== undefined && !(slotShare !== undefined && slotShare > 0 && slotShare <= 1))
    throw new EngineError('invalid-request', `--slots must be a share of the experts such as 25%; it is '${o.slots}'.`);
  if (slotShare !== undefined && o['gpu-budget'] !== undefined)
    throw new EngineError('invalid-request', '--slots and --gpu-budget both say how many experts have slots. Give one of them.');
  const bytes = parseBytes('--experts-bytes', typeof o['experts-bytes'] === 'string' ? o['experts-bytes'] : '40GB');
  const expertsFile = typeof o['experts-file'] === 'string' ? { path: o['experts-file'], bytes } : undefined;
  return { trace, slotShare, expertsFile };
}

function namedModel(o: Raw): Pick<ModelOptions, 'model' | 'label'> {
  if (typeof o.model === 'string') return { model: o.model, label: o.model };
  const preset = presetOf(o);
  const bits = bitsOf(o);
  return { model: { preset, bits }, label: `${preset} ${bits}-bit` };
}

function bitsOf(o: Raw, choices: readonly string[] = ['3', '4', '16']): SyntheticModel['bits'] {
  const wanted = oneOf('bits', o.bits, choices) ?? '4';
  return syntheticBits.find((known) => String(known) === wanted)!;
}

function engineConfig(o: Raw): EngineConfig {
  const chunkTokens = wholeNumber('chunk', o.chunk, { least: 1, most: 512 });
  const kv = oneOf('kv', o.kv, ['f16', 'f32']);
  const precision = oneOf('precision', o.precision, ['exact', 'fast']);
  return {
    ...(chunkTokens === undefined ? {} : { chunkTokens }),
    ...(kv === undefined ? {} : { kv }),
    ...(precision === undefined ? {} : { precision }),
    ...(typeof o['gpu-budget'] === 'string' ? { gpuBudget: o['gpu-budget'] } : {}),
  };
}

function contextLengths(value: string | boolean | undefined): number[] {
  if (typeof value !== 'string') return [0, 4096, 32768];
  return [...new Set(value.split(',').map((length) => wholeNumber('context', length.trim(), { least: 0, most: 1 << 24 })!))];
}

const presetOf = ({ preset }: Raw): PresetName => presetNamed('--preset', String(preset ?? '27b'));

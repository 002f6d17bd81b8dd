/**
 * What follows for each size of model: held in the memory that the ladder proved, streamed from disk, or neither. Arithmetic over findings:
 * the engine's own plan, and its own timeline with what this machine was seen to do.
 */
import type { ModelConfig } from '../format/types';
import { type MemoryPlan, type PlanInput, planMemory } from '../plan/memory_plan';
import type { Speeds } from '../plan/timeline';
import { describeSynthetic } from '../synth/layout';
import { type PresetName, presetNames } from '../synth/presets';
import { bytesText, figure, mib } from './context';
import type { Report, Verdict } from './report';

type Findings = Report['findings'];

const contextTokens = 4096;
const chunkTokens = 256;
/** Of a decode step, recorded for a GPU: see docs of `bench`. */
const dispatchesPerLayer = 10;

export function verdictsOf(findings: Findings): Verdict[] {
  const { device, memory, kernels, model, chat } = findings;
  const wrong = [kernels, model, chat].some((finding) => finding?.status === 'failed');
  return presetNames.map((preset) => {
    const title = titleOf(preset);
    if (wrong) return unknown(title, WRONG);
    if (!device || device.status === 'failed') return unknown(title, 'No GPU device could be opened.');
    if (!memory || memory.status === 'failed') return unknown(title, 'How much memory there is was not found out.');
    return verdictOf(preset, findings);
  });
}

const WRONG = 'What is computed here is wrong, or could not be checked: do not trust its answers.';

const unknown = (model: string, words: string): Verdict => ({ model, answer: 'unknown', words, weightBytes: 0 });

/** 'qwen3.5-0.8b' -> 'Qwen3.5 0.8B' */
function titleOf(preset: PresetName): string {
  const [, family, size] = /^(.*?)-(\d.*)$/.exec(preset) as unknown as [string, string, string];
  return `${family.replace('qwen', 'Qwen').replace('next', 'Next')} ${size.toUpperCase()}`;
}

function verdictOf(preset: PresetName, findings: Findings): Verdict {
  const { limits } = findings.device!.facts;
  const { config, tensors } = describeSynthetic({ preset, bits: 4 });
  const slabs = {
    maxBufferSize: limits.maxBufferSize!,
    maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize!,
  } as PlanInput['limits'];
  const staging = { buffers: 8, mostBuffers: 8, pieceBytes: 8 * mib };
  const input = { config, tensors, limits: slabs, contextTokens, chunkTokens, kv: 'f16', staging } as const;
  const whole = planMemory(input);
  const { weightBytes, smallestBudgetBytes } = whole;
  const proved = findings.memory!.facts.survivedBytes;
  const base = { model: titleOf(preset), weightBytes, smallestBudgetBytes };
  const disk = diskWords(findings, weightBytes);
  if (proved >= whole.bytes.total) {
    const tokensPerSecond = residentSpeed(whole, config, findings);
    const words = `Fits in memory: ${bytesText(whole.bytes.total)}${speedWords(tokensPerSecond)}.${disk}`;
    return { ...base, answer: 'memory', words, budgetBytes: whole.bytes.total, ...(tokensPerSecond ? { tokensPerSecond } : {}) };
  }
  if (proved < smallestBudgetBytes) {
    const words = `Needs ${bytesText(smallestBudgetBytes)}; ${bytesText(proved)} were held. ${moreMemory(findings)}`;
    return { ...base, answer: 'too large', words };
  }
  const tokensPerSecond = streamedSpeed({ ...input, gpuBudgetBytes: proved }, findings);
  const what = config.moe ? 'Experts are fetched from disk as the text needs them' : 'Streams from disk for every token';
  const words = `${what}, in ${bytesText(proved)}${speedWords(tokensPerSecond)}.${disk} ${moreMemory(findings)}`;
  return {
    ...base,
    answer: 'streams',
    words: words.trim(),
    budgetBytes: proved,
    ...(tokensPerSecond ? { tokensPerSecond } : {}),
  };
}

function speedWords(tokensPerSecond: number | undefined): string {
  return tokensPerSecond === undefined ? '' : `, about ${figure(tokensPerSecond)} tokens/s`;
}

/** Only where the ladder stopped because it was told to is there hope for more. */
function moreMemory({ memory }: Findings): string {
  return memory!.facts.end === 'as far as asked' ? 'More was not tried.' : '';
}

/** Chrome tells of less than it grants. */
function diskWords({ browser }: Findings, weightBytes: number): string {
  if (browser?.facts.storage?.quotaBytes === undefined) return '';
  const { storage, userAgent = '' } = browser.facts;
  const free = Math.max(0, storage.quotaBytes! - (storage.usageBytes ?? 0));
  if (free >= weightBytes) return '';
  const least = /Chrom/.test(userAgent) ? 'at least ' : '';
  return ` To keep it takes ${bytesText(weightBytes)} of disk; the browser grants ${least}${bytesText(free)}.`;
}

function readBytes({ model, experts }: MemoryPlan): number {
  const units = model.units.reduce((sum, { bytes, kind }) => sum + (kind === 'embed' ? 0 : bytes), 0);
  return units + (experts ? experts.perToken * experts.slotBytes : 0);
}

/** Weights at the rate of this device's own products, and what the dispatches of a step cost beside. */
function residentSpeed(plan: MemoryPlan, config: ModelConfig, { device, products, speed }: Findings): number | undefined {
  const rate = products?.facts.gbPerSecond;
  if (!rate || device!.facts.isCpu) return undefined;
  const dispatchUs = Math.max(speed?.facts.dispatchUs?.value ?? 0, speed?.facts.encodeUs?.value ?? 0);
  const ms = readBytes(plan) / rate / 1e6 + (config.numHiddenLayers * dispatchesPerLayer * dispatchUs) / 1000;
  return 1000 / ms;
}

function streamedSpeed(input: PlanInput, { device, products, upload, disk }: Findings): number | undefined {
  const [compute, read] = [products?.facts.gbPerSecond, disk?.facts.readGBps];
  const { write = {}, mapped = {} } = upload?.facts ?? {};
  const rate = Math.max(0, ...Object.values(write), ...Object.values(mapped));
  if (!compute || !read || !rate || device!.facts.isCpu) return undefined;
  const speeds: Speeds = {
    readBytesPerMs: read * 1e6,
    uploadBytesPerMs: rate * 1e6,
    computeBytesPerMs: compute * 1e6,
    perUnitMs: 0.05,
  };
  const ms = planMemory({ ...input, speeds }).timeline?.msPerToken;
  return ms ? 1000 / ms : undefined;
}

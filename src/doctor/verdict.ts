/**
 * What follows for each size of model: held in the memory that the ladder proved, streamed from disk, or neither. Arithmetic over findings:
 * the engine's own plan, and its own timeline with what this machine was seen to do.
 */
import { figure } from '../bench/report';
import type { ModelConfig } from '../format/types';
import { type MemoryPlan, type PlanInput, planMemory } from '../plan/memory_plan';
import type { Speeds } from '../plan/timeline';
import { describeSynthetic } from '../synth/layout';
import { type PresetName, presetNames } from '../synth/presets';
import { engineRate } from './checks/upload';
import { bytesText, mib } from './context';
import type { Report, Verdict } from './report';

type Findings = Report['findings'];

const contextTokens = 4096;
/** What the engine takes at a time where nothing is set, on a GPU and on a CPU adapter. */
const chunkTokens = { gpu: 512, cpu: 32 };
/** Of a decode step, recorded for a GPU: see docs of `bench`. */
const dispatchesPerLayer = { dense: 10, mixture: 14 };

/** `presets`: the sizes to judge. */
export function verdictsOf(findings: Findings, presets: readonly PresetName[] = presetNames): Verdict[] {
  const { device, memory, kernels, model, chat, products, upload } = findings;
  const wrong = [kernels, model, chat, products, upload].some((finding) => finding?.status === 'failed');
  return presets.map((preset) => {
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
  const { limits, isCpu } = findings.device!.facts;
  const { config, tensors } = describeSynthetic({ preset, bits: 4 });
  const slabs = {
    maxBufferSize: limits.maxBufferSize!,
    maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize!,
  } as PlanInput['limits'];
  const staging = { buffers: 8, mostBuffers: 8, pieceBytes: 8 * mib };
  const chunk = isCpu ? chunkTokens.cpu : chunkTokens.gpu;
  const input = { config, tensors, limits: slabs, contextTokens, chunkTokens: chunk, kv: 'f16', staging } as const;
  const whole = planMemory(input);
  const { weightBytes, smallestBudgetBytes } = whole;
  const proved = findings.memory!.facts.survivedBytes;
  const base = { model: titleOf(preset), weightBytes, smallestBudgetBytes };
  const disk = diskWords(findings, weightBytes);
  // One binding reaches only so much: a layer's experts may not all have slots, however much memory there is.
  const reachable = whole.experts?.complete !== false;
  if (reachable && proved >= whole.bytes.total) {
    const tokensPerSecond = residentSpeed(whole, config, findings);
    const words = `Fits in memory: ${bytesText(whole.bytes.total)}${speedWords(tokensPerSecond, config.moe ? 'at most' : 'about')}.${disk}`;
    return { ...base, answer: 'memory', words, budgetBytes: whole.bytes.total, ...(tokensPerSecond ? { tokensPerSecond } : {}) };
  }
  if (proved < smallestBudgetBytes) {
    const words = `Needs ${bytesText(smallestBudgetBytes)}; ${bytesText(proved)} were held. ${moreMemory(findings)}`;
    return { ...base, answer: 'too large', words };
  }
  const budgetBytes = reachable ? proved : Math.min(proved, whole.bytes.total);
  const tokensPerSecond = streamedSpeed({ ...input, gpuBudgetBytes: budgetBytes }, findings);
  const what = config.moe ? 'Experts are fetched from disk as the text needs them' : 'Streams from disk for every token';
  const more = budgetBytes === proved ? moreMemory(findings) : 'More memory would not help: no buffer here may be larger.';
  const words = `${what}, in ${bytesText(budgetBytes)}${speedWords(tokensPerSecond, 'at most')}.${disk} ${more}`;
  return {
    ...base,
    answer: 'streams',
    words: words.trim(),
    budgetBytes,
    ...(tokensPerSecond ? { tokensPerSecond } : {}),
  };
}

/** 'at most' where what waits for the disk, and for the CPU that asks it, is hidden from these sums. */
function speedWords(tokensPerSecond: number | undefined, how: 'about' | 'at most'): string {
  return tokensPerSecond === undefined ? '' : `, ${how} ${figure(tokensPerSecond)} tokens/s`;
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
  const perLayer = config.moe ? dispatchesPerLayer.mixture : dispatchesPerLayer.dense;
  const ms = readBytes(plan) / rate / 1e6 + (config.numHiddenLayers * perLayer * dispatchUs) / 1000;
  return 1000 / ms;
}

function streamedSpeed(input: PlanInput, { device, products, upload, disk }: Findings): number | undefined {
  const compute = products?.facts.gbPerSecond;
  const read = input.config.moe ? disk?.facts.randomGBps : disk?.facts.readGBps; // experts lie anywhere in the file
  const rate = Math.max(0, engineRate('write', upload?.facts), engineRate('mapped', upload?.facts));
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

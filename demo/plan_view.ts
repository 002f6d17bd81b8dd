/** A memory plan as the page draws and words it. Pure. */
import type { PlanReport } from '../src/api';
import { formatBytes, formatCount, formatDuration, formatShare } from './format';

export type GpuUse = Exclude<keyof PlanReport['gpu'], 'total'> | 'free';

/**
 * One piece of the bar. `width` of the whole bar, 0 to 1; `share` of what is used, undefined for what is free. The two differ,
 * because a budget far beyond the need is drawn shorter than it is.
 */
export type Segment = { use: GpuUse; label: string; note: string; bytes: number; width: number; share: number | undefined };

/** In the order in which they lie in the bar. */
export const GPU_USES: readonly GpuUse[] = [
  'residentWeights',
  'ring',
  'experts',
  'kvCache',
  'recurrentState',
  'scratch',
  'staging',
  'free',
];

const LABELS: Record<GpuUse, string> = {
  residentWeights: 'Weights that stay',
  ring: 'Ring for streamed weights',
  experts: 'Experts',
  kvCache: 'KV cache',
  recurrentState: 'Recurrent state',
  scratch: 'Scratch',
  staging: 'Upload buffers',
  free: 'Free within the budget',
};

/** Where every byte lives; what takes none is left out. */
export function segmentsOf(plan: PlanReport): Segment[] {
  const { gpu } = plan;
  const free = (plan.gpuBudgetBytes ?? gpu.total) - gpu.total;
  const drawnFree = Math.min(free, gpu.total / 4);
  const bytesOf = (use: GpuUse) => (use === 'free' ? free : gpu[use]);
  return GPU_USES.filter((use) => bytesOf(use) > 0).map((use) => ({
    use,
    label: LABELS[use],
    note: use === 'free' && drawnFree < free ? 'drawn shorter than it is' : noteOn(use, plan),
    bytes: bytesOf(use),
    width: (use === 'free' ? drawnFree : bytesOf(use)) / (gpu.total + drawnFree),
    share: use === 'free' ? undefined : bytesOf(use) / gpu.total,
  }));
}

function noteOn(use: GpuUse, plan: PlanReport): string {
  switch (use) {
    case 'residentWeights':
      return `${formatShare(plan.gpu.residentWeights / plan.weightBytes)} of the model`;
    case 'ring':
      return `${plan.ring.slots} slots of ${formatBytes(plan.ring.slotBytes)}`;
    case 'experts':
      return expertsNote(plan);
    case 'kvCache':
      return `${formatCount(plan.contextTokens)} tokens`;
    case 'recurrentState':
      return 'of the linear attention layers';
    case 'scratch':
      return 'activations, logits, tables';
    case 'staging':
      return 'on the way to the GPU';
    case 'free':
      return '';
  }
}

function expertsNote({ experts }: PlanReport): string {
  if (!experts) return '';
  if (experts.slots >= experts.of) return `all ${formatCount(experts.of)}`;
  return `${formatCount(experts.slots)} of ${formatCount(experts.of)} at a time`;
}

/** One line above the bar: '3.4 GB of a budget of 4.0 GB'. */
export function totalText({ gpu, gpuBudgetBytes }: PlanReport): string {
  const total = formatBytes(gpu.total);
  return gpuBudgetBytes === undefined ? `${total}, no budget` : `${total} of a budget of ${formatBytes(gpuBudgetBytes)}`;
}

const HOMES: Record<PlanReport['disk']['home'], string> = {
  opfs: 'this browser’s storage',
  local: 'the files on this device',
  none: 'the network',
};

/** What streams for every token, and from where. */
export function streamText(plan: PlanReport): string {
  const bytes = plan.streamedBytesPerToken;
  const fetched = plan.expectedExpertBytesPerToken;
  const from = HOMES[plan.disk.home];
  if (bytes === 0 && fetched === 0) return 'Nothing streams: all weights stay in GPU memory.';
  if (fetched === 0) return `${formatBytes(bytes)} per token from ${from}`;
  const experts = `about ${formatBytes(fetched)} of experts per token, as the text needs them`;
  return bytes === 0 ? `${experts}, from ${from}` : `${formatBytes(bytes)} per token and ${experts}, from ${from}`;
}

export type UnitCell = { share: number; streamed: boolean };

/** The model's units in the order of use. Neighbours of one residency are one cell, so that hundreds stay drawable. */
export function unitCells({ units }: PlanReport): UnitCell[] {
  const whole = units.reduce((sum, { bytes }) => sum + bytes, 0);
  const cells: UnitCell[] = [];
  for (const { bytes, residency } of units) {
    const streamed = residency === 'streamed';
    const last = cells.at(-1);
    if (last && last.streamed === streamed) last.share += bytes / whole;
    else cells.push({ share: bytes / whole, streamed });
  }
  return cells;
}

export function unitsText({ units }: PlanReport): string {
  const streamed = units.filter(({ residency }) => residency === 'streamed').length;
  const parts = `${formatCount(units.length)} parts`;
  if (streamed === 0) return `All ${parts} of the model stay.`;
  return `The model’s ${parts} in the order of use: ${formatCount(units.length - streamed)} stay, ${formatCount(streamed)} stream.`;
}

const BOUNDS = { read: 'reading', upload: 'uploading to the GPU', compute: 'computing' };

/** `note`: what decides, and what each share of a token costs. */
export function speedText({ prediction, disk, streamedBytesPerToken, expectedExpertBytesPerToken }: PlanReport): {
  value: string;
  note: string;
} {
  const moved = streamedBytesPerToken + expectedExpertBytesPerToken;
  if (!prediction) return { value: 'not known yet', note: unknownSpeed(moved, disk.home) };
  const { tokensPerSecond: rate, readMs, readAssumed, uploadMs, computeMs, bound } = prediction;
  const value =
    rate >= 1 ? `${rate >= 100 ? Math.round(rate) : rate.toFixed(1)} tok/s` : `${formatDuration(1000 / rate)} per token`;
  const parts = [`compute ${formatDuration(computeMs)}`];
  if (moved > 0) parts.unshift(`read ${formatDuration(readMs)}`, `upload ${formatDuration(uploadMs)}`);
  const assumed = readAssumed ? ' If the disk gives 2 GB/s: it is measured once the model is stored.' : '';
  return { value, note: `Limited by ${BOUNDS[bound]}: ${parts.join(', ')}.${assumed}` };
}

function unknownSpeed(moved: number, home: PlanReport['disk']['home']): string {
  if (moved === 0) return 'Nothing streams; the first reply tells.';
  return home === 'none'
    ? 'What streams comes over the network; the first reply tells.'
    : 'Measured when the stored model is next loaded.';
}

/** What a plan comes to: '1.5 s per token, 12.5 GB stream for each token.' */
export function outcomeText(plan: PlanReport): string {
  const bytes = plan.streamedBytesPerToken + Math.round(plan.expectedExpertBytesPerToken);
  const streams = bytes === 0 ? 'nothing streams' : `${formatBytes(bytes)} stream for each token`;
  return plan.prediction ? `${speedText(plan).value}, ${streams}.` : `${streams}.`;
}

export function diskText({ disk }: PlanReport): { value: string; note: string } {
  if (disk.home === 'local') return { value: 'none', note: 'The files on this device are read where they are.' };
  if (disk.home === 'none') return { value: 'none', note: disk.why ?? 'Nothing is stored: weights come over the network.' };
  if (disk.why !== undefined) return { value: formatBytes(disk.neededBytes), note: disk.why };
  const stored = disk.storedBytes >= disk.neededBytes ? 'All of it is stored.' : `${formatBytes(disk.storedBytes)} are stored.`;
  const free = disk.availableBytes === undefined ? '' : ` The browser grants ${formatBytes(disk.availableBytes)} more.`;
  return { value: formatBytes(disk.neededBytes), note: `${stored}${free}` };
}

/** Whether this plan lacks the disk that it wants. */
export function lacksDisk({ disk }: PlanReport): boolean {
  return disk.home === 'opfs' && disk.availableBytes !== undefined && disk.neededBytes - disk.storedBytes > disk.availableBytes;
}

/** What answering will cost where weights come over the network for every token; undefined where they do not. */
export function networkCost(plan: PlanReport): string | undefined {
  const bytes = plan.streamedBytesPerToken + Math.round(plan.expectedExpertBytesPerToken);
  if (plan.disk.home !== 'none' || bytes === 0) return undefined;
  const rate = plan.prediction ? ` That is about ${formatDuration(1000 / plan.prediction.tokensPerSecond)} per token here.` : '';
  return (
    `Each token of a reply downloads ${formatBytes(bytes)}, a reply of 200 tokens ${formatBytes(200 * bytes)}, because nothing ` +
    `can be stored here or storage is switched off.${rate} A larger GPU budget or room on the disk makes it less.`
  );
}

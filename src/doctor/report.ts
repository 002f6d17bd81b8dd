/** What an examination finds, as plain data: it crosses from the worker to the page, is kept as JSON, and is read by machines. */
import type { AdapterFacts, Gpu } from '../gpu/device';

/** In the order in which they run: what may cost the tab its life comes last. */
export const checkIds = [
  'browser',
  'device',
  'kernels',
  'model',
  'chat',
  'speed',
  'products',
  'upload',
  'disk',
  'memory',
] as const;
export type CheckId = (typeof checkIds)[number];

/** 'noted': it works, with something that a reader should know. 'skipped': it could not be asked here, and `summary` says why. */
export type Status = 'passed' | 'noted' | 'failed' | 'skipped';

export type Finding<Facts = object> = {
  status: Status;
  /** One line for people. */
  summary: string;
  /** What is wrong, a line each; of a failed check at least one. */
  problems: string[];
  ms: number;
  facts: Facts;
};

export type BrowserFacts = {
  userAgent: string;
  secureContext: boolean;
  crossOriginIsolated: boolean;
  /** By name: what the browser offers in a worker, and what it does not. */
  has: Record<string, boolean>;
  wgslFeatures: string[];
  logicalCores: number | undefined;
  /** Gigabytes, where the browser tells. Chrome rounds and caps it. */
  deviceMemoryGB: number | undefined;
  storage: { quotaBytes: number | undefined; usageBytes: number | undefined; persisted: boolean | undefined };
};

export type DeviceFacts = Omit<AdapterFacts, 'limits'> & {
  device: string;
  subgroupSizes: { min: number; max: number } | undefined;
  subgroups: boolean;
  f16: boolean;
  int8Dot: boolean;
  /** Every limit that the adapter has, and what a device without wishes would get of it. */
  limits: Record<string, number>;
  defaultLimits: Record<string, number>;
};

export type CaseFailure = { kernel: string; name: string; why: string; what: string };
export type KernelFacts = { ran: number; failed: CaseFailure[]; skipped: Record<string, number> };

export type ModelFacts = {
  /** Kernels by stem, in the variants that the model uses on this device. */
  variants: Record<string, string>;
  prompts: { logitError: number; tokensCompared: number; tokensEqual: number }[];
};

export type ChatFacts = {
  replies: { prompt: string; tokens: number; equal: boolean; got?: string; prefillMs: number; decodeMs: number }[];
  storage: string;
  gpuBytes: number;
};

type Rate = { value: number; spread: number };
/** As `bench` measures them; of a CPU adapter they say nothing. */
export type SpeedFacts = {
  readGBps: Rate;
  copyGBps: Rate;
  fmaTflops: Rate;
  dispatchUs: Rate;
  encodeUs: Rate;
  roundTripMs: Rate;
  /** To submit a copy of 1 MiB and have it in JavaScript. */
  readbackMs: number;
  /** Undefined where the device has none. */
  subgroupsReduce: boolean | undefined;
  /** Whether a small product with operands in f16 comes out right; undefined where the device has none. */
  f16Right: boolean | undefined;
};

export type ProductFacts = {
  rows: { matrix: string; rows: number; cols: number; best: string; gbPerSecond: number; ofRead: number }[];
  /** Bytes a second that the best ones read together: what decoding goes by. */
  gbPerSecond: number;
  ofRead: number;
};

export type UploadFacts = {
  /** GB/s by piece size in MiB. The engine writes no piece above 4: larger ones show what it gains or loses by that. */
  write: Record<string, number>;
  mapped: Record<string, number>;
  /** In pieces as the engine sends. */
  better: 'write' | 'mapped';
  /** 'write, 16 MiB', and why. */
  leftOut: Record<string, string>;
};

export type DiskFacts = {
  bytes: number;
  /** Why the file is as large as it is. */
  size: string;
  writeGBps: number;
  /** 2 MiB at random places, each for the first time since it was written. The operating system may hold it in memory all the same. */
  randomGBps: number;
  /** Sequential. */
  readGBps: number;
  /** The same random places again. */
  warmRandomGBps: number;
  flushMs: number;
  /** Several handles of one file at once, which Chrome alone has. */
  sharedHandles: boolean;
};

export type MemoryFacts = {
  slabBytes: number;
  askedBytes: number;
  /** Held at once, written and read back. */
  survivedBytes: number;
  end: 'as far as asked' | 'out of memory' | 'device lost' | 'damaged';
  detail: string;
  /** Milliseconds of every level. */
  levelMs: number[];
  /** After a loss: whether the browser gave a new device. */
  recovered: boolean | undefined;
};

export type Findings = {
  browser: Finding<BrowserFacts>;
  device: Finding<DeviceFacts>;
  kernels: Finding<KernelFacts>;
  model: Finding<ModelFacts>;
  chat: Finding<ChatFacts>;
  speed: Finding<SpeedFacts>;
  products: Finding<ProductFacts>;
  upload: Finding<UploadFacts>;
  disk: Finding<DiskFacts>;
  memory: Finding<MemoryFacts>;
};

export type Verdict = {
  model: string;
  answer: 'memory' | 'streams' | 'too large' | 'unknown';
  /** For people; the others are its figures. */
  words: string;
  weightBytes: number;
  budgetBytes?: number;
  smallestBudgetBytes?: number;
  tokensPerSecond?: number;
};

export type AdapterSummary = Pick<AdapterFacts, 'vendor' | 'architecture' | 'description' | 'isCpu'> &
  Pick<Gpu, 'subgroups' | 'f16' | 'int8Dot' | 'direct'>;

export type Report = {
  sluice: 'doctor';
  format: 1;
  build: string;
  userAgent: string;
  /** What the kernels ran on, and which of their variants it allows; absent where no device was opened. */
  adapter?: AdapterSummary;
  /** ISO 8601, UTC. */
  startedAt: string;
  /** Checks that were asked for. */
  asked: CheckId[];
  /** Of kernels, their names' part that was asked for. */
  only?: string;
  /** A fault was put in on purpose, to see whether it is found: nothing here tells about the device then. */
  planted?: string;
  /** The page's parameters that ask for the same again; absent where there were words in them that are not repeated. */
  again?: Record<string, string>;
  /** What an earlier visit was doing when its tab died. */
  died?: Marker;
  findings: { [Id in CheckId]?: Findings[Id] };
  verdicts: Verdict[];
  /** 'running' in a report that a dead tab left behind. */
  state: 'running' | 'done' | 'cancelled';
};

/** Kept before every step: a tab that dies cannot say what killed it. */
export type Marker = { check: CheckId; step: string; at: string; heldBytes?: number };

/** How a check that cannot run at all is told. */
export function failedFinding(summary: string, ms: number): Finding<never> {
  return { status: 'failed', summary, problems: [summary], ms, facts: {} as never };
}

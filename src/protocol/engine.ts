/** What page and worker say to each other. Types only: both sides import this, neither imports the other. */
import type { WireError } from '../errors';
import type { FinishReason, SamplingRequest, Timings, Usage } from './chat';

/**
 * Where a model lies: a hub id `owner/name[@revision]`, an http(s) base URL of a folder, the files of one folder, or a
 * directory handle. (The Node adapter also takes a local directory.)
 */
export type ModelRef = string | URL | readonly File[] | FileList | FileSystemDirectoryHandle;

export type LoadPhase = 'manifest' | 'weights' | 'pipelines' | 'ready';
/** `progress` is 0..1 over the whole load and never falls; `loaded` and `total` are bytes of weights. `text` is for people. */
export type LoadProgress = { phase: LoadPhase; loaded: number; total: number; progress: number; text: string };

export type KvDtype = 'f16' | 'f32';
export type Feature = 'subgroups' | 'f16';

/** Engine options that cross the worker boundary. */
export type EngineConfig = {
  /** Longest prompt plus reply, in tokens. Default: 4096 or the model's own maximum if that is less. */
  contextTokens?: number;
  /** Storage type of keys and values. Default 'f16'. */
  kv?: KvDtype;
  /** Prompt tokens per prefill chunk, 1 to 512. Default 256, less on a CPU adapter. */
  chunkTokens?: number;
  /** Capabilities to leave unused although the device has them. */
  disable?: Feature[];
  /** Use f16 arithmetic in workgroup memory where the device has it (about 1e-3 relative error). Default false. */
  f16?: boolean;
  /** Access token for private repositories; sent to the model's own host only, never on to a redirect's host. */
  token?: string;
  /** Extra request headers, under the same rule. */
  headers?: Record<string, string>;
  /** Base URL of the hub that hub ids resolve against. Default https://huggingface.co. */
  hubUrl?: string;
  /** Longest time one template rendering or tokenisation may take. Default 2000. */
  textTimeoutMs?: number;
  /** Longest time that loading the tokenizer may take. Default 30000. */
  loadTimeoutMs?: number;
};

export type AdapterReport = {
  vendor: string;
  architecture: string;
  description: string;
  /** A software adapter: figures say nothing about speed. */
  isCpu: boolean;
  features: string[];
  limits: Record<string, number>;
};

export type EngineInfo = {
  model: string;
  /** The commit that a hub branch was resolved to. */
  revision: string | undefined;
  adapter: AdapterReport;
  /** Kernel -> variant in use, e.g. { gemv: 'q4 subgroups' }. */
  variants: Record<string, string>;
  contextTokens: number;
  chunkTokens: number;
  kv: KvDtype;
  vocabSize: number;
  parameterBytes: number;
  /** Bytes of GPU buffers now held, and the most ever held. */
  gpuBytes: number;
  peakGpuBytes: number;
  hasChatTemplate: boolean;
};

export type PromptInput =
  | { messages: readonly Record<string, unknown>[]; templateKwargs: Record<string, unknown> }
  | { text: string };

export type GenerateRequest = {
  prompt: PromptInput;
  sampling: SamplingRequest;
  maxTokens: number | undefined;
  stop: string[];
};

export type GenerateEvent =
  | { type: 'prefill'; done: number; total: number }
  | { type: 'text'; text: string }
  | { type: 'done'; finishReason: FinishReason; usage: Usage; timings: Timings }
  | { type: 'error'; error: WireError };

/** What the page offers to the engine's worker: threads for text, each known by a number and reached through a port. */
export interface TextWorkers {
  start(id: number, port: MessagePort, onFailure: (message: string) => void): void;
  end(id: number): void;
}

/** What the worker offers; comlink makes it asynchronous. Callbacks are comlink proxies. */
export interface EngineWorkerApi {
  load(
    model: ModelRef,
    config: EngineConfig,
    onProgress: (progress: LoadProgress) => void,
    textWorkers: TextWorkers,
  ): Promise<{ info: EngineInfo } | { error: WireError }>;
  cancelLoad(): void;
  /** Events arrive in order; 'done' or 'error' is the last one. */
  generate(requestId: number, request: GenerateRequest, onEvent: (event: GenerateEvent) => void): Promise<void>;
  cancel(requestId: number): void;
  tokenize(text: string): Promise<{ ids: number[] } | { error: WireError }>;
  info(): EngineInfo | undefined;
  unload(): Promise<void>;
  /** Resolves once, when the device is lost. */
  lost(): Promise<{ reason: string; message: string }>;
}

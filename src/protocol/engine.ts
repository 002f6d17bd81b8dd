/** What page and worker say to each other. Types only: both sides import this, neither imports the other. */
import type { WireError } from '../errors';
import type { Constraint, FinishReason, SamplingRequest, Timings, TokenLogprob, ToolDefinition, Usage } from './chat';
import type { ByteBudget, PlanReport, TokenCosts } from './plan';
import type { StoredModel } from './storage';

/**
 * Where a model lies: a hub id `owner/name[@revision]`, an http(s) base URL of a folder, the files of one folder, or a
 * directory handle. (The Node adapter also takes a local directory.)
 */
export type ModelRef = string | URL | readonly File[] | FileList | FileSystemDirectoryHandle;

export type LoadPhase = 'manifest' | 'download' | 'weights' | 'pipelines' | 'ready';
/** `progress` is 0..1 over the whole load and never falls; `loaded` and `total` are bytes of weights. `text` is for people. */
export type LoadProgress = { phase: LoadPhase; loaded: number; total: number; progress: number; text: string };

/**
 * What a request does when prompt and reply outgrow the context, which never grows. Whatever the choice, a prompt that leaves no room
 * for a single token of reply is an EngineError 'context-length'.
 * - 'error'     fails with 'context-length': before anything runs if the prompt and an explicit max_tokens do not fit together, else
 *               when the reply has filled the context, after its text so far was streamed
 * - 'stop'      ends the reply there, with finish_reason 'length', as it does at max_tokens
 * - 'truncate'  drops the oldest whole turns (a user message with what answers it; system messages and the last turn stay) and goes
 *               on: from the prompt until max_tokens fit beside it (counted as half of the context at most; where it is not set an
 *               eighth of the context, at least 16), and in mid-reply, where what stays of the prompt and the reply so far are read
 *               once more. With no turn left to drop, as with a prompt that is text, it is 'stop'. `usage.truncated_messages` tells
 */
export type ContextOverflow = 'error' | 'truncate' | 'stop';

/** Something took memory or a reading away: what happened, and a smaller budget that would do. */
export type Pressure = {
  reason: 'out-of-memory' | 'device-lost' | 'storage';
  message: string;
  suggestedBudgetBytes: number | undefined;
  /**
   * What the engine does by itself about a lost device:
   * - 'waiting'  nothing runs; the next request brings the device back
   * - 'started'  it opens a device, loads the model again and goes on with the requests under way
   * - 'done'     they go on
   * - 'stopped'  the third loss within five minutes: requests under way fail with 'device-lost'. A smaller model is the way out; the
   *              next request tries once more
   */
  recovery?: 'waiting' | 'started' | 'done' | 'stopped';
  /** The budget that the engine keeps to from now on, where a second loss within five minutes halved it. */
  gpuBudgetBytes?: number;
};

export type KvDtype = 'f16' | 'f32';
export type Feature = 'subgroups' | 'f16';

/** Engine options that cross the worker boundary. */
export type EngineConfig = {
  /**
   * Most GPU memory that the engine may ever hold, upload buffers included. What does not fit streams from disk or network for
   * every token. Default: half of the device's memory as far as the browser tells, else 4GB; 1GB where buffers are small (phones).
   */
  gpuBudget?: ByteBudget;
  /** What a request does when prompt and reply outgrow `contextTokens`. Default 'stop'. */
  contextOverflow?: ContextOverflow;
  /** Where weights from the network are kept: in the browser's private file system, or nowhere. Default 'opfs' where it works. */
  storage?: 'opfs' | 'none';
  /** 'full': hash all that is stored, and compare every file with the hub's sha256. Default: what changed since it was stored. */
  verify?: 'changed' | 'full';
  /** Ask the hub for a newer commit of a branch although the model is stored. Default false: a stored model needs no network. */
  update?: boolean;
  /** Resolve as soon as requests can be taken: layers are then computed as they arrive. Default false: when all weights are there. */
  answerWhileLoading?: boolean;
  /** Longest prompt plus reply, in tokens. Default: 4096 or the model's own maximum if that is less. */
  contextTokens?: number;
  /** Storage type of keys and values. Default 'f16'. */
  kv?: KvDtype;
  /** Prompt tokens per prefill chunk, 1 to 512. Default 512, less on a CPU adapter. */
  chunkTokens?: number;
  /** Capabilities to leave unused although the device has them. */
  disable?: Feature[];
  /**
   * Most CPU memory, in bytes, for the state of conversations that others have taken the GPU's place of. Default 256 MiB, 64 MiB on
   * phones; 0 keeps none. (What the GPU keeps of the running one is part of `gpuBudget`.)
   */
  prefixCacheBytes?: number;
  /** Use f16 arithmetic in workgroup memory where the device has it (about 1e-3 relative error). Default false. */
  f16?: boolean;
  /**
   * 'exact': as accurate as f32 arithmetic; while decoding, what 4-bit weights are multiplied by is rounded to 24 bits, a scale for each
   * 32 values, and goes through int8 dot products where the GPU multiplies int8 in hardware (NVIDIA, AMD, Intel). 'fast': likewise to 16
   * bits, wherever WGSL has such products: logits change by about 2e-4. Default: 'fast' with such hardware, else 'exact'.
   */
  precision?: 'exact' | 'fast';
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

/** A conversation kept on this machine. `bytes`: of its state. */
export type SavedSession = { id: string; savedAt: number; bytes: number };
/**
 * `from` 'state': the next request continues bit for bit. 'tokens': the state was made by another build, device, precision or set of
 * kernels, with another version of the model's weights (a commit, or sizes with ETags or dates of the files), or is damaged; the next request
 * reads its `tokens` again, as far as it has the same ones, and says so in `usage.replayed_tokens`.
 */
export type RestoredSession = SavedSession & { tokens: number; from: 'state' | 'tokens' };

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
  precision: 'exact' | 'fast';
  vocabSize: number;
  parameterBytes: number;
  plan: PlanReport;
  /** Bytes of GPU buffers now held, and the most ever held. */
  gpuBytes: number;
  peakGpuBytes: number;
  /** Of a mixture whose experts do not all fit, until its GPU is replaced; else undefined. */
  experts: ExpertLayers | undefined;
  hasChatTemplate: boolean;
};

/** By layer, of all tokens decoded so far: choices whose expert was in GPU memory, and those that waited for one. */
export type ExpertLayers = { hits: number[]; misses: number[] };

/** `allowSpecialTokens`: text that names a special token becomes it. Default false for messages, true for text. */
export type PromptInput =
  | {
      messages: readonly Record<string, unknown>[];
      /** Offered to the model: the template shows them, and calls of them are parsed. */
      tools?: readonly ToolDefinition[];
      templateKwargs: Record<string, unknown>;
      allowSpecialTokens?: boolean;
      /** The last message is the beginning of the reply. */
      continueFinal?: boolean;
    }
  | { text: string; allowSpecialTokens?: boolean };

/** As the worker gets them: what is unset is missing. */
export type SamplingValues = { [K in keyof SamplingRequest]?: NonNullable<SamplingRequest[K]> };

export type GenerateRequest = {
  prompt: PromptInput;
  sampling: SamplingValues;
  maxTokens: number | undefined;
  stop: string[];
  /** Default 1. */
  choices?: number;
  /** So many most likely tokens are told beside each of the reply's; undefined: no log probabilities at all. */
  topLogprobs?: number;
  /** Tokens of thinking after which the think block is closed for the model. Default: no bound. */
  reasoningBudgetTokens?: number;
  constraint?: Constraint;
};

/** How a choice ended. `interrupted`: by `interrupt()`. */
export type ChoiceEnd = { finishReason: FinishReason; interrupted?: boolean };

/**
 * Choices come one after the other: 'choice_end' ends one before the next begins, 'done' ends the last one and the request. 'prefill'
 * comes first with `done: 0`, once the prompt is known to fit, and between pieces of text too, from the start again, where
 * contextOverflow 'truncate' reads tokens once more; `cached` tokens before those of `total` need no reading. `logprobs` are of the tokens since the last event that had some.
 */
export type GenerateEvent =
  | { type: 'prefill'; done: number; total: number; ms: number; cached?: number }
  | { type: 'reasoning'; text: string }
  | { type: 'text'; text: string; logprobs?: TokenLogprob[] }
  /** The first event of a call has its id and name; `arguments` are a piece of JSON text. */
  | { type: 'tool_call'; index: number; id?: string; name?: string; arguments: string; logprobs?: TokenLogprob[] }
  | ({ type: 'choice_end' } & ChoiceEnd)
  | ({ type: 'done'; usage: Usage; timings: Timings } & ChoiceEnd)
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
    onPressure?: (pressure: Pressure) => void,
  ): Promise<{ info: EngineInfo } | { error: WireError }>;
  cancelLoad(): void;
  /** The plan alone: reads headers, measures the device for a moment, loads and stores nothing. */
  plan(model: ModelRef, config: EngineConfig): Promise<{ plan: PlanReport } | { error: WireError }>;
  /** Downloads into the store, or goes on with it; no GPU is needed. Resolves when everything is stored and checked. */
  download(
    model: ModelRef,
    config: EngineConfig,
    onProgress: (progress: LoadProgress) => void,
  ): Promise<{ done: true } | { error: WireError }>;
  /** Of a download under way, be it by `load` or by `download`. */
  pauseDownload(): void;
  resumeDownload(): void;
  listModels(): Promise<{ models: StoredModel[] } | { error: WireError }>;
  deleteModel(id: string): Promise<{ done: true } | { error: WireError }>;
  /** Lets files go: a page calls it on `pagehide`. */
  releaseFiles(): void;
  /** Events arrive in order; 'done' or 'error' is the last one. */
  generate(requestId: number, request: GenerateRequest, onEvent: (event: GenerateEvent) => void): Promise<void>;
  cancel(requestId: number): void;
  /** Ends the reply that is being made now, as if the model had ended it; requests that wait are not touched. */
  interrupt(): void;
  tokenize(text: string): Promise<{ ids: number[] } | { error: WireError }>;
  saveSession(id: string): Promise<{ saved: SavedSession } | { error: WireError }>;
  restoreSession(id: string): Promise<{ restored: RestoredSession } | { error: WireError }>;
  listSessions(): Promise<{ sessions: SavedSession[] } | { error: WireError }>;
  deleteSession(id: string): Promise<{ done: true } | { error: WireError }>;
  info(): EngineInfo | undefined;
  /** Waits for requests before it. */
  measure(): Promise<{ costs: TokenCosts } | { error: WireError }>;
  unload(): Promise<void>;
  /** Resolves once, when the device is lost and was not brought back. */
  lost(): Promise<{ reason: string; message: string }>;
}

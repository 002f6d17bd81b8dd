import type { EndpointOptions } from '../endpoint/endpoint';
import type { ChatCompletion, ChatCompletionChunk, ChatRequest, Completion, CompletionRequest } from '../protocol/chat';
import type { EngineConfig, EngineInfo, Pressure, RestoredSession, SavedSession } from '../protocol/engine';
import type { PlanReport, TokenCosts } from '../protocol/plan';
import type { DownloadControl, OnProgress } from './progress';

/** What everything that needs a worker takes. */
export type WorkerOptions = {
  /** Cancels: the promise rejects with AbortError, and the worker ends. */
  signal?: AbortSignal;
  /** Where the ready-made worker file lies. Default: beside this module; another origin is reached through a blob. */
  workerUrl?: string | URL;
};

export type EngineOptions = EngineConfig &
  WorkerOptions & {
    /** Called as loading goes on, and with `answerWhileLoading` also after createEngine has resolved; 'ready' comes last. */
    onProgress?: OnProgress;
    /** The GPU's memory or the files are failing the engine; `suggestedBudgetBytes` is a `gpuBudget` for a new one. */
    onPressure?: (pressure: Pressure) => void;
  };

export type PlanOptions = EngineConfig & WorkerOptions;

export type DownloadOptions = EngineConfig & WorkerOptions & { onProgress?: OnProgress };

/** A download under way. It keeps what it has: ended by `signal`, a crash or a closed page, the next one goes on from there. */
export type ModelDownload = DownloadControl & {
  /** Resolves when everything is stored and checked. @throws EngineError 'storage', 'not-found', …; AbortError. */
  readonly done: Promise<void>;
};

/** The second argument of a request. */
export type RequestOptions = {
  /** Cancels this request alone; the promise or the stream rejects with AbortError. */
  signal?: AbortSignal | null;
};

/** Overloads by `stream`, as OpenAI's client has them. */
export type CreateChatCompletion = {
  (request: ChatRequest & { stream: true }, options?: RequestOptions): Promise<AsyncIterable<ChatCompletionChunk>>;
  (request: ChatRequest & { stream?: false | null }, options?: RequestOptions): Promise<ChatCompletion>;
  (request: ChatRequest, options?: RequestOptions): Promise<AsyncIterable<ChatCompletionChunk> | ChatCompletion>;
};
export type CreateCompletion = {
  (request: CompletionRequest & { stream: true }, options?: RequestOptions): Promise<AsyncIterable<Completion>>;
  (request: CompletionRequest & { stream?: false | null }, options?: RequestOptions): Promise<Completion>;
  (request: CompletionRequest, options?: RequestOptions): Promise<AsyncIterable<Completion> | Completion>;
};

/** Conversations kept in the browser's private file system, with the model's whole state. */
export interface Sessions {
  /** Keeps the conversation that was read last, in place of what this id had; that goes only once the new one is whole. */
  save(id: string): Promise<SavedSession>;
  /**
   * The next request whose prompt begins with the saved tokens continues from there. @throws EngineError 'not-found';
   * 'invalid-request' for another model's; 'context-length'; 'storage' where the record is damaged.
   */
  restore(id: string): Promise<RestoredSession>;
  /** Newest first. */
  list(): Promise<SavedSession[]>;
  /** Nothing happens where there is none. */
  delete(id: string): Promise<void>;
}

/** Where replies are made. `host`: with its port, to be shown to whoever talks to it. */
export type AnsweredBy = { place: 'device' } | { place: 'endpoint'; host: string; origin: string };

/** What an engine on this device and one on a server have in common: enough for a conversation. */
export interface ChatEngine {
  readonly info: { readonly model: string };
  readonly answeredBy: AnsweredBy;
  readonly chat: { readonly completions: { readonly create: CreateChatCompletion } };
  /** Ends the reply that is being made now as if the model had ended it: what it said stays. */
  interruptGenerate(): void;
  /** Running requests reject with 'unloaded'. Idempotent. */
  unload(): Promise<void>;
}

/** What would be sent elsewhere, and why, for whoever is asked to agree. */
export type FallbackRequest = {
  origin: string;
  host: string;
  /** 'chosen': an endpoint was asked for. The others: why this device does not do it. */
  reason: 'chosen' | 'unsupported' | 'memory' | 'slow';
  /** The reason in words. */
  message: string;
};

/** The agreement: false, and nothing is sent. Asked once for each engine, before it takes its first request. */
export type OnFallback = (request: FallbackRequest) => boolean | Promise<boolean>;

/** `model` on this device where its memory plan says that this is worth it, else at an endpoint that `onFallback` agrees to. */
export type FallbackOptions = {
  prefer: 'local';
  /** undefined: this device alone. */
  fallback: EndpointOptions | undefined;
  onFallback?: OnFallback;
  /** A model that is predicted to decode more slowly on this device goes to the endpoint. Default 1. */
  leastTokensPerSecond?: number;
};

export interface Engine extends ChatEngine {
  /** A snapshot taken when loading ended; `refreshInfo` brings GPU bytes up to date. */
  readonly info: EngineInfo;
  refreshInfo(): Promise<EngineInfo>;
  /** Where every byte of GPU memory goes, what streams per token, and how fast that should be: `info.plan`. */
  readonly plan: PlanReport;
  readonly chat: { readonly completions: { readonly create: CreateChatCompletion } };
  readonly completions: { readonly create: CreateCompletion };
  /** Not offered: rejects with EngineError 'unsupported', which says so. */
  readonly embeddings: { readonly create: (request?: unknown) => Promise<never> };
  /**
   * Ends the reply that is being made now as if the model had ended it: what it said stays, with finish_reason 'stop' and
   * `interrupted: true`. Requests that wait are not touched; a request's own `signal` cancels that one.
   */
  interruptGenerate(): void;
  readonly sessions: Sessions;
  /** Token ids of a text; special tokens in it are recognised. */
  tokenize(text: string): Promise<number[]>;
  /**
   * What one token takes: reading its streamed weights, uploading as many bytes, computing it, each alone. Reads all of them once
   * and takes as long as about four tokens. Requests wait meanwhile.
   */
  measure(): Promise<TokenCosts>;
  /** Releases the GPU, ends the worker. Running requests reject with 'unloaded'. Idempotent. */
  unload(): Promise<void>;
  /** Resolves once, if the GPU device is lost and not brought back: see `Pressure.recovery`. */
  readonly lost: Promise<{ reason: string; message: string }>;
}

import type { ChatCompletion, ChatCompletionChunk, ChatRequest, Completion, CompletionRequest } from '../protocol/chat';
import type { EngineConfig, EngineInfo, LoadProgress } from '../protocol/engine';

export type EngineOptions = EngineConfig & {
  onProgress?: (progress: LoadProgress) => void;
  /** Cancels the load. */
  signal?: AbortSignal;
  /** Where the ready-made worker file lies. Default: beside this module; another origin is reached through a blob. */
  workerUrl?: string | URL;
};

/** Overloads by `stream`, as OpenAI's client has them. */
export type CreateChatCompletion = {
  (request: ChatRequest & { stream: true }): Promise<AsyncIterable<ChatCompletionChunk>>;
  (request: ChatRequest & { stream?: false }): Promise<ChatCompletion>;
};
export type CreateCompletion = {
  (request: CompletionRequest & { stream: true }): Promise<AsyncIterable<Completion>>;
  (request: CompletionRequest & { stream?: false }): Promise<Completion>;
};

export interface Engine {
  /** A snapshot taken when loading ended; `refreshInfo` brings GPU bytes up to date. */
  readonly info: EngineInfo;
  refreshInfo(): Promise<EngineInfo>;
  readonly chat: { readonly completions: { readonly create: CreateChatCompletion } };
  readonly completions: { readonly create: CreateCompletion };
  /** Token ids of a text; special tokens in it are recognised. */
  tokenize(text: string): Promise<number[]>;
  /** Releases the GPU, ends the worker. Running requests reject with 'unloaded'. Idempotent. */
  unload(): Promise<void>;
  /** Resolves once, if the GPU device is lost. */
  readonly lost: Promise<{ reason: string; message: string }>;
}

/**
 * What a user imports. Nothing here touches the GPU, the network or the disk until one of its functions is called.
 *
 *   const engine = await createEngine(new URL('./model/', location.href));
 *   const stream = await engine.chat.completions.create({ messages: [{ role: 'user', content: 'Hello' }], stream: true });
 *   for await (const chunk of stream) console.log(chunk.choices[0]?.delta.content ?? '');
 */

import type { EndpointOptions } from '../endpoint/endpoint';
import type { ModelRef } from '../protocol/engine';
import type { PlanReport } from '../protocol/plan';
import type { StoredModel } from '../protocol/storage';
import { endpointEngine } from './endpoint_engine';
import { openEngine } from './fallback';
import type {
  ChatEngine,
  DownloadOptions,
  Engine,
  EngineOptions,
  FallbackOptions,
  ModelDownload,
  OnFallback,
  PlanOptions,
  WorkerOptions,
} from './types';
import { deleteSavedSession, deleteStored, downloadOf, planOf, storedModels } from './without_engine';

export type { EndpointOptions } from '../endpoint/endpoint';
export type { ApiKey } from '../endpoint/key';
export { EngineError, type ErrorCode } from '../errors';
export type * from '../protocol/chat';
export type {
  AdapterReport,
  ContextOverflow,
  EngineConfig,
  EngineInfo,
  Feature,
  KvDtype,
  LoadPhase,
  LoadProgress,
  ModelRef,
  Pressure,
  RestoredSession,
  SavedSession,
} from '../protocol/engine';
export type * from '../protocol/plan';
export type * from '../protocol/storage';
export { parseByteBudget } from './byte_budget';
export { createFetch } from './fetch_adapter';
export type { DownloadControl, OnProgress } from './progress';
export type {
  AnsweredBy,
  ChatEngine,
  DownloadOptions,
  Engine,
  EngineOptions,
  FallbackOptions,
  FallbackRequest,
  ModelDownload,
  OnFallback,
  PlanOptions,
  RequestOptions,
  Sessions,
  WorkerOptions,
} from './types';

/**
 * Starts a worker, loads the model in it, and resolves when the first token can be asked for.
 *
 * `model` is a hub id `owner/name[@revision]`, the URL of a folder (a string that starts with http:, https:, `/`, `./` or
 * `../` is one, relative to the page), the files of a folder, or a directory handle.
 *
 * With `{ prefer: 'local', fallback, onFallback }` the memory plan decides, before anything is downloaded, whether this device answers or
 * an OpenAI-compatible server, which gets nothing unless `onFallback` agrees.
 *
 * @throws EngineError 'unsupported', 'not-found', 'storage', 'format', 'budget', 'invalid-request', 'consent', …; AbortError if `signal`
 *   aborts.
 */
export function createEngine(model: ModelRef, options: EngineOptions & FallbackOptions): Promise<ChatEngine>;
export function createEngine(model: ModelRef, options?: EngineOptions): Promise<Engine>;
export function createEngine(model: ModelRef, options: EngineOptions & Partial<FallbackOptions> = {}): Promise<ChatEngine> {
  return openEngine(model, options);
}

/**
 * The same API in front of an OpenAI-compatible server (vLLM, llama.cpp, Ollama, LM Studio): https, or http on this machine. Nothing is
 * sent, not even a question for its models, unless `onFallback` agrees.
 *
 * @throws EngineError 'consent', 'endpoint', 'invalid-request'; AbortError
 */
export function createEndpointEngine(
  endpoint: EndpointOptions,
  options: { onFallback: OnFallback; signal?: AbortSignal },
): Promise<ChatEngine> {
  const why = { reason: 'chosen' as const, message: 'This conversation is answered by a server.' };
  return endpointEngine(endpoint, why, { onFallback: options?.onFallback, signal: options?.signal });
}

/**
 * What `createEngine` would do with the same options, before anything is loaded: resident, streamed and cached bytes, bytes per
 * token, predicted speed, disk needed and available. Starts a worker, reads the model's headers (over the network, for a model
 * that is not stored), measures the device for a moment, and ends it.
 *
 * @throws EngineError 'budget' if budget or context cannot work, naming the smallest that would; else as createEngine.
 */
export function planModel(model: ModelRef, options: PlanOptions = {}): Promise<PlanReport> {
  return planOf(model, options);
}

/**
 * Downloads a model into the browser's private file system without loading it, or goes on with what is there already. Needs no
 * GPU. `pause()` and `resume()` may be called at any time; the option `signal` cancels and keeps what has arrived.
 * Errors come through `done`.
 */
export function downloadModel(model: ModelRef, options: DownloadOptions = {}): ModelDownload {
  return downloadOf(model, options);
}

/** The models kept in this browser for this site, complete or not. @throws EngineError 'storage' where there is no such store. */
export function listModels(options: WorkerOptions = {}): Promise<StoredModel[]> {
  return storedModels(options);
}

/** Deletes a stored model; `id` as `listModels` gives it. @throws EngineError 'storage' while another tab or engine uses it. */
export function deleteModel(id: string, options: WorkerOptions = {}): Promise<void> {
  return deleteStored(id, options);
}

/** Deletes a conversation that `engine.sessions` saved, whatever model made it. Nothing happens where there is none. @throws EngineError 'storage'. */
export function deleteSession(id: string, options: WorkerOptions = {}): Promise<void> {
  return deleteSavedSession(id, options);
}

/** The page's side of the protocol: the worker's lifetime, and each request's events as an async iterator. */
import { proxy, type Remote, wrap } from 'comlink';
import { abortError, EngineError, fromWire, isAbort, throwIfAborted } from '../errors';
import type { EngineInfo, EngineWorkerApi, GenerateRequest, LoadProgress, ModelRef } from '../protocol/engine';
import { spawnModuleWorker } from '../protocol/spawn_worker';
import { EventStream, type ReplyEvent } from './event_stream';
import { checkOptions } from './options';
import { PageTextWorkers } from './text_workers';
import type { EngineOptions } from './types';
import { engineWorkerUrl, textWorkerUrl } from './worker_url';

export class EngineClient {
  info: EngineInfo;
  readonly lost: Promise<{ reason: string; message: string }>;
  readonly #worker: Worker;
  readonly #remote: Remote<EngineWorkerApi>;
  readonly #textWorkers: PageTextWorkers;
  readonly #running = new Set<EventStream>();
  /** Rejects when the engine ends, for whatever reason; every wait for the worker races against it. */
  readonly #ending: Promise<never>;
  #reject!: (error: EngineError) => void;
  #ended: EngineError | undefined;
  #unloading: Promise<void> | undefined;
  #nextRequest = 1;

  private constructor(worker: Worker, remote: Remote<EngineWorkerApi>, textWorkers: PageTextWorkers, info: EngineInfo) {
    this.info = info;
    this.#textWorkers = textWorkers;
    this.#worker = worker;
    this.#remote = remote;
    this.#ending = new Promise((_, reject) => {
      this.#reject = reject;
    });
    this.#ending.catch(() => {}); // nobody may be waiting when it ends
    const failed = workerFailure(worker, 'The engine’s worker failed');
    this.lost = Promise.race([
      remote.lost(),
      failed.catch((error: EngineError) => ({ reason: 'unknown', message: error.message })),
    ]);
    failed.catch((error: EngineError) => this.#end(error));
  }

  static async start(model: ModelRef, options: EngineOptions): Promise<EngineClient> {
    const { onProgress, signal, workerUrl, ...config } = options;
    checkOptions(config);
    throwIfAborted(signal);
    const urls = workerUrls(workerUrl);
    const worker = startWorker(urls.engine);
    const textWorkers = new PageTextWorkers(urls.text);
    const remote = wrap<EngineWorkerApi>(worker);
    const stop = new AbortController(); // takes the listeners off again
    const cancelled = new Promise<never>((_, reject) => {
      signal?.addEventListener('abort', () => reject(abortError()), { signal: stop.signal });
    });
    try {
      const report = progressReporter(onProgress, stop.signal);
      const load = remote.load(cloneable(model), config, proxy(report), proxy(textWorkers));
      const couldNotStart = workerFailure(
        worker,
        'The engine’s worker could not start (is its file served, and does the Content-Security-Policy allow workers?)',
      );
      const result = await Promise.race([load, couldNotStart, cancelled]);
      if ('error' in result) throw fromWire(result.error);
      const { parameterBytes: bytes } = result.info;
      report({ phase: 'ready', loaded: bytes, total: bytes, progress: 1, text: 'Ready' }); // the worker's own may come later than its answer
      return new EngineClient(worker, remote, textWorkers, result.info);
    } catch (error) {
      worker.terminate(); // ends the load, too, and with it what it had allocated
      textWorkers.endAll();
      throw typed(error, 'createEngine');
    } finally {
      stop.abort();
    }
  }

  async refreshInfo(): Promise<EngineInfo> {
    this.info = (await this.#ask(this.#remote.info())) ?? this.info;
    return this.info;
  }

  async tokenize(text: string): Promise<number[]> {
    if (typeof text !== 'string') throw new EngineError('invalid-request', "'text' must be a string.");
    const result = await this.#ask<Awaited<ReturnType<EngineWorkerApi['tokenize']>>>(this.#remote.tokenize(text));
    if ('error' in result) throw fromWire(result.error);
    return result.ids;
  }

  /**
   * The events of one request, without its errors, which are thrown. Starts at once; leaving the loop early cancels it.
   * @throws EngineError; AbortError when `signal` aborts.
   */
  generate(request: GenerateRequest, signal: AbortSignal | undefined): AsyncIterableIterator<ReplyEvent> {
    if (this.#ended) throw this.#ended;
    if (signal !== undefined && !(signal instanceof AbortSignal))
      throw new EngineError('invalid-request', "'signal' must be an AbortSignal.");
    throwIfAborted(signal);
    const requestId = this.#nextRequest++;
    const stream = new EventStream(signal, (finished) => {
      this.#running.delete(stream);
      if (!finished && !this.#ended) this.#remote.cancel(requestId).catch(() => {});
    });
    this.#running.add(stream);
    this.#remote
      .generate(requestId, request, proxy(stream.push))
      .catch((error: unknown) => stream.fail(typed(error, 'the request')));
    return stream;
  }

  /** Ends everything at once on this side; gives the worker a moment to release the GPU. */
  unload(): Promise<void> {
    this.#unloading ??= this.#unload();
    return this.#unloading;
  }

  async #unload(): Promise<void> {
    const crashed = this.#ended !== undefined;
    this.#end(new EngineError('unloaded', 'The engine was unloaded. Create a new one.'));
    if (!crashed) await Promise.race([this.#remote.unload(), new Promise((resolve) => setTimeout(resolve, 2000))]); // a hung GPU must not hang the page
    this.#worker.terminate();
    this.#textWorkers.endAll();
  }

  #ask<T>(answer: Promise<T>): Promise<T> {
    if (this.#ended) throw this.#ended;
    return Promise.race([answer, this.#ending]);
  }

  #end(error: EngineError): void {
    this.#ended ??= error;
    this.#reject(error);
    for (const stream of [...this.#running]) stream.fail(error);
    if (error.code === 'unloaded') return; // the worker may still release the GPU
    this.#worker.terminate();
    this.#textWorkers.endAll();
  }
}

/** A worker file that the caller names is the library's own, which serves as either worker by its name. */
function workerUrls(workerUrl: string | URL | undefined): { engine: URL; text: URL } {
  if (workerUrl === undefined) return { engine: engineWorkerUrl(), text: textWorkerUrl() };
  if (!URL.canParse(workerUrl, location.href))
    throw new EngineError('invalid-request', `The option 'workerUrl' is not a URL: ${workerUrl}`);
  const url = new URL(workerUrl, location.href);
  return { engine: url, text: url };
}

function startWorker(url: URL): Worker {
  try {
    return spawnModuleWorker(url, 'sluice');
  } catch (cause) {
    const why = (cause as Error).message;
    throw new EngineError(
      'unsupported',
      `The engine’s worker could not be started: ${why} Engines run in a browser page, served over http(s).`,
      { cause },
    );
  }
}

/** Progress as the caller wants it: never after the load has ended, and a callback that throws is reported once, not per event. */
function progressReporter(
  onProgress: ((progress: LoadProgress) => void) | undefined,
  ended: AbortSignal,
): (progress: LoadProgress) => void {
  let over = false;
  return (progress) => {
    if (!onProgress || over || ended.aborted) return;
    over = progress.phase === 'ready';
    try {
      onProgress(progress);
    } catch (error) {
      over = true;
      reportError(error);
    }
  };
}

/** URLs and FileLists cannot be cloned into a worker, and a relative URL means relative to the page. */
function cloneable(model: ModelRef): ModelRef {
  if (model instanceof URL) return model.href;
  if (typeof model === 'string' && /^(\.{0,2}\/|https?:)/i.test(model)) {
    if (!URL.canParse(model, location.href)) throw new EngineError('invalid-request', `'${model}' is not a URL.`);
    return new URL(model, location.href).href;
  }
  if (typeof FileList !== 'undefined' && model instanceof FileList) return [...model];
  return Array.isArray(model) ? [...model] : model;
}

/** Rejects when the worker reports an error of its own. */
function workerFailure(worker: Worker, what: string): Promise<never> {
  return new Promise((_, reject) => {
    worker.addEventListener(
      'error',
      (event) => reject(new EngineError('internal', `${what}${event.message ? `: ${event.message}` : '.'}`)),
      { once: true },
    );
  });
}

/** What was thrown, as one of the family: values that cannot travel to the worker are the caller's to change. */
function typed(error: unknown, what: string): Error {
  if (error instanceof EngineError || isAbort(error)) return error as Error;
  const { name, message } = error as Error;
  if (name === 'DataCloneError')
    return new EngineError('invalid-request', `Something in ${what} cannot be sent to a worker; pass plain data. (${message})`, {
      cause: error,
    });
  return new EngineError('internal', `${name}: ${message}`, { cause: error });
}

/** The page's side of a loaded engine: each request's events as an async iterator, and one end for everything. */
import { proxy, type Remote } from 'comlink';
import { EngineError, fromWire, throwIfAborted, type WireError } from '../errors';
import type { EngineInfo, EngineWorkerApi, GenerateRequest, ModelRef, Pressure } from '../protocol/engine';
import type { TokenCosts } from '../protocol/plan';
import { ControlRelay, whenAborted } from './control';
import { EventStream, type ReplyEvent } from './event_stream';
import { cloneableRef } from './model_ref';
import { checkCallback, checkOptions } from './options';
import { progressReporter, reportReady } from './progress';
import type { EngineOptions } from './types';
import { type Connect, typedError, WorkerConnection } from './worker_connection';

export class EngineClient {
  info: EngineInfo;
  readonly lost: Promise<{ reason: string; message: string }>;
  readonly #connection: WorkerConnection;
  readonly #running = new Set<EventStream>();
  /** Stops progress that is still reported after the load: see `answerWhileLoading`. */
  readonly #reporting: AbortController;
  /** Rejects when the engine ends, for whatever reason; every wait for the worker races against it. */
  readonly #ending: Promise<never>;
  #reject!: (error: EngineError) => void;
  #ended: EngineError | undefined;
  #unloading: Promise<void> | undefined;
  #nextRequest = 1;

  private constructor(connection: WorkerConnection, info: EngineInfo, reporting: AbortController) {
    this.info = info;
    this.#connection = connection;
    this.#reporting = reporting;
    this.#ending = new Promise((_, reject) => {
      this.#reject = reject;
    });
    this.#ending.catch(() => {}); // nobody may be waiting when it ends
    const { remote, failed } = connection;
    this.lost = Promise.race([
      remote.lost(),
      failed.catch((error: EngineError) => ({ reason: 'unknown', message: error.message })),
    ]);
    failed.catch((error: EngineError) => this.#end(error));
  }

  static async start(model: ModelRef, options: EngineOptions, connect: Connect = WorkerConnection.open): Promise<EngineClient> {
    const { onProgress, onPressure, signal, workerUrl, ...config } = options;
    checkOptions(config);
    checkCallback('onProgress', onProgress);
    checkCallback('onPressure', onPressure);
    throwIfAborted(signal);
    const connection = connect(workerUrl);
    const loading = new AbortController(); // takes the listeners off again
    const reporting = new AbortController();
    const relay = new ControlRelay();
    try {
      const report = progressReporter(onProgress, relay, reporting.signal);
      relay.connect(connection.remote);
      const load = connection.remote.load(
        cloneableRef(model),
        config,
        proxy(report),
        proxy(connection.textWorkers),
        proxy(pressureReporter(onPressure)),
      ) as ReturnType<EngineWorkerApi['load']>;
      const { info } = await connection.ask('createEngine', load, whenAborted(signal, loading.signal));
      if (!config.answerWhileLoading) reportReady(report, info.parameterBytes);
      return new EngineClient(connection, info, reporting);
    } catch (error) {
      reporting.abort();
      connection.end(); // ends the load, too, and with it what it had allocated
      throw typedError(error, 'createEngine');
    } finally {
      loading.abort();
    }
  }

  async refreshInfo(): Promise<EngineInfo> {
    this.info = (await this.#ask(this.#connection.remote.info())) ?? this.info;
    return this.info;
  }

  async measure(): Promise<TokenCosts> {
    return (await this.request((worker) => worker.measure())).costs;
  }

  /** What the worker answers. @throws what it says went wrong; EngineError. */
  async request<T extends object>(call: (worker: Remote<EngineWorkerApi>) => Promise<T | { error: WireError }>): Promise<T> {
    if (this.#ended) throw this.#ended;
    const result = await this.#ask(call(this.#connection.remote));
    if ('error' in result) throw fromWire(result.error);
    return result;
  }

  async tokenize(text: string): Promise<number[]> {
    if (typeof text !== 'string') throw new EngineError('invalid-request', "'text' must be a string.");
    const result = await this.#ask<Awaited<ReturnType<EngineWorkerApi['tokenize']>>>(this.#connection.remote.tokenize(text));
    if ('error' in result) throw fromWire(result.error);
    return result.ids;
  }

  /**
   * The events of one request, without its errors, which are thrown. Starts at once; leaving the loop early cancels it.
   * @throws EngineError; AbortError when `signal` aborts.
   */
  generate(request: GenerateRequest, signal: AbortSignal | undefined): AsyncIterableIterator<ReplyEvent> {
    if (this.#ended) throw this.#ended;
    throwIfAborted(signal);
    const requestId = this.#nextRequest++;
    const stream = new EventStream(signal, (finished) => {
      this.#running.delete(stream);
      if (!finished && !this.#ended) this.#connection.remote.cancel(requestId).catch(() => {});
    });
    this.#running.add(stream);
    this.#connection.remote
      .generate(requestId, request, proxy(stream.push))
      .catch((error: unknown) => stream.fail(typedError(error, 'the request')));
    return stream;
  }

  interrupt(): void {
    if (!this.#ended) this.#connection.remote.interrupt().catch(() => {}); // a worker that is gone makes no reply
  }

  /** Ends everything at once on this side; gives the worker a moment to release the GPU. */
  unload(): Promise<void> {
    this.#unloading ??= this.#unload();
    return this.#unloading;
  }

  async #unload(): Promise<void> {
    const crashed = this.#ended !== undefined;
    this.#end(new EngineError('unloaded', 'The engine was unloaded. Create a new one.'));
    if (!crashed) await Promise.race([this.#connection.remote.unload(), new Promise((resolve) => setTimeout(resolve, 2000))]); // a hung GPU must not hang the page
    this.#connection.end();
  }

  #ask<T>(answer: Promise<T>): Promise<T> {
    if (this.#ended) throw this.#ended;
    return Promise.race([answer, this.#ending]);
  }

  #end(error: EngineError): void {
    this.#ended ??= error;
    this.#reporting.abort();
    this.#reject(error);
    for (const stream of [...this.#running]) stream.fail(error);
    if (error.code !== 'unloaded') this.#connection.end(); // an unloaded one may still release the GPU
  }
}

/** What the caller's function throws is the page's error, not the worker's. */
function pressureReporter(onPressure: EngineOptions['onPressure']): (pressure: Pressure) => void {
  return (pressure) => {
    try {
      onPressure?.(pressure);
    } catch (error) {
      reportError(error);
    }
  };
}

/** The page's side of the protocol: the worker's lifetime, and each request's events as an async generator. */
import { proxy, type Remote, wrap } from 'comlink';
import { abortError, EngineError, fromWire, throwIfAborted } from '../errors';
import type { EngineInfo, EngineWorkerApi, GenerateEvent, GenerateRequest, ModelRef } from '../protocol/engine';
import { spawnModuleWorker } from '../protocol/spawn_worker';
import type { EngineOptions } from './types';
import { engineWorkerUrl } from './worker_url';

export class EngineClient {
  info: EngineInfo;
  readonly lost: Promise<{ reason: string; message: string }>;
  readonly #worker: Worker;
  readonly #remote: Remote<EngineWorkerApi>;
  readonly #running = new Set<EventQueue>();
  #nextRequest = 1;
  #ended: EngineError | undefined;

  private constructor(worker: Worker, remote: Remote<EngineWorkerApi>, info: EngineInfo) {
    this.info = info;
    this.#worker = worker;
    this.#remote = remote;
    this.lost = remote.lost();
    worker.addEventListener('error', (event) =>
      this.#end(new EngineError('internal', `The engine's worker failed: ${event.message}`)),
    );
  }

  static async start(model: ModelRef, options: EngineOptions): Promise<EngineClient> {
    const { onProgress, signal, workerUrl, ...config } = options;
    throwIfAborted(signal);
    const worker = spawnModuleWorker(workerUrl === undefined ? engineWorkerUrl() : new URL(workerUrl, location.href), 'sluice');
    const remote = wrap<EngineWorkerApi>(worker);
    const cancel = () => void remote.cancelLoad();
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      const load = remote.load(cloneable(model), config, proxy(onProgress ?? (() => {})));
      const result = await Promise.race([load, workerFailure(worker), aborted(signal)]);
      if ('error' in result) throw fromWire(result.error);
      return new EngineClient(worker, remote, result.info);
    } catch (error) {
      worker.terminate();
      throw error;
    } finally {
      signal?.removeEventListener('abort', cancel);
    }
  }

  async refreshInfo(): Promise<EngineInfo> {
    this.#requireAlive();
    this.info = (await this.#remote.info()) ?? this.info;
    return this.info;
  }

  async tokenize(text: string): Promise<number[]> {
    this.#requireAlive();
    const result = await this.#remote.tokenize(text);
    if ('error' in result) throw fromWire(result.error);
    return result.ids;
  }

  /**
   * The events of one request, without its errors, which are thrown. Starts at once; leaving the loop early cancels it.
   * @throws EngineError; AbortError when `signal` aborts.
   */
  generate(
    request: GenerateRequest,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Exclude<GenerateEvent, { type: 'error' }>, void, undefined> {
    this.#requireAlive();
    throwIfAborted(signal);
    const requestId = this.#nextRequest++;
    const queue = new EventQueue();
    this.#running.add(queue);
    const cancel = () => {
      void this.#remote.cancel(requestId);
      queue.fail(abortError());
    };
    signal?.addEventListener('abort', cancel, { once: true });
    void this.#remote.generate(
      requestId,
      request,
      proxy((event: GenerateEvent) => queue.push(event)),
    );
    const close = () => {
      signal?.removeEventListener('abort', cancel);
      this.#running.delete(queue);
      if (!queue.finished) void this.#remote.cancel(requestId);
    };
    return drain(queue, close);
  }

  async unload(): Promise<void> {
    if (this.#ended) return;
    this.#end(new EngineError('unloaded', 'The engine was unloaded. Create a new one.'));
    await Promise.race([this.#remote.unload(), new Promise((resolve) => setTimeout(resolve, 2000))]); // a hung GPU must not hang the page
    this.#worker.terminate();
  }

  #end(error: EngineError): void {
    this.#ended ??= error;
    for (const queue of this.#running) queue.fail(error);
  }

  #requireAlive(): void {
    if (this.#ended) throw this.#ended;
  }
}

async function* drain(
  queue: EventQueue,
  close: () => void,
): AsyncGenerator<Exclude<GenerateEvent, { type: 'error' }>, void, undefined> {
  try {
    for (;;) {
      const event = await queue.next();
      if (event.type === 'error') throw fromWire(event.error);
      yield event;
      if (event.type === 'done') return;
    }
  } finally {
    close();
  }
}

/** Events that came and nobody has asked for yet, and whoever waits for the next one. */
class EventQueue {
  finished = false;
  readonly #events: GenerateEvent[] = [];
  #failure: Error | undefined;
  #wake: () => void = () => {};

  push(event: GenerateEvent): void {
    this.finished ||= event.type === 'done' || event.type === 'error';
    this.#events.push(event);
    this.#wake();
  }

  /** Ends the request on this side at once; what came before is dropped. */
  fail(error: Error): void {
    this.#failure ??= error;
    this.#wake();
  }

  async next(): Promise<GenerateEvent> {
    for (;;) {
      if (this.#failure) throw this.#failure;
      const event = this.#events.shift();
      if (event) return event;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** URLs cannot be cloned into a worker, and a relative one means relative to the page. */
function cloneable(model: ModelRef): ModelRef {
  if (model instanceof URL) return model.href;
  if (typeof model === 'string' && /^(\.{0,2}\/|https?:)/i.test(model)) return new URL(model, location.href).href;
  return Array.isArray(model) ? [...model] : model;
}

function workerFailure(worker: Worker): Promise<never> {
  return new Promise((_, reject) => {
    worker.addEventListener('error', (event) => {
      reject(
        new EngineError(
          'internal',
          `The engine's worker could not start${event.message ? `: ${event.message}` : ''}. Check that its file is served, and that the page's Content-Security-Policy allows workers.`,
        ),
      );
    });
  });
}

function aborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => signal?.addEventListener('abort', () => reject(abortError()), { once: true }));
}

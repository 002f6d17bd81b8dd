/** One engine worker as the page holds it: started here, asked through comlink, and ended for certain. */
import { type Endpoint, type Remote, wrap } from 'comlink';
import { EngineError, fromWire, isAbort, type WireError } from '../errors';
import type { EngineWorkerApi } from '../protocol/engine';
import { spawnModuleWorker } from '../protocol/spawn_worker';
import { PageTextWorkers } from './text_workers';
import { engineWorkerUrl, textWorkerUrl } from './worker_url';

/** A worker, or whatever else speaks comlink and can be ended. */
export type EngineEndpoint = Endpoint & { terminate(): void };

/** How everything in this room gets its worker; tests hand in an endpoint of their own. */
export type Connect = (workerUrl: string | URL | undefined) => WorkerConnection;

/** How long a worker may take to answer after its page came back from the back/forward cache. */
const WAKE_LIMIT_MS = 30_000;

const NO_START = 'The engine’s worker could not start (is its file served, and does the Content-Security-Policy allow workers?)';
const NOT_BACK =
  'The browser put this page to sleep and did not bring the engine’s worker back. Create the engine again, or reload the page.';

export class WorkerConnection {
  readonly remote: Remote<EngineWorkerApi>;
  readonly textWorkers: PageTextWorkers;
  /** Rejects when the worker fails, never resolves; every wait for the worker races against it. */
  readonly failed: Promise<never>;
  readonly #endpoint: EngineEndpoint;
  readonly #over = new AbortController(); // takes the listeners off again
  #fail!: (error: EngineError) => void;
  #answered = false;

  /** `page`: where 'pagehide' and 'pageshow' come from. */
  constructor(endpoint: EngineEndpoint, textUrl: URL, page: EventTarget = globalThis) {
    this.#endpoint = endpoint;
    this.remote = wrap<EngineWorkerApi>(endpoint);
    this.textWorkers = new PageTextWorkers(textUrl);
    this.failed = new Promise((_, reject) => {
      this.#fail = reject;
    });
    this.failed.catch(() => {}); // nobody may be waiting when it fails
    const { signal } = this.#over;
    const onError = (event: Event) => this.#onError((event as ErrorEvent).message);
    endpoint.addEventListener('error', onError as EventListener);
    signal.addEventListener('abort', () => endpoint.removeEventListener('error', onError as EventListener));
    page.addEventListener('pagehide', () => this.#releaseFiles(), { signal });
    page.addEventListener('pageshow', (event) => (event as PageTransitionEvent).persisted && this.#checkAwake(), { signal });
  }

  /** Starts the worker that lies beside this module, or at `workerUrl`. @throws EngineError 'unsupported', 'invalid-request' */
  static readonly open: Connect = (workerUrl) => {
    const urls = workerUrls(workerUrl);
    return new WorkerConnection(startWorker(urls.engine), urls.text);
  };

  /** The worker's answer. `what` names the call in messages. @throws what the worker says went wrong; AbortError; EngineError. */
  async ask<T extends object>(
    what: string,
    answer: Promise<T | { error: WireError }>,
    ...interruptions: Promise<never>[]
  ): Promise<T> {
    let result: T | { error: WireError };
    try {
      result = await Promise.race([answer, this.failed, ...interruptions]);
    } catch (error) {
      throw typedError(error, what);
    }
    this.#answered = true;
    if ('error' in result) throw fromWire(result.error);
    return result;
  }

  /** Ends the worker and its text workers at once, and with them whatever they had allocated or locked. Idempotent. */
  end(): void {
    this.#over.abort();
    this.#endpoint.terminate();
    this.textWorkers.endAll();
  }

  #onError(message: string | undefined): void {
    const what = this.#answered ? 'The engine’s worker failed' : NO_START;
    this.#fail(new EngineError('internal', `${what}${message ? `: ${message}` : '.'}`));
  }

  /** File handles and locks would outlive a page in the back/forward cache, and in some browsers a reload. */
  #releaseFiles(): void {
    this.remote.releaseFiles().catch(() => {}); // the worker may be gone already
  }

  /** Back from that cache the worker runs on and opens its files again; one that is gone would leave every request hanging. */
  #checkAwake(): void {
    const timer = setTimeout(() => this.#fail(new EngineError('internal', NOT_BACK)), WAKE_LIMIT_MS);
    const awake = () => clearTimeout(timer);
    this.#over.signal.addEventListener('abort', awake);
    this.remote.info().then(awake, awake);
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

/** What was thrown, as one of the family: values that cannot travel to the worker are the caller's to change. */
export function typedError(error: unknown, what: string): Error {
  if (error instanceof EngineError || isAbort(error)) return error as Error;
  const { name, message } = error as Error;
  if (name === 'DataCloneError')
    return new EngineError('invalid-request', `Something in ${what} cannot be sent to a worker; pass plain data. (${message})`, {
      cause: error,
    });
  return new EngineError('internal', `${name}: ${message}`, { cause: error });
}

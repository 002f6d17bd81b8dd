/**
 * Runs template and tokenizer in a worker and ends it when a call takes too long: an AbortSignal cannot reach a regular expression that
 * backtracks for an hour. Calls go one at a time, so a timeout has one culprit. What a worker knew is cheap to give to the next one: the
 * host keeps the files, and of each open stream its ids.
 */
import { type Endpoint, type Remote, transfer, wrap } from 'comlink';
import { abortError, EngineError, fromWire, throwIfAborted } from '../errors';
import type { Acceptance } from '../grammar/constraint_run';
import type { RenderRequest } from './chat_template';
import { ConstraintPort, type Mask } from './constraint_port';
import type { ConstraintRequest, OpenedConstraint } from './constraint_service';
import { DEFAULT_MAX_OUTPUT_BYTES } from './limits';
import type { ChatPrompt, ChatRequest, StreamPiece, TextFiles, TextInfo, TextResult, TextWorkerApi } from './text_worker_api';
import type { EncodeOptions, TokenText } from './tokenizer';

export type TextWorkerHandle = {
  port: Endpoint;
  terminate(): void;
  /** Calls back once if the worker ends by itself. Without it such an end looks like a call that takes too long. */
  onFailure?(listener: (failure: { kind: 'memory' | 'other'; message: string }) => void): void;
};

export type TextHostOptions = {
  /** Starts a worker that exposes `createTextWorkerApi()` on the port. */
  spawn: () => TextWorkerHandle;
  /** Longest time for one call, in ms. Default 2000. */
  timeoutMs?: number;
  /** Longest time to start a worker and load the tokenizer in it, in ms. Default 30000. */
  loadTimeoutMs?: number;
  /** Longest result of one call. Default 8 MiB. */
  maxOutputBytes?: number;
};

type CallOptions = { signal?: AbortSignal };

export interface TextHost {
  /** Starts a worker and loads the files; must come before anything else. May be called again with other files: open streams end. */
  load(files: TextFiles, options?: CallOptions): Promise<TextInfo>;
  encode(text: string, options: EncodeOptions & CallOptions): Promise<number[]>;
  decode(ids: readonly number[], options?: CallOptions): Promise<string>;
  render(request: RenderRequest, options?: CallOptions): Promise<string>;
  /** Renders and encodes in one; names of special tokens in the messages stay text unless the request allows them. */
  encodeChat(request: ChatRequest, options?: CallOptions): Promise<ChatPrompt>;
  describeTokens(ids: readonly number[], options?: CallOptions): Promise<TokenText[]>;
  /** Constructs only; the worker hears of it with the first push. */
  openStream(options?: { stop?: readonly string[] }): TextStream;
  /**
   * Holds one reply to a schema, a grammar or the syntax of tool calls.
   * @throws EngineError 'unsupported-schema', 'invalid-request'; 'limit' where compiling takes too long
   */
  openConstraint(request: ConstraintRequest, options?: CallOptions): Promise<TextConstraint>;
  /** Ends the worker. Waiting and later calls reject with 'unloaded'. */
  dispose(): void;
}

export interface TextStream {
  /** A push that rejects has not taken the ids (but an aborted one may have). */
  push(ids: readonly number[], options?: CallOptions): Promise<StreamPiece>;
  /** What was held back; ends the stream. */
  finish(options?: CallOptions): Promise<string>;
  /** Ends the stream without its rest. Idempotent. */
  close(): void;
}

export interface TextConstraint {
  /** The fewest bytes that a reply can have, and so at least as many tokens as it needs. */
  readonly leastBytes: number;
  /** Bit i & 31 of word i >> 5: token i may come next. `remaining`: tokens that the reply may still have, that one included. */
  mask(remaining: number, options?: CallOptions): Promise<Mask>;
  /** Where it is not accepted the mask has changed: ask for it and draw again. `remaining`: tokens that may come after this one. */
  accept(token: number, remaining: number, options?: CallOptions): Promise<Acceptance>;
  /** Idempotent. */
  close(): void;
}

/** A timer can fire before a reply that arrived while this thread was busy; so much later it is really missing. */
const GRACE_MS = 30;

type TextWorker = {
  handle: TextWorkerHandle;
  api: Remote<TextWorkerApi>;
  streams: Set<number>;
  constraints: Set<number>;
  /** Opened with the first constraint. */
  port?: ConstraintPort;
};
type Call<T> = (api: Remote<TextWorkerApi>) => Promise<TextResult<T>>;
/** How long a call may take, and the option that says so. */
type Limit = { ms: number; option: 'textTimeoutMs' | 'loadTimeoutMs' };

export function createTextHost(options: TextHostOptions): TextHost {
  return new WorkerTextHost(options);
}

class WorkerTextHost implements TextHost {
  private readonly spawn: () => TextWorkerHandle;
  private readonly callLimit: Limit;
  private readonly loadLimit: Limit;
  private readonly maxOutputBytes: number;
  private files: TextFiles | undefined;
  private info: TextInfo | undefined;
  /** Loaded with `files`; undefined before the first call and after one that had to be ended. */
  private worker: TextWorker | undefined;
  private queue: Promise<unknown> = Promise.resolve();
  private disposed = false;
  /** Fails the call that runs now. */
  private interrupt: ((error: EngineError) => void) | undefined;
  private nextStreamId = 1;

  constructor({ spawn, timeoutMs = 2000, loadTimeoutMs = 30_000, maxOutputBytes = DEFAULT_MAX_OUTPUT_BYTES }: TextHostOptions) {
    this.spawn = spawn;
    this.callLimit = { ms: timeoutMs, option: 'textTimeoutMs' };
    this.loadLimit = { ms: loadTimeoutMs, option: 'loadTimeoutMs' };
    this.maxOutputBytes = maxOutputBytes;
  }

  load(files: TextFiles, { signal }: CallOptions = {}): Promise<TextInfo> {
    return this.enqueue(signal, async () => {
      this.endWorker();
      this.files = files;
      await this.loadedWorker();
      return this.info!;
    });
  }

  encode(text: string, { signal, ...options }: EncodeOptions & CallOptions): Promise<number[]> {
    return this.call('Tokenising', signal, (api) => api.encode(text, options));
  }

  decode(ids: readonly number[], { signal }: CallOptions = {}): Promise<string> {
    return this.call('Decoding', signal, (api) => api.decode([...ids]));
  }

  render(request: RenderRequest, { signal }: CallOptions = {}): Promise<string> {
    return this.call('Rendering the chat template', signal, (api) => api.render(request));
  }

  encodeChat(request: ChatRequest, { signal }: CallOptions = {}): Promise<ChatPrompt> {
    return this.call('Rendering and tokenising the messages', signal, (api) => api.encodeChat(request));
  }

  describeTokens(ids: readonly number[], { signal }: CallOptions = {}): Promise<TokenText[]> {
    return this.call('Decoding', signal, (api) => api.describeTokens([...ids]));
  }

  openStream({ stop = [] }: { stop?: readonly string[] } = {}): TextStream {
    const id = this.nextStreamId++;
    const files = this.files;
    const pushed: number[] = [];
    let open = true;

    const run = <T>(signal: AbortSignal | undefined, work: Call<T>) =>
      this.enqueue(signal, async () => {
        if (!open || files !== this.files) throw new EngineError('internal', 'This text stream has ended. Open another.');
        const worker = await this.loadedWorker();
        if (!worker.streams.has(id)) await this.timed(worker, 'Decoding', (api) => api.openStream(id, [...stop], pushed));
        worker.streams.add(id);
        try {
          return await this.timed(worker, 'Decoding', work);
        } catch (error) {
          worker.streams.delete(id); // it may be half way through the ids: the next push starts again from those that count
          throw error;
        }
      });
    return {
      push: async (ids, { signal } = {}) => {
        const list = [...ids];
        return run(signal, async (api) => {
          const reply = await api.push(id, list);
          // Here and not where the caller waits: one that has aborted is gone, and the worker has taken the ids all the same.
          if ('value' in reply) for (let i = 0; i < reply.value.used; i++) pushed.push(list[i]!);
          return reply;
        });
      },
      finish: async ({ signal } = {}) => {
        const rest = await run(signal, (api) => api.finish(id));
        open = false;
        return rest;
      },
      close: () => {
        if (!open) return;
        open = false;
        void this.enqueue(undefined, async () => {
          const worker = this.worker;
          if (worker?.streams.delete(id)) await this.timed(worker, 'Decoding', (api) => api.closeStream(id));
        }).catch(() => {}); // what is wrong with the worker is for the next call to tell
      },
    };
  }

  async openConstraint(request: ConstraintRequest, { signal }: CallOptions = {}): Promise<TextConstraint> {
    const id = this.nextStreamId++;
    const accepted: number[] = [];
    let leastBytes = Number.POSITIVE_INFINITY;
    const reopen = async (worker: TextWorker) => {
      await this.timed(worker, 'Preparing the grammar library', (api) => api.prepareConstraints(request), this.loadLimit);
      const open: Call<OpenedConstraint> = (api) => api.openConstraint(id, request, accepted);
      ({ leastBytes } = await this.timed(worker, 'Compiling the grammar', open));
      worker.constraints.add(id);
      worker.port ??= await this.connect(worker);
      return worker.port;
    };
    const run = <T>(callSignal: AbortSignal | undefined, work?: (port: ConstraintPort) => Promise<TextResult<T>>) =>
      this.enqueue(callSignal, async () => {
        const worker = await this.loadedWorker();
        try {
          const port = (worker.constraints.has(id) && worker.port) || (await reopen(worker));
          return work ? await this.timed(worker, 'Applying the grammar', () => work(port)) : undefined;
        } catch (error) {
          // The library's WebAssembly may have aborted, and only another thread gets a new one.
          if (error instanceof EngineError && error.code === 'internal' && this.worker === worker) this.endWorker();
          throw error;
        }
      });
    await run(signal);
    return {
      leastBytes,
      mask: (remaining, options = {}) => run(options.signal, (port) => port.mask(id, remaining)) as Promise<Mask>,
      accept: (token, remaining, options = {}) =>
        run(options.signal, async (port) => {
          const reply = await port.accept(id, token, remaining);
          if ('value' in reply && reply.value.accepted) accepted.push(token);
          return reply;
        }) as Promise<Acceptance>,
      close: () => {
        void this.enqueue(undefined, async () => {
          const worker = this.worker;
          worker?.port?.forget(id);
          if (worker?.constraints.delete(id)) await this.timed(worker, 'Decoding', (api) => api.closeConstraint(id));
        }).catch(() => {}); // as with a stream
      },
    };
  }

  dispose(): void {
    this.disposed = true;
    this.endWorker(unloaded());
    this.files = undefined;
  }

  private call<T>(
    doing: string,
    signal: AbortSignal | undefined,
    work: (api: Remote<TextWorkerApi>) => Promise<TextResult<T>>,
  ): Promise<T> {
    return this.enqueue(signal, async () => {
      const worker = await this.loadedWorker();
      return this.timed(worker, doing, work);
    });
  }

  /** Runs jobs in order. An abort frees the caller at once; a job that has begun keeps its place until it ends. */
  private enqueue<T>(signal: AbortSignal | undefined, job: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      throwIfAborted(signal);
      const onAbort = () => reject(abortError());
      signal?.addEventListener('abort', onAbort, { once: true });
      const run = async () => {
        if (signal?.aborted) return;
        if (this.disposed) throw unloaded();
        resolve(await job());
      };
      this.queue = this.queue
        .then(run)
        .catch(reject)
        .finally(() => signal?.removeEventListener('abort', onAbort));
    });
  }

  private async loadedWorker(): Promise<TextWorker> {
    if (this.worker) return this.worker;
    const files = this.files;
    if (!files) throw new EngineError('internal', 'The text host has no files yet. Call load first.');
    const handle = this.spawn();
    const worker: TextWorker = { handle, api: wrap<TextWorkerApi>(handle.port), streams: new Set(), constraints: new Set() };
    this.worker = worker;
    handle.onFailure?.((failure) => {
      if (this.worker === worker) this.endWorker(failureError(failure));
    });
    try {
      const load: Call<TextInfo> = (api) => api.load(files, { maxOutputBytes: this.maxOutputBytes });
      this.info = await this.timed(worker, 'Loading the tokenizer', load, this.loadLimit);
      return worker;
    } catch (error) {
      this.endWorker(); // a worker without a tokenizer is of no use, whatever the reason
      throw error;
    }
  }

  private async timed<T>(worker: TextWorker, doing: string, work: Call<T>, limit = this.callLimit): Promise<T> {
    if (this.disposed) throw unloaded();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const interrupted = new Promise<never>((_, reject) => {
      this.interrupt = reject;
      const expire = () => this.endWorker(timeoutError(doing, limit));
      const grace = () => {
        timer = setTimeout(expire, GRACE_MS);
      };
      timer = setTimeout(grace, limit.ms);
    });
    try {
      const reply = await Promise.race([work(worker.api).catch(sendError), interrupted]);
      if ('error' in reply) throw fromWire(reply.error);
      return reply.value;
    } finally {
      clearTimeout(timer);
      this.interrupt = undefined;
    }
  }

  private async connect(worker: TextWorker): Promise<ConstraintPort> {
    const { port1, port2 } = new MessageChannel();
    const port = new ConstraintPort(port1);
    await this.timed(worker, 'Preparing the grammar library', (api) => api.connectConstraints(transfer(port2, [port2])));
    return port;
  }

  private endWorker(reason?: EngineError): void {
    this.worker?.handle.terminate();
    this.worker?.port?.close();
    this.worker = undefined;
    if (reason) this.interrupt?.(reason);
  }
}

function unloaded(): EngineError {
  return new EngineError('unloaded', 'The engine was unloaded. Create another one.');
}

/** comlink rejects only where a message cannot be sent: what the worker's code throws comes as a result. */
function sendError(cause: unknown): never {
  const isCallers = cause instanceof DOMException && cause.name === 'DataCloneError';
  const message = cause instanceof Error ? cause.message : String(cause);
  if (!isCallers)
    throw new EngineError('internal', `The text worker could not answer: ${message}. Reload and try again.`, { cause });
  throw new EngineError(
    'invalid-request',
    `Messages, tools and template options must be plain data: ${message}. Remove what is not.`,
    { cause },
  );
}

function timeoutError(doing: string, { ms, option }: Limit): EngineError {
  const message = `${doing} took longer than ${ms} ms and was ended. Shorten the text; if you trust the checkpoint, raise ${option}.`;
  return new EngineError('limit', message);
}

function failureError({ kind, message }: { kind: 'memory' | 'other'; message: string }): EngineError {
  return kind === 'memory'
    ? new EngineError(
        'limit',
        `The text worker ran out of memory and was ended (${message}). Shorten the text or use another checkpoint.`,
      )
    : new EngineError('internal', `The text worker failed: ${message}. Reload and try again.`);
}

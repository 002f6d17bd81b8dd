/** Who answers an element: a shared engine on this device, or an endpoint that was agreed to. Loaded on demand, let go as a whole. */
import type { ChatEngine, EndpointOptions, EngineConfig, LoadProgress, OnFallback, Pressure, WorkerOptions } from '../api';
import { createEndpointEngine, createEngine } from '../api';
import { endpointEngine } from '../api/endpoint_engine';
import { judgeLocal } from '../api/fallback';
import { engineKey, type Lease, SharedEngines, type StartEngine } from '../api/shared_engines';
import { EngineError, throwIfAborted, unlessAborted } from '../errors';

export type Wish = {
  /** Missing: the endpoint alone. */
  model: string | undefined;
  options: EngineConfig & Pick<WorkerOptions, 'workerUrl'>;
  endpoint: EndpointOptions | undefined;
  leastTokensPerSecond: number | undefined;
};

export type AnswererHooks = {
  onProgress(progress: LoadProgress): void;
  /** Of the engine that is loaded or being loaded. */
  onPressure(pressure: Pressure): void;
  agree: OnFallback;
  /** The GPU is gone for good. */
  onLost(): void;
};

/** Of this page. */
const pageEngines = new SharedEngines();

type Hold = { loading: AbortController; engine: Promise<ChatEngine>; ready: ChatEngine | undefined; lease: Lease | undefined };

export class Answerer {
  #hold: Hold | undefined;

  constructor(
    private readonly hooks: AnswererHooks,
    private readonly engines = pageEngines,
  ) {}

  /** Undefined unless a reply can be asked for. */
  get engine(): ChatEngine | undefined {
    return this.#hold?.ready;
  }

  get loading(): boolean {
    return this.#hold !== undefined && this.#hold.ready === undefined;
  }

  /** What is loaded or loading already stays. @throws EngineError; AbortError once released */
  load(wish: Wish): Promise<ChatEngine> {
    this.#hold ??= this.#start(wish);
    return this.#hold.engine;
  }

  /** Ends a load, lets a shared engine go, forgets an endpoint. */
  release(): void {
    const hold = this.#hold;
    this.#hold = undefined;
    hold?.loading.abort();
    if (hold?.lease) hold.lease.release();
    else hold?.ready?.unload();
  }

  #start(wish: Wish): Hold {
    const loading = new AbortController();
    const hold: Hold = { loading, engine: Promise.resolve() as never, ready: undefined, lease: undefined };
    hold.engine = this.#open(wish, hold).then(
      (engine) => {
        if (this.#hold === hold) hold.ready = engine;
        else if (!hold.lease) void engine.unload(); // a lease is let go already, and others may use its engine
        return engine;
      },
      (error) => {
        if (this.#hold === hold) this.release();
        throw error;
      },
    );
    return hold;
  }

  async #open({ model, options, endpoint, leastTokensPerSecond }: Wish, hold: Hold): Promise<ChatEngine> {
    const { signal } = hold.loading;
    const { agree } = this.hooks;
    if (model === undefined) {
      if (!endpoint) throw new EngineError('invalid-request', "Set the attribute 'model', 'endpoint' or both.");
      return createEndpointEngine(endpoint, { onFallback: agree, signal });
    }
    // Waits in any case: a load that another element began tells at once how far it is, which only the present hold hears.
    const verdict = await (endpoint && judgeLocal(model, { ...options, signal }, leastTokensPerSecond));
    throwIfAborted(signal); // before there is a lease that nobody would let go
    if (endpoint && verdict && !verdict.local) return endpointEngine(endpoint, verdict, { onFallback: agree, signal });
    const start: StartEngine = (onProgress, stopped, onPressure) =>
      createEngine(model, { ...options, signal: stopped, onProgress, onPressure });
    hold.lease = this.engines.acquire(
      engineKey(model, options),
      start,
      (progress) => this.#hold === hold && this.hooks.onProgress(progress),
      (pressure) => this.#hold === hold && this.hooks.onPressure(pressure),
    );
    const engine = await unlessAborted(hold.lease.engine, signal);
    void engine.lost.then(() => this.#hold === hold && this.hooks.onLost());
    return engine;
  }
}

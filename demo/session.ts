/** One engine at a time, and what the page must know about it: loading, ready, failed, cancelled. */
import { createEngine, type DownloadControl, type Engine, type EngineConfig, type LoadProgress, type Pressure } from '../src/api';
import { type ModelChoice, modelRefOf } from './model_choice';

export type SessionState =
  | { kind: 'loading'; choice: ModelChoice; progress: LoadProgress | undefined; download: DownloadControl | undefined }
  /** `config`: what the engine was asked for. */
  | { kind: 'ready'; choice: ModelChoice; engine: Engine; config: EngineConfig }
  | { kind: 'cancelled'; choice: ModelChoice }
  | { kind: 'failed'; choice: ModelChoice; error: unknown };

export class ModelSession {
  #state: SessionState = { kind: 'cancelled', choice: { kind: 'bundled' } };
  #cancel = new AbortController();
  #engine: Engine | undefined;

  constructor(
    private readonly onChange: (state: SessionState) => void,
    private readonly onPressure: (pressure: Pressure) => void,
  ) {}

  get state(): SessionState {
    return this.#state;
  }

  /** Undefined unless a reply can be asked for. */
  get engine(): Engine | undefined {
    return this.#state.kind === 'ready' ? this.#state.engine : undefined;
  }

  cancel(): void {
    this.#cancel.abort();
  }

  /** False where nothing is being downloaded. */
  setPaused(paused: boolean): boolean {
    const download = this.#state.kind === 'loading' ? this.#state.download : undefined;
    if (paused) download?.pause();
    else download?.resume();
    return download !== undefined;
  }

  /** Loads in place of whatever is loaded or loading now. Never rejects: failures become the state. */
  async load(choice: ModelChoice, config: EngineConfig): Promise<void> {
    this.#cancel.abort();
    this.#cancel = new AbortController();
    const { signal } = this.#cancel;
    this.#set({ kind: 'loading', choice, progress: undefined, download: undefined });
    try {
      await this.#unload(); // first, so that two models never share the memory
      const engine = await this.#create(choice, config, signal);
      if (this.#isCurrent(signal)) this.#adopt(choice, config, engine);
      else await engine.unload();
    } catch (error) {
      if (this.#isCurrent(signal)) this.#set(isAbort(error) ? { kind: 'cancelled', choice } : { kind: 'failed', choice, error });
    }
  }

  /** Without a model until the next one is loaded. */
  async end(): Promise<void> {
    this.#cancel.abort();
    this.#cancel = new AbortController();
    this.#set({ kind: 'cancelled', choice: this.#state.choice });
    await this.#unload();
  }

  /** The device of `engine` is gone: a failure, unless another model has taken its place already. */
  fail(engine: Engine, error: unknown): void {
    if (this.engine === engine) this.#set({ kind: 'failed', choice: this.#state.choice, error });
  }

  #create(choice: ModelChoice, config: EngineConfig, signal: AbortSignal): Promise<Engine> {
    const onProgress = (progress: LoadProgress, download: DownloadControl) => {
      if (this.#isCurrent(signal) && this.#state.kind === 'loading') this.#set({ kind: 'loading', choice, progress, download });
    };
    const onPressure = (pressure: Pressure) => {
      if (this.#isCurrent(signal)) this.onPressure(pressure);
    };
    const model = modelRefOf(choice, document.baseURI);
    return createEngine(model, { ...config, ...accessOf(choice), signal, onProgress, onPressure });
  }

  #adopt(choice: ModelChoice, config: EngineConfig, engine: Engine): void {
    this.#engine = engine;
    this.#set({ kind: 'ready', choice, engine, config });
  }

  async #unload(): Promise<void> {
    const engine = this.#engine;
    this.#engine = undefined;
    await engine?.unload();
  }

  #isCurrent(signal: AbortSignal): boolean {
    return this.#cancel.signal === signal;
  }

  #set(state: SessionState): void {
    this.#state = state;
    this.onChange(state);
  }
}

/** What else than the settings it takes to reach a model. */
export function accessOf(choice: ModelChoice): Pick<EngineConfig, 'token'> {
  return choice.kind === 'hub' && choice.token ? { token: choice.token } : {};
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError';
}

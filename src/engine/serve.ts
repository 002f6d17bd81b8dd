/** The worker's side of the protocol: one engine, requests by id, errors as plain data. */
import { proxy, type Remote, transfer } from 'comlink';
import { EngineError, throwIfAborted, toWire, unlessAborted, type WireError } from '../errors';
import { type Gpu, openGpu } from '../gpu/device';
import type {
  EngineConfig,
  EngineInfo,
  EngineWorkerApi,
  GenerateEvent,
  GenerateRequest,
  LoadProgress,
  ModelRef,
  Pressure,
  TextWorkers,
} from '../protocol/engine';
import { openSessionStore, type SessionStore } from '../storage/sessions/session_store';
import { openModelStore } from '../storage/store/store';
import { type ModelSource, openModelSource } from '../stream/model_source';
import { createTextHost, type TextHost, type TextWorkerHandle } from '../text/text_host';
import { defaultBudget } from './default_budget';
import { planOf } from './engine_core';
import { ProgressMeter } from './progress';
import { RecoveringEngine } from './recovery';
import type { SessionFacts } from './sessions';
import type { ChoiceStore } from './tune';

type Loaded = { engine: RecoveringEngine; text: TextHost; model: ModelSource };

/** `choices`: where measurements of kernels are kept; see SessionLoading. `gpuLoop`: see SessionOptions. */
export type EngineWorkerParts = { choices?: ChoiceStore; gpuLoop?: boolean };

export function createEngineWorker(parts: EngineWorkerParts = {}): EngineWorkerApi {
  return new EngineWorker(parts);
}

/** A text worker that the page starts: what is said before it listens waits in the port. */
function pageTextWorkers(page: Remote<TextWorkers>): () => TextWorkerHandle {
  let count = 0;
  return () => {
    const id = count++;
    const { port1, port2 } = new MessageChannel();
    let report: (message: string) => void = () => {};
    const started = page.start(
      id,
      transfer(port2, [port2]),
      proxy((message: string) => report(message)),
    );
    started.catch((error: Error) => report(error.message));
    return {
      port: port1,
      terminate: () => {
        port1.close();
        page.end(id).catch(() => {}); // the page may be gone
      },
      onFailure: (listener) => {
        report = (message) => listener({ kind: 'other', message });
      },
    };
  };
}

/** What loads a stored model again: its label, with the revision that was asked for unless that is the usual one. */
function askedFor(key: string, label: string): string {
  const at = key.lastIndexOf(`${label}@`);
  const revision = at < 0 ? 'main' : key.slice(at + label.length + 1);
  return revision === 'main' ? label : `${label}@${revision}`;
}

class EngineWorker implements EngineWorkerApi {
  readonly #own: EngineWorkerParts;
  readonly #requests = new Map<number, AbortController>();
  #resolveLost: (info: { reason: string; message: string }) => void = () => {};
  readonly #lost = new Promise<{ reason: string; message: string }>((resolve) => {
    this.#resolveLost = resolve;
  });
  #loading: AbortController | undefined;
  #loaded: Loaded | undefined;
  /** Whose download `pauseDownload` means: the model that is being loaded or stored, or is loaded. */
  #model: ModelSource | undefined;
  #onPressure: (pressure: Pressure) => unknown = () => {};
  /** Until the page has heard of the last pressure: its answer comes through another port than a request's end, which is to come behind. */
  #told: Promise<unknown> = Promise.resolve();

  constructor(own: EngineWorkerParts) {
    this.#own = own;
  }

  async load(
    ref: ModelRef,
    asked: EngineConfig,
    onProgress: (progress: LoadProgress) => void,
    textWorkers: TextWorkers,
    onPressure?: (pressure: Pressure) => void,
  ) {
    this.#loading = new AbortController();
    this.#onPressure = onPressure ?? (() => {});
    const { signal } = this.#loading;
    const release: (() => void | Promise<void>)[] = [];
    try {
      const meter = new ProgressMeter(onProgress);
      meter.manifest(typeof ref === 'string' ? ref : 'the model');
      const open = () => openGpu(navigator.gpu, { disable: asked.disable ?? [] });
      let first: Gpu | undefined = await open(); // before the network: without one nothing else matters
      const config = { ...asked, gpuBudget: asked.gpuBudget ?? defaultBudget(first) };
      release.push(() => first?.device.destroy());
      throwIfAborted(signal);
      const model = await openModelSource(ref, { ...config, signal, onDownload: (progress) => meter.download(progress) });
      this.#model = model;
      release.push(() => model.close());
      const spawn = pageTextWorkers(textWorkers as unknown as Remote<TextWorkers>); // what comlink makes of the page's object
      const text = createTextHost({
        spawn,
        ...(config.textTimeoutMs ? { timeoutMs: config.textTimeoutMs } : {}),
        ...(config.loadTimeoutMs ? { loadTimeoutMs: config.loadTimeoutMs } : {}),
      });
      release.push(() => text.dispose());
      const openNext = async () => {
        const gpu = first ?? (await open());
        first = undefined;
        return gpu;
      };
      const onPressure = (pressure: Pressure) => this.#tell(pressure);
      const parts = { openGpu: openNext, model, text, onPressure, ...this.#own };
      const engine = await RecoveringEngine.load(parts, config, { signal, meter });
      void engine.lost.then(async (info) => {
        await this.#told;
        this.#resolveLost(info);
      });
      this.#loaded = { engine, text, model };
      return { info: engine.info() };
    } catch (error) {
      for (const undo of release.reverse()) await undo();
      return { error: toWire(error) };
    } finally {
      this.#loading = undefined;
    }
  }

  async plan(ref: ModelRef, asked: EngineConfig) {
    const release: (() => void | Promise<void>)[] = [];
    try {
      const gpu = await openGpu(navigator.gpu, { disable: asked.disable ?? [] });
      release.push(() => gpu.device.destroy());
      const config = { ...asked, gpuBudget: asked.gpuBudget ?? defaultBudget(gpu) };
      const model = await openModelSource(ref, { ...config, text: false, peek: true });
      release.push(() => model.close());
      return { plan: await planOf(gpu, model, config) };
    } catch (error) {
      return { error: toWire(error) };
    } finally {
      for (const undo of release.reverse()) await undo();
    }
  }

  async download(ref: ModelRef, config: EngineConfig, onProgress: (progress: LoadProgress) => void) {
    this.#loading = new AbortController();
    const { signal } = this.#loading;
    let model: ModelSource | undefined;
    try {
      const meter = new ProgressMeter(onProgress);
      meter.manifest(typeof ref === 'string' ? ref : 'the model');
      model = await openModelSource(ref, { ...config, signal, onDownload: (progress) => meter.download(progress) });
      this.#model = model;
      if (model.home !== 'opfs') throw new EngineError('storage', model.why ?? 'Files on this machine need no download.');
      await unlessAborted(model.download?.done ?? Promise.resolve(), signal);
      meter.ready();
      return { done: true as const };
    } catch (error) {
      return { error: toWire(error) };
    } finally {
      this.#loading = undefined;
      await model?.close();
    }
  }

  pauseDownload(): void {
    this.#model?.download?.pause();
  }

  resumeDownload(): void {
    this.#model?.download?.resume();
  }

  async listModels() {
    const store = await openModelStore();
    try {
      const stored = (await store?.list()) ?? [];
      return { models: stored.map(({ key, ...model }) => ({ ...model, model: askedFor(key, model.model) })) };
    } catch (error) {
      return { error: toWire(error) };
    } finally {
      await store?.close();
    }
  }

  async deleteModel(id: string) {
    const store = await openModelStore();
    try {
      if (!store) throw new EngineError('storage', 'This browser keeps no files for this page, so there is nothing to delete.');
      await store.delete(id);
      return { done: true as const };
    } catch (error) {
      return { error: toWire(error) };
    } finally {
      await store?.close();
    }
  }

  releaseFiles(): void {
    void this.#model?.close();
  }

  cancelLoad(): void {
    this.#loading?.abort();
  }

  async generate(requestId: number, request: GenerateRequest, onEvent: (event: GenerateEvent) => void): Promise<void> {
    const controller = new AbortController();
    this.#requests.set(requestId, controller);
    try {
      if (!this.#loaded) throw new EngineError('unloaded', 'The engine was unloaded. Create a new one.');
      for await (const event of this.#loaded.engine.generate(request, controller.signal)) onEvent(event);
    } catch (error) {
      this.#reportPressure(error);
      await this.#told;
      onEvent({ type: 'error', error: toWire(error) });
    } finally {
      this.#requests.delete(requestId);
    }
  }

  /** What took memory or a reading away during a request: the page may load again with less. */
  #reportPressure(error: unknown): void {
    if (!(error instanceof EngineError) || !this.#loaded) return;
    const reasons = { budget: 'out-of-memory', storage: 'storage' } as const; // the engine tells of a lost device itself
    const reason = reasons[error.code as keyof typeof reasons];
    if (!reason) return;
    const { gpu, smallestBudgetBytes } = this.#loaded.engine.plan;
    const less = Math.max(smallestBudgetBytes, Math.floor(gpu.total * 0.75));
    const suggestedBudgetBytes = reason !== 'storage' && less < gpu.total ? less : undefined;
    this.#tell({ reason, message: error.message, suggestedBudgetBytes });
  }

  #tell(pressure: Pressure): void {
    this.#told = Promise.resolve(this.#onPressure(pressure)).catch(() => {}); // the page may be gone
  }

  cancel(requestId: number): void {
    this.#requests.get(requestId)?.abort();
  }

  interrupt(): void {
    this.#loaded?.engine.interrupt();
  }

  async tokenize(text: string) {
    try {
      if (!this.#loaded) throw new EngineError('unloaded', 'The engine was unloaded. Create a new one.');
      return { ids: await this.#loaded.engine.tokenize(text) };
    } catch (error) {
      return { error: toWire(error) };
    }
  }

  async measure() {
    try {
      if (!this.#loaded) throw new EngineError('unloaded', 'The engine was unloaded. Create a new one.');
      return { costs: await this.#loaded.engine.measure() };
    } catch (error) {
      return { error: toWire(error) };
    }
  }

  saveSession(id: string) {
    return this.#withSessions(id, async (store) => ({ saved: await this.#engine().saveSession(store, id) }));
  }

  restoreSession(id: string) {
    return this.#withSessions(id, async (store) => ({ restored: await this.#engine().restoreSession(store, id) }));
  }

  listSessions() {
    return this.#withSessions('', async (store) => ({ sessions: await store.list() }));
  }

  deleteSession(id: string) {
    return this.#withSessions(id, async (store) => {
      await store.delete(id);
      return { done: true as const };
    });
  }

  /** Tabs take turns over a session. */
  async #withSessions<T>(id: string, work: (store: SessionStore<SessionFacts>) => Promise<T>): Promise<T | { error: WireError }> {
    try {
      const store = await openSessionStore<SessionFacts>();
      if (!store) throw new EngineError('storage', 'This browser keeps no files for this page, so sessions cannot be kept.');
      return await navigator.locks.request(`sluice/v1/session/${id}`, () => work(store));
    } catch (error) {
      return { error: toWire(error) };
    }
  }

  #engine(): RecoveringEngine {
    if (!this.#loaded) throw new EngineError('unloaded', 'The engine was unloaded. Create a new one.');
    return this.#loaded.engine;
  }

  info(): EngineInfo | undefined {
    return this.#loaded?.engine.info();
  }

  async unload(): Promise<void> {
    this.#loading?.abort();
    for (const controller of this.#requests.values()) controller.abort();
    const loaded = this.#loaded;
    this.#loaded = undefined;
    loaded?.engine.destroy();
    loaded?.text.dispose();
    await loaded?.model.close();
  }

  lost() {
    return this.#lost;
  }
}

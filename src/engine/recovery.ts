/**
 * An engine that outlives its device. When the device is lost it opens another one, loads the model again from where its bytes lie, and
 * requests under way go on: prompt and drawn tokens are read again, and nothing that was delivered is delivered twice. Losing the device
 * again soon halves the memory, a third loss stops: see LossPolicy.
 */
import { EngineError, isAbort, throwIfAborted, unlessAborted } from '../errors';
import type { Gpu } from '../gpu/device';
import { deviceLostError } from '../gpu/readback';
import { parseBytes } from '../plan/byte_budget';
import type {
  EngineConfig,
  EngineInfo,
  GenerateEvent,
  GenerateRequest,
  Pressure,
  RestoredSession,
  SavedSession,
} from '../protocol/engine';
import type { PlanReport, TokenCosts } from '../protocol/plan';
import type { SessionStore } from '../storage/sessions/session_store';
import type { ModelSource } from '../stream/model_source';
import type { TextHost } from '../text/text_host';
import type { TextInfo } from '../text/text_worker_api';
import { EngineCore, type LoadOptions } from './engine_core';
import { copyJournal, countShown, type Journal, newJournal } from './journal';
import { LossPolicy } from './loss_policy';
import { restoreSession, type SessionFacts, saveSession } from './sessions';
import type { ChoiceStore } from './tune';

export type RecoveryParts = {
  /** A new device; the first one is asked for here, too. */
  openGpu(): Promise<Gpu>;
  model: ModelSource;
  text: TextHost;
  onPressure?: (pressure: Pressure) => void;
  choices?: ChoiceStore | undefined;
  gpuLoop?: boolean | undefined;
  /** Milliseconds on a steady clock; tests have their own. */
  now?: () => number;
};

/** `interrupted`: it is to end, on the next device too. */
type Asked = { signal: AbortSignal; interrupted: boolean };
/** `waiting`: what rejects those that wait, once the device is lost. */
type Live = { core: EngineCore; gpu: Gpu; waiting: Set<(error: EngineError) => void> };

/** A browser whose GPU process has just died offers no adapter for a moment, ms. */
const reopenPausesMs = [50, 200, 500, 1000, 2000, 4000];
/** What waits on a lost device should fail by itself; what has not by then is left behind, ms. */
const graceMs = 2000;

export class RecoveringEngine {
  readonly #parts: RecoveryParts;
  readonly #policy = new LossPolicy();
  readonly #now: () => number;
  #config: EngineConfig;
  #live: Live | undefined;
  #rebuilding: Promise<Live> | undefined;
  #textInfo: TextInfo | undefined;
  #info: EngineInfo | undefined;
  /** The requests whose replies are still to come, in order of arrival. */
  readonly #asked = new Set<Asked>();
  #opened = false;
  #stopped = false;
  #destroyed = false;
  #resolveLost!: (info: { reason: string; message: string }) => void;
  /** Resolves once, when the device is lost and was not brought back. */
  readonly lost = new Promise<{ reason: string; message: string }>((resolve) => {
    this.#resolveLost = resolve;
  });

  private constructor(parts: RecoveryParts, config: EngineConfig) {
    this.#parts = parts;
    this.#config = config;
    this.#now = parts.now ?? (() => performance.now());
  }

  /** As EngineCore.load, on a device of its own, and on the next one where that is lost meanwhile. @throws as EngineCore.load does. */
  static async load(parts: RecoveryParts, config: EngineConfig, options: LoadOptions = {}): Promise<RecoveringEngine> {
    const engine = new RecoveringEngine(parts, config);
    await engine.#start(options).catch((error: unknown) => {
      if (!isLoss(error)) throw error;
      return engine.#rebuild(options, true);
    });
    return engine;
  }

  /** Where it was lost, what was said last. */
  info(): EngineInfo {
    if (this.#live) this.#info = this.#live.core.info();
    return this.#info!;
  }

  get plan(): PlanReport {
    return this.info().plan;
  }

  /** The model as it runs now; undefined while its device is lost. */
  get core(): EngineCore | undefined {
    return this.#live && !this.#live.gpu.loss.info ? this.#live.core : undefined;
  }

  /** As EngineCore.generate; goes on after a lost device. @throws EngineError; AbortError */
  async *generate(request: GenerateRequest, signal: AbortSignal): AsyncGenerator<GenerateEvent, void, undefined> {
    let journal = newJournal();
    const asked: Asked = { signal, interrupted: false };
    this.#asked.add(asked);
    try {
      for (;;) {
        const live = await this.#ready(signal);
        // Its own copy: an attempt that is left behind must not write into the next one's.
        const attempt = copyJournal(journal);
        attempt.interrupted = asked.interrupted;
        const { shown } = journal;
        try {
          for await (const event of this.#attempt(live, request, signal, attempt)) {
            countShown(shown, event);
            if (event.type === 'done') this.#asked.delete(asked);
            yield event;
            if (event.type === 'done') return; // what the device still has to do is nobody's to wait for
          }
          return;
        } catch (error) {
          if (!(await this.#isLost(error, live.gpu))) throw error;
          journal = { ...copyJournal(attempt), shown };
        }
      }
    } finally {
      this.#asked.delete(asked);
    }
  }

  /** As EngineCore.interrupt; a reply that waits for a device ends there. */
  interrupt(): void {
    const first = [...this.#asked].find(({ signal }) => !signal.aborted);
    if (first) first.interrupted = true;
    this.core?.interrupt();
  }

  measure(): Promise<TokenCosts> {
    return this.#alone((core) => core.session.measure());
  }

  /** Keeps the conversation that was read last. @throws as saveSession does. */
  saveSession(store: SessionStore<SessionFacts>, id: string): Promise<SavedSession> {
    return this.#alone((core) => saveSession(core, store, id));
  }

  /** @throws as restoreSession does. */
  restoreSession(store: SessionStore<SessionFacts>, id: string): Promise<RestoredSession> {
    return this.#alone((core) => restoreSession(core, store, id));
  }

  async #alone<T>(work: (core: EngineCore) => Promise<T>): Promise<T> {
    const live = await this.#ready(new AbortController().signal);
    return this.#orLost(
      live,
      live.core.alone(() => work(live.core)),
    );
  }

  tokenize(text: string): Promise<number[]> {
    if (!this.#live) throw new EngineError('unloaded', 'The engine was unloaded. Create a new one.');
    return this.#live.core.tokenize(text); // needs no device
  }

  destroy(): void {
    this.#destroyed = true;
    this.#release();
  }

  /** A model on a device that is there, as far as is known. @throws EngineError 'device-lost' after a third loss; AbortError. */
  async #ready(signal: AbortSignal): Promise<Live> {
    throwIfAborted(signal);
    if (this.#destroyed) throw new EngineError('unloaded', 'The engine was unloaded. Create a new one.');
    if (this.#live && !this.#live.gpu.loss.info) return this.#live;
    this.#rebuilding ??= this.#rebuild({}, this.#live !== undefined).finally(() => {
      this.#rebuilding = undefined;
    });
    return unlessAborted(this.#rebuilding, signal);
  }

  /** Until a model is loaded, or the device was lost too often. `lost`: it was just now, and not only missing since an earlier try. */
  async #rebuild(options: LoadOptions, lost: boolean): Promise<Live> {
    if (this.#stopped) this.#policy.forgive();
    for (let counts = lost && !this.#stopped; ; counts = true) {
      this.info();
      this.#release();
      const verdict = counts ? this.#policy.lost(this.#now()) : 'again';
      this.#stopped = verdict === 'stop';
      if (verdict === 'stop') throw this.#giveUp();
      const halved = verdict === 'less' ? this.#halve() : undefined;
      const more = halved === undefined ? {} : { gpuBudgetBytes: halved };
      this.#say(
        'started',
        `The GPU was lost. ${halved ? `Loading again with ${halved} bytes of GPU memory` : 'Loading again'}.`,
        more,
      );
      try {
        const live = await this.#start(options);
        this.#say('done', 'The GPU is back, and requests go on.', more);
        return live;
      } catch (error) {
        if (!isLoss(error)) throw error;
      }
    }
  }

  async #start({ signal, ...options }: LoadOptions): Promise<Live> {
    const gpu = await this.#openGpu(signal);
    const stop = new AbortController();
    void gpu.device.lost.then(() => stop.abort());
    const joined = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
    const { model, text, choices, gpuLoop } = this.#parts;
    const own = { ...options, signal: joined, textInfo: this.#textInfo };
    const loading = EngineCore.load({ gpu, model, text, choices, gpuLoop }, this.#config, own);
    try {
      const core = await Promise.race([loading, afterLoss(gpu)]);
      if (this.#destroyed) {
        core.destroy();
        throw new EngineError('unloaded', 'The engine was unloaded. Create a new one.');
      }
      this.#textInfo = core.textInfo;
      const live: Live = { core, gpu, waiting: new Set() };
      this.#live = live;
      void gpu.device.lost.then(() => this.#noticeLoss(gpu));
      afterLoss(gpu).catch((error: EngineError) => {
        for (const reject of live.waiting) reject(error);
      });
      return live;
    } catch (error) {
      loading.then(
        (core) => core.destroy(),
        () => {},
      );
      const lost = await this.#isLost(error, gpu, signal);
      gpu.device.destroy();
      throw lost ? deviceLostError(gpu, error) : error;
    }
  }

  async #openGpu(signal: AbortSignal | undefined): Promise<Gpu> {
    const pauses = this.#opened ? reopenPausesMs : []; // where none was ever had, none will come
    this.#opened = true;
    for (const pause of pauses) {
      try {
        return await this.#parts.openGpu();
      } catch (error) {
        if (!(error instanceof EngineError) || error.code !== 'unsupported') throw error;
        await new Promise((resolve) => setTimeout(resolve, pause));
        throwIfAborted(signal);
      }
    }
    return this.#parts.openGpu();
  }

  /** With nothing under way nobody waits, and a device that memory was taken from is better left alone until it is needed. */
  #noticeLoss(gpu: Gpu): void {
    if (this.#destroyed || this.#live?.gpu !== gpu || this.#asked.size > 0) return;
    this.#say('waiting', 'The GPU was lost. The next request brings it back.');
  }

  async *#attempt(
    live: Live,
    request: GenerateRequest,
    signal: AbortSignal,
    journal: Journal,
  ): AsyncGenerator<GenerateEvent, void, undefined> {
    const stop = new AbortController();
    const events = live.core.generate(request, AbortSignal.any([signal, stop.signal]), journal);
    try {
      for (;;) {
        const result = await this.#orLost(live, events.next());
        if (result.done) return;
        yield result.value;
      }
    } finally {
      stop.abort();
      const left = events.return();
      left.catch(() => {});
      // What hangs on a lost device is left behind.
      if (!live.gpu.loss.info) await left.catch(() => {});
    }
  }

  /** Not a race against one promise: that would grow by every event of the engine's life. */
  #orLost<T>({ waiting }: Live, pending: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const settle = <V>(act: (value: V) => void) => {
        return (value: V) => {
          waiting.delete(reject);
          act(value);
        };
      };
      waiting.add(reject);
      pending.then(settle(resolve), settle(reject));
    });
  }

  /** Whether `error` is what a lost device made of a call: some errors come a moment before the loss is told. */
  async #isLost(error: unknown, gpu: Gpu, signal?: AbortSignal): Promise<boolean> {
    if (this.#destroyed || signal?.aborted) return false;
    if (gpu.loss.info) return true;
    if (isLoss(error)) return true;
    if (isAbort(error)) return false;
    const suspicious = !(error instanceof EngineError) || ['internal', 'budget', 'non-finite'].includes(error.code);
    if (suspicious) await Promise.race([gpu.device.lost, new Promise((resolve) => setTimeout(resolve, 50))]);
    return gpu.loss.info !== undefined;
  }

  /** Half of what the engine held, or the least that the model takes. */
  #halve(): number {
    const plan = this.#info?.plan;
    const asked = this.#config.gpuBudget === undefined ? undefined : parseBytes('gpuBudget', this.#config.gpuBudget);
    const held = Math.min(asked ?? Number.POSITIVE_INFINITY, plan?.gpu.total ?? Number.POSITIVE_INFINITY);
    const half = Math.floor((Number.isFinite(held) ? held : 2 ** 30) / 2);
    const gpuBudget = Math.max(half, plan?.smallestBudgetBytes ?? 0);
    this.#config = { ...this.#config, gpuBudget };
    return gpuBudget;
  }

  #giveUp(): EngineError {
    const message =
      'The GPU was lost three times within five minutes, which mostly means that memory runs out. Choose a smaller model or a shorter context; the next request tries once more.';
    this.#say('stopped', message);
    this.#resolveLost({ reason: 'unknown', message });
    return new EngineError('device-lost', message);
  }

  #say(recovery: Pressure['recovery'] & string, message: string, more: { gpuBudgetBytes?: number } = {}): void {
    const suggestedBudgetBytes = recovery === 'stopped' ? this.#info?.plan.smallestBudgetBytes : undefined;
    this.#parts.onPressure?.({ reason: 'device-lost', message, suggestedBudgetBytes, recovery, ...more });
  }

  #release(): void {
    this.#live?.core.destroy();
    this.#live?.gpu.device.destroy();
    this.#live = undefined;
  }
}

const isLoss = (error: unknown): boolean => error instanceof EngineError && error.code === 'device-lost';

/** Rejects some time after the device was lost; never resolves. */
async function afterLoss(gpu: Gpu): Promise<never> {
  await gpu.device.lost;
  await new Promise((resolve) => setTimeout(resolve, graceMs));
  throw deviceLostError(gpu);
}

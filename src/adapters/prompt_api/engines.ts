/** One engine for all sessions of a class: loaded by the first, unloaded with the last, and loaded anew after the GPU was lost. */
import { createEngine, type Engine, type EngineOptions, type ModelRef, planModel } from '../../api';
import { SharedEngines, type StartEngine } from '../../api/shared_engines';
import { EngineError, unlessAborted } from '../../errors';
import type { Availability } from './types';

export type LanguageModelOptions = Omit<EngineOptions, 'onProgress' | 'signal'>;

/** `release`: idempotent. */
export type HeldEngine = { engine: Engine; release(): void };

/** A class has one model. */
const KEY = 'model';

export class SessionEngines {
  readonly #shared = new SharedEngines();
  readonly #start: StartEngine;

  constructor(
    private readonly model: ModelRef,
    private readonly options: LanguageModelOptions,
  ) {
    this.#start = (onProgress, signal) => createEngine(model, { ...options, onProgress, signal });
  }

  async availability(): Promise<Availability> {
    const state = this.#shared.stateOf(KEY);
    if (state) return state === 'ready' ? 'available' : 'downloading';
    try {
      const { onPressure: _, ...options } = this.options;
      const { disk } = await planModel(this.model, options);
      return disk.home === 'local' || (disk.neededBytes > 0 && disk.storedBytes >= disk.neededBytes)
        ? 'available'
        : 'downloadable';
    } catch (error) {
      if (error instanceof EngineError) return 'unavailable';
      throw error;
    }
  }

  /** @throws EngineError; AbortError */
  async acquire(monitor: EventTarget, signal: AbortSignal | undefined): Promise<HeldEngine> {
    let held = false;
    const lease = this.#shared.acquire(KEY, this.#start, ({ progress }) => {
      if (!held && progress < 1) report(monitor, progress);
    });
    try {
      const engine = await unlessAborted(lease.engine, signal);
      held = true; // with `answerWhileLoading` there is more progress to come
      report(monitor, 1);
      return { engine, release: lease.release };
    } catch (error) {
      lease.release();
      throw error;
    }
  }
}

/** `loaded` of 1, as the API has it. */
function report(monitor: EventTarget & { ondownloadprogress?: ((event: Event) => void) | null }, loaded: number): void {
  const event = new ProgressEvent('downloadprogress', { lengthComputable: true, loaded, total: 1 });
  monitor.ondownloadprogress?.(event);
  monitor.dispatchEvent(event);
}

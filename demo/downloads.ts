/** Downloads that the storage panel started. They go on while the panel is closed. */
import { downloadModel, type LoadProgress, type ModelDownload } from '../src/api';
import { isAbort } from './session';
import { TransferRate } from './transfer_rate';

export type DownloadState = {
  paused: boolean;
  progress: LoadProgress | undefined;
  rate: TransferRate;
};

type Running = DownloadState & { download: ModelDownload; stop: AbortController };

export class Downloads {
  readonly #running = new Map<string, Running>();
  readonly #failed = new Map<string, unknown>();

  /** `onProgress` while one goes on; `onEnd` when one is complete or has failed. */
  constructor(
    private readonly onProgress: (id: string) => void,
    private readonly onEnd: (id: string, error: unknown) => void,
  ) {}

  /** Undefined where nothing is under way. */
  state(id: string): DownloadState | undefined {
    return this.#running.get(id);
  }

  /** Why the last one ended before it was complete. */
  failure(id: string): unknown {
    return this.#failed.get(id);
  }

  start(id: string, model: string): void {
    if (this.#running.has(id)) return;
    this.#failed.delete(id);
    const stop = new AbortController();
    const onProgress = (progress: LoadProgress) => this.#report(id, progress);
    const download = downloadModel(model, { signal: stop.signal, onProgress });
    this.#running.set(id, { download, stop, paused: false, progress: undefined, rate: new TransferRate() });
    download.done.then(
      () => this.#end(id, undefined),
      (error: unknown) => this.#end(id, error),
    );
  }

  /** Ends it; what has arrived stays. */
  cancel(id: string): void {
    this.#running.get(id)?.stop.abort();
  }

  setPaused(id: string, paused: boolean): void {
    const running = this.#running.get(id);
    if (!running) return;
    running.paused = paused;
    running.rate.reset();
    if (paused) running.download.pause();
    else running.download.resume();
    this.onProgress(id);
  }

  #report(id: string, progress: LoadProgress): void {
    const running = this.#running.get(id);
    if (!running) return;
    running.progress = progress;
    if (!running.paused) running.rate.add(performance.now(), progress.loaded);
    this.onProgress(id);
  }

  #end(id: string, error: unknown): void {
    this.#running.delete(id);
    if (error !== undefined && !isAbort(error)) this.#failed.set(id, error);
    this.onEnd(id, error);
  }
}

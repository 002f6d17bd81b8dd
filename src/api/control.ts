/** How a caller stops, pauses and resumes what a worker does. */
import type { Remote } from 'comlink';
import { abortError } from '../errors';
import type { EngineWorkerApi } from '../protocol/engine';
import type { DownloadControl } from './progress';

/** Carries pause and resume to a worker, also when they are pressed before there is one. */
export class ControlRelay implements DownloadControl {
  #remote: Remote<EngineWorkerApi> | undefined;
  #paused = false;

  connect(remote: Remote<EngineWorkerApi> | undefined): void {
    this.#remote = remote;
  }

  /** The worker has a download now; it could not pause one before. */
  downloadBegan(): void {
    if (this.#paused) this.pause();
  }

  pause(): void {
    this.#paused = true;
    this.#remote?.pauseDownload().catch(() => {}); // the worker may be gone: then nothing is under way
  }

  resume(): void {
    this.#paused = false;
    this.#remote?.resumeDownload().catch(() => {});
  }
}

/** Rejects with AbortError when `signal` aborts, unless it is `over` by then. */
export function whenAborted(signal: AbortSignal | undefined, over: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal?.addEventListener('abort', () => reject(abortError()), { signal: over });
  });
}

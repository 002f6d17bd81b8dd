import type { LoadProgress } from '../protocol/engine';
import type { ControlRelay } from './control';

/** Pauses and resumes the download that a progress belongs to; neither does anything when there is none. */
export type DownloadControl = { pause(): void; resume(): void };
export type OnProgress = (progress: LoadProgress, download: DownloadControl) => void;

export type ReportProgress = (progress: LoadProgress) => void;

/** Downloads from here on would be lost first when a disk fills up, so the browser is asked to keep them. */
const WORTH_KEEPING_BYTES = 256e6;

/**
 * Progress as the caller wants it: never after `ended` or 'ready', and a callback that throws is reported once, not per event.
 * Asks the browser to keep what is stored as soon as a large download begins: only a page can, and only then is it worth a prompt.
 */
export function progressReporter(onProgress: OnProgress | undefined, control: ControlRelay, ended: AbortSignal): ReportProgress {
  let over = false;
  let downloading = false;
  return (progress) => {
    if (over || ended.aborted) return;
    over = progress.phase === 'ready';
    if (!downloading && progress.phase === 'download') {
      downloading = true;
      control.downloadBegan();
      if (progress.total >= WORTH_KEEPING_BYTES) void keepStorage();
    }
    try {
      onProgress?.(progress, control);
    } catch (error) {
      over = true;
      reportError(error);
    }
  };
}

/** The worker's own 'ready' may come later than its answer, and nothing may come after it. */
export function reportReady(report: ReportProgress, bytes: number): void {
  report({ phase: 'ready', loaded: bytes, total: bytes, progress: 1, text: 'Ready' });
}

/** False where the browser refuses or cannot; that is no error, since it may still keep everything for long. */
async function keepStorage(): Promise<boolean> {
  try {
    return (await navigator.storage.persisted()) || (await navigator.storage.persist());
  } catch {
    return false; // no secure context, or storage is switched off
  }
}

import type { LoadPhase, LoadProgress } from '../protocol/engine';
import type { DownloadProgress } from '../storage/store/types';
import type { SessionProgress } from './model_session';

/**
 * One number from 0 to 1 over the whole load that never falls: finding the model, downloading it, its weights, its pipelines.
 * Weights go to the GPU as they arrive, so a download and they share the same stretch.
 */
export class ProgressMeter {
  readonly #report: (progress: LoadProgress) => void;
  #progress = 0;
  #loaded = 0;
  #total = 0;
  #said = '';
  #downloading = false;
  #ended = false;

  constructor(report: (progress: LoadProgress) => void) {
    this.#report = report;
  }

  manifest(model: string): void {
    this.#emit('manifest', 0, `Opening ${model}`);
  }

  /** Also after the load, where requests are taken before all is there. */
  download({ state, storedBytes, totalBytes, warning }: DownloadProgress): void {
    this.#downloading = state !== 'complete';
    if (this.#ended) return;
    const share = totalBytes > 0 ? storedBytes / totalBytes : 1;
    this.#loaded = storedBytes;
    this.#total = totalBytes;
    const doing = {
      checking: 'Checking what is stored',
      downloading: 'Downloading',
      paused: 'Paused',
      following: 'Another tab is downloading',
      verifying: 'Comparing with the hub',
      complete: 'Stored',
      failed: 'Download failed',
    }[state];
    this.#emit(
      'download',
      0.02 + 0.88 * Math.min(1, share),
      `${doing}: ${Math.floor(share * 100)} %${warning ? `. ${warning}` : ''}`,
    );
  }

  session(progress: SessionProgress): void {
    if (progress.phase === 'pipelines') {
      const more = this.#downloading || this.#loaded < this.#total;
      this.#emit('pipelines', more ? 0 : 0.92, 'Compiling for this GPU');
      return;
    }
    if (this.#downloading) return;
    this.#loaded = progress.loaded;
    this.#total = progress.total;
    const share = progress.total > 0 ? progress.loaded / progress.total : 1;
    this.#emit('weights', 0.02 + 0.88 * Math.min(1, share), `Loading weights: ${Math.floor(share * 100)} %`);
  }

  ready(): void {
    this.#ended = true;
    this.#emit('ready', 1, 'Ready');
  }

  #emit(phase: LoadPhase, progress: number, text: string): void {
    if (text === this.#said && phase !== 'download') return; // a message per piece would flood the page
    this.#said = text;
    this.#progress = Math.max(this.#progress, progress);
    this.#report({ phase, loaded: this.#loaded, total: this.#total, progress: this.#progress, text });
  }
}

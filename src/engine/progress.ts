import type { LoadPhase, LoadProgress } from '../protocol/engine';
import type { SessionProgress } from './model_session';

/** One number from 0 to 1 over the whole load that never falls: finding the model, its weights (most of it), its pipelines. */
export class ProgressMeter {
  readonly #report: (progress: LoadProgress) => void;
  #progress = 0;
  #loaded = 0;
  #total = 0;
  #percent = -1;

  constructor(report: (progress: LoadProgress) => void) {
    this.#report = report;
  }

  manifest(model: string): void {
    this.#emit('manifest', 0, `Opening ${model}`);
  }

  session(progress: SessionProgress): void {
    if (progress.phase === 'pipelines') {
      this.#emit('pipelines', 0.92, 'Compiling for this GPU');
      return;
    }
    this.#loaded = progress.loaded;
    this.#total = progress.total;
    const share = progress.total > 0 ? progress.loaded / progress.total : 1;
    const percent = Math.floor(share * 100);
    if (percent === this.#percent) return; // a message per piece would flood the page
    this.#percent = percent;
    this.#emit('weights', 0.02 + 0.88 * Math.min(1, share), `Loading weights: ${percent} %`);
  }

  ready(): void {
    this.#emit('ready', 1, 'Ready');
  }

  #emit(phase: LoadPhase, progress: number, text: string): void {
    this.#progress = Math.max(this.#progress, progress);
    this.#report({ phase, loaded: this.#loaded, total: this.#total, progress: this.#progress, text });
  }
}

/**
 * The card above the message box: loading, cancelled, or an error with its way out. Its two buttons stay the same elements
 * through these states, so the focus is not lost when a load ends in an error.
 */
import type { LoadProgress } from '../src/api';
import { hide, onPress, required } from './dom';
import { formatProgressBytes, isolated } from './format';
import { ACTION_LABELS, type Action, type Labels, type Problem } from './problems';
import { TransferRate } from './transfer_rate';

export type NoticeAction = Action | 'cancel-load' | 'pause-download' | 'resume-download';

const LOAD_LABELS = { 'cancel-load': 'Cancel', 'pause-download': 'Pause', 'resume-download': 'Resume' };

/** A download that is over before this is not worth a button. */
const PAUSABLE_AFTER_MS = 1500;

export class Notice {
  readonly #card = required('notice', HTMLElement);
  readonly #title = required('notice-title', HTMLElement);
  readonly #progress = required('load-progress', HTMLElement);
  readonly #bar = required('load-bar', HTMLProgressElement);
  readonly #stage = required('load-text', HTMLElement);
  readonly #bytes = required('load-bytes', HTMLElement);
  readonly #error = required('notice-error', HTMLElement);
  readonly #buttons = [required('notice-primary', HTMLButtonElement), required('notice-secondary', HTMLButtonElement)] as const;
  #actions: (NoticeAction | undefined)[] = [];
  #frame = 0;
  #latest: LoadProgress | undefined;
  readonly #rate = new TransferRate();
  #downloadingSinceMs: number | undefined;
  #paused = false;

  constructor(
    private readonly heir: HTMLElement,
    private readonly onAction: (action: NoticeAction) => void,
  ) {
    this.#buttons.forEach((button, index) => {
      onPress(button, () => this.#press(index));
    });
  }

  showLoading(model: string): void {
    this.#show('loading', `Loading ${isolated(model)}`, [undefined, 'cancel-load']);
    this.#progress.hidden = false;
    this.#bar.value = 0;
    this.#stage.textContent = 'Starting';
    this.#bytes.textContent = '';
    this.#rate.reset();
    this.#downloadingSinceMs = undefined;
    this.#setPaused(false);
  }

  /** Says so, and offers the opposite. */
  showPaused(paused: boolean): void {
    this.#setPaused(paused);
    this.#rate.reset();
    if (paused) this.#stage.textContent = 'The download is paused';
    this.#offer(0, paused ? 'resume-download' : 'pause-download');
  }

  /** Drawn once per frame: a fast load reports far more often. */
  updateLoading(progress: LoadProgress): void {
    this.#latest = progress;
    this.#follow(progress);
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.#drawProgress());
  }

  showCancelled(model: string): void {
    this.#show('cancelled', `Loading ${isolated(model)} was cancelled`, ['retry', 'picker']);
  }

  showProblem(problem: Problem): void {
    this.#showWords('problem', problem);
  }

  /** Something to know before going on; nothing has failed. */
  showCaution(caution: Problem): void {
    this.#showWords('caution', caution);
  }

  #showWords(kind: string, { title, text, actions, labels }: Problem): void {
    this.#show(kind, title, actions, labels);
    this.#error.hidden = false;
    this.#error.textContent = text;
  }

  dismiss(): void {
    hide(this.#card, this.heir);
  }

  #show(kind: string, title: string, actions: (NoticeAction | undefined)[], labels: Labels = {}): void {
    this.#card.dataset.kind = kind;
    this.#card.hidden = false;
    this.#title.textContent = title;
    this.#progress.hidden = true;
    this.#error.hidden = true;
    this.#actions = actions;
    this.#buttons.forEach((button, index) => {
      this.#label(button, actions[index], labels);
    });
  }

  #label(button: HTMLButtonElement, action: NoticeAction | undefined, labels: Labels = {}): void {
    const known: Partial<Record<NoticeAction, string>> = { ...ACTION_LABELS, ...LOAD_LABELS, ...labels };
    if (action) button.textContent = known[action]!;
    if (action) button.hidden = false;
    else hide(button, this.heir);
  }

  #offer(index: number, action: NoticeAction | undefined): void {
    if (this.#actions[index] === action) return;
    this.#actions = this.#actions.with(index, action);
    this.#label(this.#buttons[index]!, action);
  }

  #setPaused(paused: boolean): void {
    this.#paused = paused;
    this.#progress.dataset.paused = String(paused);
  }

  /** Measures, and offers to pause what takes long enough. */
  #follow({ phase, loaded }: LoadProgress): void {
    if (phase === 'pipelines') return; // they compile while bytes arrive
    if (phase !== 'download') {
      this.#downloadingSinceMs = undefined;
      this.#rate.reset();
      this.#offer(0, undefined);
      return;
    }
    const now = performance.now();
    this.#downloadingSinceMs ??= now;
    if (!this.#paused) this.#rate.add(now, loaded);
    if (now - this.#downloadingSinceMs >= PAUSABLE_AFTER_MS) this.#offer(0, this.#paused ? 'resume-download' : 'pause-download');
  }

  #press(index: number): void {
    const action = this.#actions[index];
    if (action) this.onAction(action);
  }

  #drawProgress(): void {
    this.#frame = 0;
    const progress = this.#latest;
    if (!progress || this.#progress.hidden) return;
    this.#bar.value = progress.progress;
    const rate = progress.phase === 'download' ? this.#rate.describe(progress.total) : '';
    if (!this.#paused) this.#stage.textContent = [progress.text, rate].filter(Boolean).join(' · ');
    this.#bytes.textContent = formatProgressBytes(progress);
  }
}

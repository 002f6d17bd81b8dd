/**
 * The card above the message box: loading, cancelled, or an error with its way out. Its two buttons stay the same elements
 * through these states, so the focus is not lost when a load ends in an error.
 */
import type { LoadProgress } from '../src/api';
import { hide, onPress, required } from './dom';
import { formatProgressBytes } from './format';
import { ACTION_LABELS, type Action, type Problem } from './problems';

export type NoticeAction = Action | 'cancel-load';

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

  constructor(
    private readonly heir: HTMLElement,
    private readonly onAction: (action: NoticeAction) => void,
  ) {
    this.#buttons.forEach((button, index) => {
      onPress(button, () => this.#press(index));
    });
  }

  showLoading(model: string): void {
    this.#show('loading', `Loading ${model}`, [undefined, 'cancel-load']);
    this.#progress.hidden = false;
    this.#bar.value = 0;
    this.#stage.textContent = 'Starting';
    this.#bytes.textContent = '';
  }

  /** Drawn once per frame: a fast load reports far more often. */
  updateLoading(progress: LoadProgress): void {
    this.#latest = progress;
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.#drawProgress());
  }

  showCancelled(model: string): void {
    this.#show('cancelled', `Loading ${model} was cancelled`, ['retry', 'picker']);
  }

  showProblem({ title, text, actions }: Problem): void {
    this.#show('problem', title, actions);
    this.#error.hidden = false;
    this.#error.textContent = text;
  }

  dismiss(): void {
    hide(this.#card, this.heir);
  }

  #show(kind: string, title: string, actions: (NoticeAction | undefined)[]): void {
    this.#card.dataset.kind = kind;
    this.#card.hidden = false;
    this.#title.textContent = title;
    this.#progress.hidden = true;
    this.#error.hidden = true;
    this.#actions = actions;
    this.#buttons.forEach((button, index) => {
      this.#label(button, actions[index]);
    });
  }

  #label(button: HTMLButtonElement, action: NoticeAction | undefined): void {
    if (action) button.textContent = action === 'cancel-load' ? 'Cancel' : ACTION_LABELS[action];
    if (action) button.hidden = false;
    else hide(button, this.heir);
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
    this.#stage.textContent = progress.text;
    this.#bytes.textContent = formatProgressBytes(progress);
  }
}

/** What the component looks like at any moment. Knows no engine: it is told, and it tells what was pressed. */
import type { FallbackRequest } from '../api';
import { Composer, type ComposerHandlers } from './composer';
import { button, hide, make, setUnavailable } from './dom';
import type { RenderReply } from './reply_text';
// As it is written: a bundler that rewrites light-dark() for older browsers would look for a color-scheme that only the page has.
import css from './styles.css?raw';
import { Transcript } from './transcript';

export type Action = 'load' | 'start' | 'cancel' | 'retry' | 'unload';
export type ViewHandlers = ComposerHandlers & {
  onAction(action: Action): void;
  onClear(): void;
  onEdit(): void;
};

/** `progress`: 0 to 1; undefined where nothing is under way. */
export type Status = { action: Action; text: string; progress?: number };

const LABELS: Record<Action, string> = {
  load: 'Load the model',
  start: 'Start',
  cancel: 'Cancel',
  retry: 'Try again',
  unload: 'Unload',
};
const PROGRESS_STEP = 0.1;

let sheet: CSSStyleSheet | undefined;

export class ChatView {
  readonly composer: Composer;
  readonly transcript: Transcript;
  /** A plain question in front of an action, in the place of a dialog: nothing to lose oneself in. */
  readonly #question = make('div', { part: 'question', role: 'group', hidden: true });
  readonly #notice = make('p', { part: 'notice', hidden: true });
  readonly #problem = make('p', { part: 'problem', dir: 'auto', hidden: true });
  readonly #bar = make('progress', { part: 'progress', max: '1', 'aria-label': 'Loading the model' });
  readonly #status = make('p', { part: 'status' });
  readonly #live = make('p', { class: 'unseen', role: 'status' });
  readonly #action: HTMLButtonElement;
  readonly #clear: HTMLButtonElement;
  #pressed: Action = 'load';
  #announced = 0;
  /** A no to the question that is open. */
  #refuse: () => void = () => {};

  constructor(root: ShadowRoot, handlers: ViewHandlers, render: () => RenderReply) {
    this.composer = new Composer(handlers);
    this.transcript = new Transcript(render, handlers.onEdit);
    this.#action = button('action', LABELS.load, () => handlers.onAction(this.#pressed));
    this.#clear = button('clear', 'Delete', () => this.#askToClear(handlers.onClear));
    const title = make('div', { part: 'title' }, make('slot', { name: 'title' }, 'Chat'));
    const frame = make(
      'div',
      { part: 'frame', role: 'group', 'aria-label': 'Chat' },
      make('div', { part: 'header' }, title, this.#clear),
      this.transcript.root,
      make('div', { part: 'messages-below' }, this.#notice, this.#problem, this.#question),
      make('div', { part: 'bar' }, this.#action, make('div', { part: 'state' }, this.#status, this.#bar)),
      this.composer.root,
      make('slot', { name: 'footer' }),
      this.#live,
    );
    root.adoptedStyleSheets = [sharedSheet()];
    root.append(frame);
    this.setEmpty(true);
  }

  showStatus({ action, text, progress }: Status): void {
    if (this.#pressed !== action) this.#action.textContent = LABELS[action];
    this.#pressed = action;
    this.#action.toggleAttribute('data-first', action === 'load' || action === 'start');
    this.#status.textContent = text;
    this.#bar.classList.toggle('idle', progress === undefined); // keeps its room, so that nothing jumps
    this.#bar.setAttribute('aria-hidden', String(progress === undefined));
    this.#bar.value = progress ?? 0;
    if (progress !== undefined) this.#announceProgress(progress);
  }

  /** Politely: screen readers say it when they have said what they are at. */
  announce(text: string): void {
    // The same text twice is no change, and so would not be read.
    this.#live.textContent = this.#live.textContent === text ? `${text}\u00a0` : text;
  }

  showNotice(text: string | undefined): void {
    this.#notice.textContent = text ?? '';
    this.#notice.hidden = text === undefined;
  }

  showProblem(text: string | undefined): void {
    this.#problem.textContent = text ?? '';
    this.#problem.hidden = text === undefined;
    if (text !== undefined) this.announce(text);
  }

  setEmpty(empty: boolean): void {
    setUnavailable(this.#clear, empty);
  }

  setBusy(busy: boolean): void {
    this.composer.setBusy(busy);
    this.transcript.setBusy(busy);
  }

  /** Resolves with what was pressed; false as soon as `signal` aborts. */
  askToSend({ host, message }: FallbackRequest, startsAnew: boolean, signal: AbortSignal): Promise<boolean> {
    const anew = startsAnew ? ' A new conversation begins there: what was said so far is not sent.' : '';
    const text = `${message} Send what you write here to ${host}?${anew}`;
    return this.#ask(text, `Send to ${host}`, 'Send nothing', signal);
  }

  async #askToClear(onClear: () => void): Promise<void> {
    if (await this.#ask('Delete this conversation?', 'Delete it', 'Keep it')) onClear();
  }

  /** There is room for one question: the one before, if it is still open, gets a no. */
  #ask(text: string, yes: string, no: string, signal?: AbortSignal): Promise<boolean> {
    this.#refuse();
    return new Promise((resolve) => {
      const answer = (agreed: boolean) => {
        signal?.removeEventListener('abort', refuse); // or it would answer the next question
        this.#refuse = () => {};
        hide(this.#question, this.composer.input);
        resolve(agreed);
      };
      const refuse = () => answer(false);
      this.#refuse = refuse;
      signal?.addEventListener('abort', refuse, { once: true });
      const words = make('p', {}, text);
      this.#question.replaceChildren(
        words,
        button('agree', yes, () => answer(true)),
        button('refuse', no, refuse),
      );
      this.#question.setAttribute('aria-label', text);
      this.#question.hidden = false;
      this.announce(text);
    });
  }

  #announceProgress(progress: number): void {
    if (progress < this.#announced) this.#announced = 0;
    if (progress < this.#announced + PROGRESS_STEP || progress >= 1) return;
    this.#announced = Math.floor(progress / PROGRESS_STEP + 1e-9) * PROGRESS_STEP;
    this.announce(`Loading: ${Math.round(this.#announced * 100)} %`);
  }
}

/** One for all elements of the page. */
function sharedSheet(): CSSStyleSheet {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
  }
  return sheet;
}

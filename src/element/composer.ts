/** The message box. Enter sends, Shift+Enter breaks the line, Escape stops; Enter that ends a composition (IME) does neither. */
import { make, setUnavailable } from './dom';

/** What Safari gives as keyCode to the Enter that ends a composition, after `isComposing` is false again. */
const IME_KEY_CODE = 229;

export type ComposerHandlers = {
  /** Whether the text was taken; if not, it stays in the box. */
  onSend(text: string): boolean;
  onStop(): void;
};

export class Composer {
  readonly root: HTMLFormElement;
  readonly input: HTMLTextAreaElement;
  /** One button in two roles, so that whoever pressed it still stands on it. */
  readonly #button: HTMLButtonElement;
  #busy = false;

  constructor(private readonly handlers: ComposerHandlers) {
    this.input = make('textarea', {
      part: 'input',
      rows: '1',
      'aria-label': 'Message',
      placeholder: 'Write a message',
      dir: 'auto',
    });
    this.#button = make('button', { type: 'submit', part: 'button send' });
    this.root = make('form', { part: 'composer' }, this.input, this.#button);
    this.root.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#press();
    });
    this.input.addEventListener('keydown', (event) => this.#onKey(event));
    this.input.addEventListener('input', () => this.#refresh());
    // A press with the pointer leaves the focus where it is, so one can write on, and a phone keeps its keyboard.
    this.#button.addEventListener('mousedown', (event) => event.preventDefault());
    this.#refresh();
  }

  setBusy(busy: boolean): void {
    this.#busy = busy;
    this.#refresh();
  }

  fill(text: string): void {
    this.input.value = text;
    this.#refresh();
  }

  #press(): void {
    if (this.#busy) this.handlers.onStop();
    else this.#submit();
  }

  #submit(): void {
    const text = this.input.value.trim();
    if (text !== '' && !this.#busy && this.handlers.onSend(text)) this.fill('');
  }

  #onKey(event: KeyboardEvent): void {
    if (event.isComposing || event.keyCode === IME_KEY_CODE) return;
    if (event.key === 'Escape' && this.#busy) this.handlers.onStop();
    if (event.key !== 'Enter' || event.shiftKey) return;
    event.preventDefault();
    if (!event.repeat) this.#submit();
  }

  #refresh(): void {
    this.#button.textContent = this.#busy ? 'Stop' : 'Send';
    this.#button.setAttribute('part', this.#busy ? 'button stop' : 'button send');
    setUnavailable(this.#button, !this.#busy && this.input.value.trim() === '');
  }
}

/** The message box. Enter sends, Shift+Enter breaks the line, Escape stops; Enter that ends a composition (IME) does neither. */
import { onPress, required, setUnavailable } from './dom';

/** What Safari gives as keyCode to the Enter that ends a composition, after `isComposing` is false again. */
const IME_KEY_CODE = 229;

export class Composer {
  readonly input = required('composer', HTMLTextAreaElement);
  readonly #form = required('composer-form', HTMLFormElement);
  readonly #send = required('send', HTMLButtonElement);
  readonly #stop = required('stop', HTMLButtonElement);
  readonly #hint = required('composer-hint', HTMLElement);
  #busy = false;
  #ready = false;

  /** `onSend` says whether the text was taken; if not, it stays in the box. */
  constructor(
    private readonly onSend: (text: string) => boolean,
    private readonly onStop: () => void,
  ) {
    this.input.addEventListener('keydown', (event) => this.#onKey(event));
    this.input.addEventListener('input', () => this.#refresh());
    this.#form.addEventListener('submit', (event) => event.preventDefault());
    onPress(this.#send, () => this.#submit());
    onPress(this.#stop, () => this.onStop());
    document.addEventListener('keydown', (event) => this.#onEscape(event));
    // A press with the pointer leaves the focus where it is, so one can write on, and a phone keeps its keyboard.
    for (const button of [this.#send, this.#stop]) button.addEventListener('mousedown', (event) => event.preventDefault());
    this.#refresh();
  }

  setBusy(busy: boolean): void {
    this.#busy = busy;
    this.#refresh();
  }

  setReady(ready: boolean, hint: string): void {
    this.#ready = ready;
    this.#hint.textContent = hint;
    this.#form.dataset.ready = String(ready);
    this.#refresh();
  }

  fill(text: string): void {
    this.input.value = text;
    this.#refresh();
  }

  #submit(): void {
    const text = this.input.value.trim();
    if (text !== '' && this.onSend(text)) this.fill('');
  }

  #onKey(event: KeyboardEvent): void {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === IME_KEY_CODE) return;
    event.preventDefault();
    if (!event.repeat) this.#submit();
  }

  #onEscape(event: KeyboardEvent): void {
    if (event.key !== 'Escape' || event.isComposing || document.querySelector('dialog[open]')) return;
    if (this.#busy) this.onStop();
  }

  #refresh(): void {
    document.body.dataset.busy = String(this.#busy);
    setUnavailable(this.#send, this.#busy || !this.#ready || this.input.value.trim() === '');
    setUnavailable(this.#stop, !this.#busy);
    this.#fit();
  }

  /** Where the browser cannot size a text box by its content. */
  #fit(): void {
    if (CSS.supports('field-sizing', 'content')) return;
    this.input.style.height = 'auto';
    this.input.style.height = `${this.input.scrollHeight}px`;
  }
}

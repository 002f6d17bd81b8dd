/** The message box with its files. Enter sends, Shift+Enter breaks the line, Escape stops; Enter that ends a composition (IME) does neither. */
import { AttachmentTray } from './attachment_chips';
import type { Attachment } from './attachments';
import { onPress, required, setUnavailable } from './dom';
import { isSendKey } from './send_key';

export type ComposerHooks = {
  /** Says whether the message was taken; if not, it stays in the box. */
  onSend(text: string, files: readonly Attachment[]): boolean;
  onStop(): void;
  say(text: string): void;
};

export class Composer {
  readonly input = required('composer', HTMLTextAreaElement);
  readonly #form = required('composer-form', HTMLFormElement);
  readonly #send = required('send', HTMLButtonElement);
  readonly #stop = required('stop', HTMLButtonElement);
  readonly #hint = required('composer-hint', HTMLElement);
  readonly #problem = required('composer-problem', HTMLElement);
  readonly #tray: AttachmentTray;
  #busy = false;
  /** A message waits for the model. */
  #waiting = false;
  #open = false;

  constructor(private readonly hooks: ComposerHooks) {
    this.#tray = new AttachmentTray(required('attachments', HTMLElement), required('attach', HTMLButtonElement), {
      onChange: () => this.#refresh(),
      say: (text) => this.#showProblem(text),
    });
    this.#setUpFiles();
    this.input.addEventListener('keydown', (event) => this.#onKey(event));
    this.input.addEventListener('input', () => this.#refresh());
    this.#form.addEventListener('submit', (event) => event.preventDefault());
    onPress(this.#send, () => this.#submit());
    onPress(this.#stop, () => this.hooks.onStop());
    document.addEventListener('keydown', (event) => this.#onEscape(event));
    // A press with the pointer leaves the focus where it is, so one can write on, and a phone keeps its keyboard.
    for (const button of [this.#send, this.#stop, required('attach', HTMLButtonElement)])
      button.addEventListener('mousedown', (event) => event.preventDefault());
    this.#refresh();
  }

  setBusy(busy: boolean): void {
    this.#busy = busy;
    this.#refresh();
  }

  setWaiting(waiting: boolean): void {
    this.#waiting = waiting;
    const [label, title] = waiting ? ['Take the message back', 'Take back (Esc)'] : ['Stop the reply', 'Stop (Esc)'];
    this.#stop.setAttribute('aria-label', label);
    this.#stop.title = title;
    this.#refresh();
  }

  /** `ready`: a message is answered at once. `open`: it is taken, and waits where it must. */
  setReady({ ready, open }: { ready: boolean; open: boolean }, hint: string): void {
    this.#open = open;
    this.#hint.textContent = hint;
    this.#form.dataset.ready = String(ready);
    this.#refresh();
  }

  attach(files: readonly File[]): void {
    this.#showProblem('');
    void this.#tray.add(files);
  }

  /** A message that was sent is here again, in front of what has been written since. */
  takeBack(text: string, files: readonly Attachment[]): void {
    this.#tray.putBack(files);
    this.fill([text, this.input.value].filter((each) => each.trim() !== '').join('\n\n'));
  }

  fill(text: string): void {
    this.input.value = text;
    this.#refresh();
  }

  #submit(): void {
    const text = this.input.value.trim();
    if (!this.#hasContent() || !this.hooks.onSend(text, this.#tray.files)) return;
    this.#tray.take();
    this.#showProblem('');
    this.fill('');
  }

  #hasContent(): boolean {
    return this.input.value.trim() !== '' || this.#tray.files.length > 0;
  }

  #setUpFiles(): void {
    const input = required('attach-input', HTMLInputElement);
    onPress(required('attach', HTMLButtonElement), () => input.click());
    input.addEventListener('change', () => {
      const files = [...(input.files ?? [])];
      input.value = ''; // the same file may be chosen again
      this.attach(files);
    });
  }

  #showProblem(text: string): void {
    this.#problem.textContent = text;
    if (text) this.hooks.say(text);
  }

  #onKey(event: KeyboardEvent): void {
    if (!isSendKey(event)) return;
    event.preventDefault();
    if (!event.repeat) this.#submit();
  }

  #onEscape(event: KeyboardEvent): void {
    if (event.key !== 'Escape' || event.isComposing || document.querySelector('dialog[open]')) return;
    if (this.#occupied) this.hooks.onStop();
  }

  get #occupied(): boolean {
    return this.#busy || this.#waiting;
  }

  #refresh(): void {
    document.body.dataset.busy = String(this.#occupied);
    setUnavailable(this.#send, this.#occupied || !this.#open || !this.#hasContent());
    setUnavailable(this.#stop, !this.#occupied);
    this.#fit();
  }

  /** Where the browser cannot size a text box by its content. */
  #fit(): void {
    if (CSS.supports('field-sizing', 'content')) return;
    this.input.style.height = 'auto';
    this.input.style.height = `${this.input.scrollHeight}px`;
  }
}

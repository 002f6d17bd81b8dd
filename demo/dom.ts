/** The few DOM helpers that every part of the page shares. */

/** An element that index.html promises. Throws on a typo, at start-up and not at the first click. */
export function required<T extends Element>(id: string, type: new () => T): T {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`index.html has no ${type.name} #${id}`);
  return element;
}

/** The first element of a template, cloned. */
export function cloneTemplate(id: string): HTMLElement {
  return required(id, HTMLTemplateElement).content.firstElementChild!.cloneNode(true) as HTMLElement;
}

export function part<T extends Element = HTMLElement>(root: ParentNode, name: string): T {
  return root.querySelector<T>(`[data-part="${name}"]`)!;
}

/** Unlike `disabled`, keeps a button focusable, so that a state change never takes the focus away. */
export function setUnavailable(button: HTMLElement, unavailable: boolean): void {
  if (unavailable) button.setAttribute('aria-disabled', 'true');
  else button.removeAttribute('aria-disabled');
}

/** Gives the focus to a button that is out of sight while it is unavailable; it is shown (`data-held`) until the focus leaves it. */
export function focusAnyway(button: HTMLElement): void {
  button.dataset.held = '';
  button.addEventListener('blur', () => delete button.dataset.held, { once: true });
  button.focus({ preventScroll: true });
}

export function onPress(button: HTMLElement, action: () => void): void {
  button.addEventListener('click', () => {
    if (button.getAttribute('aria-disabled') !== 'true') action();
  });
}

/** Hides `element`. A control that goes away with the focus in it would drop the focus on the page; `heir` gets it then. */
export function hide(element: HTMLElement, heir: HTMLElement): void {
  const held = element.contains(document.activeElement);
  element.hidden = true;
  if (held) heir.focus({ preventScroll: true });
}

/** Opens as a modal; a press on the backdrop or on a [data-close] button closes it. Focus returns by itself. */
export function prepareDialog(dialog: HTMLDialogElement): void {
  let pressedBackdrop = false;
  dialog.addEventListener('pointerdown', (event) => {
    pressedBackdrop = event.target === dialog;
  });
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog && pressedBackdrop) dialog.close();
  });
  for (const button of dialog.querySelectorAll('[data-close]')) button.addEventListener('click', () => dialog.close());
}

/** False where the browser refuses: no secure context, or no permission. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch (error) {
    if (error instanceof DOMException || error instanceof TypeError) return false;
    throw error;
  }
}

/** `what`: 'The report is'. Says how it went; where the browser refuses, the text is selected, so that Ctrl+C or Cmd+C does it. */
export async function copyField(field: HTMLTextAreaElement, what: string): Promise<string> {
  if (await copyText(field.value)) return `${what} copied`;
  field.select();
  return `The browser did not allow copying. ${what} selected: press Ctrl+C or Cmd+C.`;
}

/** As a download; the browser may read it a while later. */
export function saveText(name: string, json: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([json], { type: 'application/json' }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** A button that says for a moment that it has done its work. */
export function flash(button: HTMLElement): void {
  button.dataset.done = '';
  setTimeout(() => delete button.dataset.done, 1600);
}

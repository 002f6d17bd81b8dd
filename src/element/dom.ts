/** Elements without markup text: the component runs where a page allows neither inline style nor HTML from strings. */

type Attributes = Record<string, string | boolean>;

/** `part` is a CSS part and, within the component, what its style sheet names. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (value !== false) element.setAttribute(name, value === true ? '' : value);
  element.append(...children);
  return element;
}

export function button(part: string, label: string, onPress: () => void): HTMLButtonElement {
  const element = make('button', { type: 'button', part: `button ${part}` }, label);
  element.addEventListener('click', () => {
    if (element.getAttribute('aria-disabled') !== 'true') onPress();
  });
  return element;
}

/** Stays in the order of focus, so that nobody who stands on it falls off the page. */
export function setUnavailable(element: HTMLElement, unavailable: boolean): void {
  element.setAttribute('aria-disabled', String(unavailable));
}

/** Hides; where that would lose the focus, `heir` gets it. */
export function hide(element: HTMLElement, heir: HTMLElement): void {
  const root = element.getRootNode() as ShadowRoot;
  const focused = root.activeElement;
  element.hidden = true;
  if (focused && element.contains(focused)) heir.focus();
}

/** What Safari gives as keyCode to the Enter that ends a composition, after `isComposing` is false again. */
const IME_KEY_CODE = 229;

/** Enter sends, Shift+Enter breaks the line; Enter that ends a composition (IME) does neither. */
export function isSendKey(event: KeyboardEvent): boolean {
  return event.key === 'Enter' && !event.shiftKey && !event.isComposing && event.keyCode !== IME_KEY_CODE;
}

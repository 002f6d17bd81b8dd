/**
 * Bytes as text by GPT-2's byte map, which is how xgrammar takes tokens that are no whole characters: printable Latin-1 stands for
 * itself, the other bytes, in order, for U+0100 onwards.
 */
const charOfByte: readonly string[] = (() => {
  let next = 0x100;
  const standsForItself = (byte: number) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(standsForItself(byte) ? byte : next++));
})();

/** The empty text for no bytes, which xgrammar never allows. */
export function byteChars(bytes: Uint8Array | undefined): string {
  let text = '';
  for (const byte of bytes ?? []) text += charOfByte[byte];
  return text;
}

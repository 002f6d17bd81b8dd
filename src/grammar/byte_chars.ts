/**
 * Bytes as text by GPT-2's byte map, which is how byte-level tokenizers write their tokens and how xgrammar takes them: printable Latin-1
 * stands for itself, the other 68 bytes, in order, for U+0100 onwards.
 */
const charOfByte: readonly string[] = (() => {
  let next = 0x100;
  const standsForItself = (byte: number) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(standsForItself(byte) ? byte : next++));
})();

/** The byte of a character's code. */
export const byteOfCode: Readonly<Uint8Array> = (() => {
  const bytes = new Uint8Array(0x144);
  for (const [byte, char] of charOfByte.entries()) bytes[char.charCodeAt(0)] = byte;
  return bytes;
})();

const onlyByteChars = /^[!-~\xa1-\xac\xae-\u0143]*$/;

/** Whether each character of `text` stands for a byte. */
export function areByteChars(text: string): boolean {
  return onlyByteChars.test(text);
}

export function byteChars(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += charOfByte[byte];
  return text;
}

/** @param chars text whose characters all stand for bytes */
export function bytesOfChars(chars: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(chars.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = byteOfCode[chars.charCodeAt(i)]!;
  return bytes;
}

/**
 * Byte-level BPE writes each byte of UTF-8 as one visible character (GPT-2's byte map): printable Latin-1 stands for itself, the
 * other 68 bytes, in order, for U+0100 onwards. A token is therefore a piece of UTF-8, not of text, and only its bytes stream exactly.
 */
const byteOfChar: ReadonlyMap<string, number> = buildByteMap();

function buildByteMap(): Map<string, number> {
  const map = new Map<string, number>();
  const standsForItself = (byte: number) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) map.set(String.fromCharCode(standsForItself(byte) ? byte : next++), byte);
  return map;
}

const utf8 = new TextEncoder();

/** The bytes of a vocabulary entry. One that holds a character outside the byte map is plain text, as in HF tokenizers. */
export function byteLevelTokenBytes(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = byteOfChar.get(token[i]!);
    if (byte === undefined) return utf8.encode(token);
    bytes[i] = byte;
  }
  return bytes;
}

/** The bytes of an added token, which is kept as text and never passes the byte map. */
export function addedTokenBytes(content: string): Uint8Array {
  return utf8.encode(content);
}

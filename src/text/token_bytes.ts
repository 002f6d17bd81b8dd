/** Byte-level BPE writes each byte of UTF-8 as one visible character. A token is therefore a piece of UTF-8, not of text, and only its bytes stream exactly. */
import { areByteChars, byteChars, bytesOfChars } from '../grammar/byte_chars';

const utf8 = new TextEncoder();

/** The bytes of a vocabulary entry. One that holds a character outside the byte map is plain text, as in HF tokenizers. */
export function byteLevelTokenBytes(token: string): Uint8Array {
  return areByteChars(token) ? bytesOfChars(token) : utf8.encode(token);
}

/** The same as characters of the byte map: mostly the entry itself. */
export function byteLevelTokenChars(token: string): string {
  return areByteChars(token) ? token : byteChars(utf8.encode(token));
}

/** The bytes of an added token, which is kept as text and never passes the byte map. */
export function addedTokenBytes(content: string): Uint8Array {
  return utf8.encode(content);
}

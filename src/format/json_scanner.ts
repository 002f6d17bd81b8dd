/**
 * A cursor over JSON bytes for the files that a stranger can make large: safetensors headers and shard indexes.
 * JSON.parse lost here: it merges duplicate keys without a word, and `[{},{},…]` costs it over 20 bytes of heap per byte
 * of text. The cursor builds nothing that its caller does not ask for, so memory follows what is kept.
 */
import type { EngineError } from '../errors';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COLON = 0x3a;
const COMMA = 0x2c;
const ZERO = 0x30;

/** Deepest nesting that `skipValue` follows; headers and indexes have two levels. */
const MAX_DEPTH = 32;
/** Strings that are only passed over are checked in pieces of this many bytes, so a 100 MB one is never held as text. */
const SKIP_STRING_BYTES = 1 << 20;

const number = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const loneSurrogate = /\p{Surrogate}/u;

export class JsonScanner {
  private at = 0;
  private readonly decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

  constructor(
    private readonly bytes: Uint8Array,
    private readonly fail: (problem: string) => EngineError,
  ) {}

  private peek(): number {
    const { bytes } = this;
    for (; this.at < bytes.length; this.at++) {
      const byte = bytes[this.at]!;
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return byte;
    }
    return -1;
  }

  private bad(wanted: string): EngineError {
    const byte = this.bytes[this.at];
    const found = byte === undefined ? 'the end' : byte > 0x20 && byte < 0x7f ? `'${String.fromCharCode(byte)}'` : `byte ${byte}`;
    return this.fail(`is not valid JSON: expected ${wanted} at byte ${this.at}, found ${found}`);
  }

  private take(byte: number): void {
    if (this.peek() !== byte) throw this.bad(`'${String.fromCharCode(byte)}'`);
    this.at++;
  }

  /** Walks `{ "key": … }`. `entry` must consume the value. Keys longer than `maxKeyBytes` (raw) are refused. */
  object(what: string, maxKeyBytes: number, entry: (key: string) => void): void {
    this.take(OPEN_BRACE);
    if (this.peek() === CLOSE_BRACE) {
      this.at++;
      return;
    }
    for (;;) {
      const key = this.string(what, maxKeyBytes);
      this.take(COLON);
      entry(key);
      if (this.peek() === CLOSE_BRACE) break;
      this.take(COMMA);
    }
    this.at++;
  }

  /** Reads `[n, …]`, at most `maxLength` integers. */
  integers(what: string, maxLength: number): number[] {
    this.take(OPEN_BRACKET);
    const values: number[] = [];
    if (this.peek() === CLOSE_BRACKET) {
      this.at++;
      return values;
    }
    for (;;) {
      if (values.length === maxLength) throw this.fail(`holds more than ${maxLength} numbers in ${what}`);
      values.push(this.integer(what));
      if (this.peek() === CLOSE_BRACKET) break;
      this.take(COMMA);
    }
    this.at++;
    return values.slice(); // push leaves room for 17 numbers, which over 500,000 tensors would be most of the memory
  }

  /** A non-negative integer that a float64 holds exactly, written as digits only. */
  integer(what: string): number {
    this.peek();
    const start = this.at;
    let value = 0;
    for (; this.at < this.bytes.length; this.at++) {
      const digit = this.bytes[this.at]! - ZERO;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
      if (value > Number.MAX_SAFE_INTEGER) throw this.fail(`holds a number above 2^53 - 1 in ${what}`);
    }
    const next = this.bytes[this.at];
    const ended = next === undefined || next === COMMA || next === CLOSE_BRACKET || next === CLOSE_BRACE || next <= 0x20;
    if (this.at === start || !ended || (this.bytes[start] === ZERO && this.at - start > 1)) {
      this.at = start;
      throw this.fail(`holds '${this.token()}' in ${what}, which takes non-negative whole numbers`);
    }
    return value;
  }

  /** @throws through `fail` if the string is longer than `maxBytes` raw bytes, is not UTF-8 or holds a lone surrogate. */
  string(what: string, maxBytes: number): string {
    const [start, end, escaped] = this.stringSpan();
    if (end - start > maxBytes) throw this.fail(`holds ${what} of ${end - start} bytes; at most ${maxBytes} are allowed`);
    return this.decode(start, end, escaped);
  }

  /** Byte range between the quotes; moves past the closing one. */
  private stringSpan(): [start: number, end: number, escaped: boolean] {
    this.take(QUOTE);
    const { bytes } = this;
    const start = this.at;
    let escaped = false;
    for (let i = start; i < bytes.length; i++) {
      const byte = bytes[i]!;
      if (byte === QUOTE) {
        this.at = i + 1;
        return [start, i, escaped];
      }
      if (byte === BACKSLASH) {
        escaped = true;
        i++;
      } else if (byte < 0x20) {
        this.at = i;
        throw this.bad('a string without control characters');
      }
    }
    this.at = bytes.length;
    throw this.bad('a closing quote');
  }

  private decode(start: number, end: number, escaped: boolean): string {
    let text: string;
    try {
      text = this.decoder.decode(this.bytes.subarray(start, end));
    } catch {
      throw this.fail(`is not valid UTF-8 between bytes ${start} and ${end}`);
    }
    if (!escaped) return text;
    try {
      text = JSON.parse(`"${text}"`) as string;
    } catch {
      throw this.fail(`is not valid JSON: bad escape between bytes ${start} and ${end}`);
    }
    if (loneSurrogate.test(text)) throw this.fail(`holds half a surrogate pair between bytes ${start} and ${end}`);
    return text;
  }

  /** Checks a string and keeps nothing of it. */
  skipString(): void {
    const [start, end, escaped] = this.stringSpan();
    const { bytes } = this;
    for (let from = start; from < end; ) {
      let to = Math.min(from + SKIP_STRING_BYTES, end);
      // Cut neither a UTF-8 sequence nor an escape (nor a pair of them): step back to before a plain ASCII character.
      if (to < end) to = safeCut(bytes, from, to) ?? end;
      this.decode(from, to, escaped);
      from = to;
    }
  }

  skipValue(depth = 0): void {
    if (depth > MAX_DEPTH) throw this.fail(`nests deeper than ${MAX_DEPTH} levels`);
    const byte = this.peek();
    if (byte === QUOTE) this.skipString();
    else if (byte === OPEN_BRACE) this.skipList(CLOSE_BRACE, depth);
    else if (byte === OPEN_BRACKET) this.skipList(CLOSE_BRACKET, depth);
    else {
      const start = this.at;
      const token = this.token();
      if (token !== 'true' && token !== 'false' && token !== 'null' && !number.test(token)) {
        this.at = start;
        throw this.bad('a value');
      }
      this.at = start + token.length;
    }
  }

  private skipList(close: number, depth: number): void {
    this.at++;
    if (this.peek() === close) {
      this.at++;
      return;
    }
    for (;;) {
      if (close === CLOSE_BRACE) {
        this.peek();
        this.skipString();
        this.take(COLON);
      }
      this.skipValue(depth + 1);
      if (this.peek() === close) break;
      this.take(COMMA);
    }
    this.at++;
  }

  /** The bare word at the cursor, at most 64 characters of it. */
  private token(): string {
    let end = this.at;
    while (end < this.bytes.length && end - this.at < 64) {
      const byte = this.bytes[end]!;
      if (byte <= 0x20 || byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET || byte >= 0x7f) break;
      end++;
    }
    return String.fromCharCode(...this.bytes.subarray(this.at, end));
  }

  /** True if the next character is `"`, as a caller that accepts two kinds of value must know. */
  atString(): boolean {
    return this.peek() === QUOTE;
  }

  end(): void {
    if (this.peek() !== -1) throw this.bad('the end');
  }
}

/** The last place in (from, to] at which a string may be cut in two, looking back at most 64 bytes. */
function safeCut(bytes: Uint8Array, from: number, to: number): number | undefined {
  for (let cut = to; cut > from && cut > to - 64; cut--) {
    let plain = cut - from >= 12;
    for (let i = cut - 12; plain && i <= cut; i++) plain = bytes[i]! !== BACKSLASH && bytes[i]! < 0x80;
    if (plain) return cut;
  }
  return undefined;
}

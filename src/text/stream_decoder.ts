import { StopFilter } from './stop_filter';

/** Turns token ids into text in pieces; the pieces of `push` and the last one of `finish` add up to the whole text. */
export interface TextAssembler {
  push(id: number): string;
  finish(): string;
}

export type StreamDecoderOptions = {
  /** The token's piece of UTF-8; undefined for an id that stands for nothing (a padding row of the vocabulary). */
  tokenBytes: (id: number) => Uint8Array | undefined;
  /** Ids that never become text: added tokens with special = true. */
  isSpecial: (id: number) => boolean;
  /** Text ends before the stop string that is complete first; of two complete at the same character, the longer one. */
  stop: readonly string[];
  /** Where tokens are not pieces of UTF-8, what makes text of them in place of `tokenBytes`. */
  assembler?: TextAssembler;
};

/**
 * Incremental detokenisation. Never emits half a character, nor part of a stop string that may still be completed, nor anything after
 * one. The sum of what it emits is what decoding all ids at once gives, cut at the first stop string; bad UTF-8 becomes U+FFFD exactly
 * as TextDecoder has it. A push costs what its token's text costs, whatever came before.
 */
export class StreamDecoder {
  private readonly isSpecial: (id: number) => boolean;
  private readonly assembler: TextAssembler;
  private readonly filter: StopFilter;

  constructor({ tokenBytes, isSpecial, stop, assembler = new ByteAssembler(tokenBytes) }: StreamDecoderOptions) {
    this.isSpecial = isSpecial;
    this.assembler = assembler;
    this.filter = new StopFilter(stop);
  }

  /** True once a stop string is complete; from then on `push` and `finish` give ''. */
  get stopped(): boolean {
    return this.filter.stopped;
  }

  push(id: number): string {
    if (this.stopped || this.isSpecial(id)) return '';
    return this.filter.push(this.assembler.push(id));
  }

  /** What was held back: an unfinished character as U+FFFD, and the start of a stop string that never came. */
  finish(): string {
    if (this.stopped) return '';
    return this.filter.push(this.assembler.finish()) + this.filter.finish();
  }
}

class ByteAssembler implements TextAssembler {
  // ignoreBOM keeps a leading U+FEFF: a model may well write one, and decoding all ids at once keeps it too.
  private readonly decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  private readonly tokenBytes: (id: number) => Uint8Array | undefined;

  constructor(tokenBytes: (id: number) => Uint8Array | undefined) {
    this.tokenBytes = tokenBytes;
  }

  push(id: number): string {
    const bytes = this.tokenBytes(id);
    return bytes === undefined || bytes.length === 0 ? '' : this.decoder.decode(bytes, { stream: true });
  }

  finish(): string {
    return this.decoder.decode();
  }
}

/** Byte tokens that can belong to one unfinished character, with slack; past it a trailing U+FFFD is what the text says. */
const MAX_PENDING_IDS = 8;

/**
 * For tokenizers whose tokens are not bytes (SentencePiece, WordPiece): decodes a window of ids with and without the new ones and takes
 * the difference. The window is the last emitted piece, for context such as a leading space, and the pending ids, so it stays short.
 */
export class WindowAssembler implements TextAssembler {
  private readonly decode: (ids: number[]) => string;
  private window: number[] = [];
  /** The first `settled` ids of the window have been emitted. */
  private settled = 0;

  constructor(decode: (ids: number[]) => string) {
    this.decode = decode;
  }

  push(id: number): string {
    this.window.push(id);
    const text = this.fresh();
    const unfinished = text === '' || text.endsWith('\uFFFD') || isHighSurrogate(text.charCodeAt(text.length - 1));
    if (unfinished && this.window.length - this.settled < MAX_PENDING_IDS) return '';
    this.window = this.window.slice(this.settled);
    this.settled = this.window.length;
    return text;
  }

  finish(): string {
    const text = this.window.length > this.settled ? this.fresh() : '';
    this.window = [];
    this.settled = 0;
    return text;
  }

  private fresh(): string {
    const before = this.settled === 0 ? '' : this.decode(this.window.slice(0, this.settled));
    return this.decode(this.window).slice(before.length);
  }
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}

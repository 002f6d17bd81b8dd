/**
 * One reply held to a grammar. xgrammar says quickly which tokens may come next, give or take a few; the position beside it
 * is exact, and knows how many tokens the shortest closing takes, so that a reply that can be complete within its limit is.
 */
import { EngineError } from '../errors';
import type { Position } from './automaton';
import { bytesOfChars } from './byte_chars';
import { keepReadable } from './keep_readable';
import { type Blanks, TokenSpeller, type Vocabulary } from './vocabulary';
import type { GrammarMatcher } from './xgrammar';

/** So many tokens may be drawn that would leave too little room, before the closing is written in their place. */
const maxTooLong = 4;
/** So many may be drawn that xgrammar allows and the grammar does not, before the mask is computed exactly (up to some 20 ms). */
const maxWrong = 2;
/** Positions whose masks are kept, 19 KB each at 150,000 tokens: inside a string the same few return with every token. */
const maxMasks = 64;

/** No token has more. */
const mostSpaces = 256;

export type RunParts = {
  matcher: GrammarMatcher;
  position: Position;
  vocabulary: Vocabulary;
  speller: () => TokenSpeller;
  blanks: Blanks;
  stopIds: ReadonlySet<number>;
  /** Tokens that this reply must not use although their text may stand in it. */
  banned: readonly number[];
};

/** `accepted: false`: the token does not belong here after all, or would leave too little room to close; ask for the mask again. `done`: nothing can follow. */
export type Acceptance = { accepted: boolean; done: boolean };

export class ConstraintRun {
  readonly #parts: RunParts;
  #position: Position;
  /** What may come next but for lengths, by position, the one used last at the end. What was found wrong is cleared for good. */
  readonly #masks = new Map<Position, Uint32Array<ArrayBuffer>>();
  /** Tokens drawn since the last one accepted, and why they were not. */
  readonly #wrong = new Set<number>();
  readonly #tooLong = new Set<number>();
  /** The rest of the shortest closing, once it has begun. */
  #closing: number[] | undefined;
  /** Whether the reply can be complete within its limit; unknown before the first mask. */
  #fits: boolean | undefined;

  constructor(parts: RunParts) {
    this.#parts = parts;
    this.#position = parts.position;
  }

  /**
   * Which tokens may come next. Bit i & 31 of word i >> 5 is token i.
   * @param remaining how many tokens the reply may still have, this one included
   */
  async mask(remaining: number): Promise<Uint32Array<ArrayBuffer>> {
    this.#fits ??= this.#tokensToClose(this.#position, remaining) <= remaining;
    if (this.#fits && !this.#closing && this.#mustClose(remaining)) this.#closing = this.#spellClosing();
    if (this.#closing?.length) return this.#only(this.#closing[0]!);
    const mask = (await this.#readable()).slice();
    for (const id of this.#tooLong) clear(mask, id);
    return mask;
  }

  /**
   * What the grammar admits here, give or take a few. A mask of another time at this position serves as well: what is exact about them
   * is the same, though xgrammar, which knows less, may stand elsewhere.
   */
  async #readable(): Promise<Uint32Array<ArrayBuffer>> {
    const position = this.#position;
    const mask = this.#masks.get(position) ?? (await this.#computed(position));
    this.#masks.delete(position);
    this.#masks.set(position, mask);
    if (this.#masks.size > maxMasks) this.#masks.delete(this.#masks.keys().next().value!);
    for (const id of this.#wrong) clear(mask, id);
    if (this.#wrong.size >= maxWrong) keepReadable(mask, position, this.#parts.vocabulary);
    return mask;
  }

  async #computed(position: Position): Promise<Uint32Array<ArrayBuffer>> {
    const mask = await this.#parts.matcher.mask();
    for (const id of this.#parts.banned) clear(mask, id);
    this.#clearLongBlanks(mask, position);
    return mask;
  }

  /**
   * Takes a token that the mask allowed.
   * @param remaining how many tokens the reply may have after it
   * @throws EngineError 'internal', 'limit'
   */
  accept(token: number, remaining: number): Acceptance {
    const { matcher, stopIds, vocabulary } = this.#parts;
    if (stopIds.has(token)) {
      if (!this.#position.isComplete) return this.#refuse(this.#wrong, token);
      return { accepted: true, done: true };
    }
    const chars = vocabulary.charsOf(token);
    const next = chars === undefined ? undefined : this.#position.read(bytesOfChars(chars));
    if (!next) return this.#refuse(this.#wrong, token);
    if (this.#fits && this.#tokensToClose(next, remaining) > remaining) {
      if (this.#tooLong.size + 1 >= maxTooLong) this.#closing = this.#spellClosing();
      return this.#refuse(this.#tooLong, token);
    }
    if (!matcher.accept(token)) throw this.#outOfStep(token);
    this.#position = next;
    this.#wrong.clear();
    this.#tooLong.clear();
    this.#closing?.shift();
    return { accepted: true, done: next.isFinal || this.#closing?.length === 0 };
  }

  #refuse(list: Set<number>, token: number): Acceptance {
    if (list.has(token) || this.#closing?.[0] === token) throw this.#outOfStep(token); // the mask did not offer it
    list.add(token);
    return { accepted: false, done: false };
  }

  free(): void {
    this.#parts.matcher.free();
  }

  /** xgrammar is not told how deep an indent may be, and vocabularies are full of tokens for deeper ones. */
  #clearLongBlanks(mask: Uint32Array, from: Position): void {
    let position: Position | undefined = from.readByte(0x20);
    let spaces = 0;
    for (let next = position; next && spaces < mostSpaces; spaces++) {
      position = next;
      next = position.readByte(0x20);
      if (next === position) return; // any number
    }
    for (const blank of this.#parts.blanks) if (blank.spaces > spaces) clear(mask, blank.id);
  }

  /** The last moment: one token of anything else may leave too little. */
  #mustClose(remaining: number): boolean {
    if (this.#position.isComplete || this.#position.bytesToClose < remaining) return false;
    return this.#spellClosing().length >= remaining;
  }

  /** Exact where it matters; where the bytes alone show that it fits or does not, their bound. */
  #tokensToClose(position: Position, remaining: number): number {
    const bytes = position.bytesToClose;
    const least = TokenSpeller.leastTokens(bytes);
    if (bytes <= remaining || least > remaining) return bytes <= remaining ? bytes : least;
    return this.#parts.speller().spell(position.closing())?.length ?? Number.POSITIVE_INFINITY;
  }

  #spellClosing(): number[] {
    return this.#parts.speller().spell(this.#position.closing()) ?? [];
  }

  #only(token: number): Uint32Array<ArrayBuffer> {
    const mask = new Uint32Array(Math.ceil(this.#parts.vocabulary.size / 32));
    mask[token >> 5] = 1 << (token & 31);
    return mask;
  }

  #outOfStep(token: number): EngineError {
    return new EngineError(
      'internal',
      `The grammar does not admit the token ${token}, which it offered. Please report it with the schema.`,
    );
  }
}

function clear(mask: Uint32Array, id: number): void {
  if (id >> 5 < mask.length) mask[id >> 5]! &= ~(1 << (id & 31));
}

/**
 * The checkpoint's tokenizer: `@huggingface/tokenizers` encodes, our own streaming decodes (`stream_decoder.ts`), since the library can
 * only decode whole lists. tokenizer.json is untrusted: ids are checked before anything is indexed by them and how far a text can grow
 * is bounded before it is tried; time is the host's business (`text_host.ts`).
 */
import { Tokenizer as LibraryTokenizer } from '@huggingface/tokenizers';
import { EngineError } from '../errors';
import { byteChars } from '../grammar/byte_chars';
import { anyOf } from './plain_tokens';
import { StreamDecoder, type TextAssembler, WindowAssembler } from './stream_decoder';
import { addedTokenBytes, byteLevelTokenBytes, byteLevelTokenChars } from './token_bytes';
import {
  describe,
  isExhaustion,
  isObject,
  parseJsonObject,
  parseTokenizerConfig,
  type TokenizerConfig,
} from './tokenizer_config';

export type EncodeOptions = {
  /**
   * True: added tokens (`<|im_end|>`, `<think>`, …) in the text become their ids, as a rendered template needs. False: none do, special
   * or not, so that text from outside cannot open or close a turn, a thought or a tool call.
   */
  allowSpecialTokens: boolean;
  /** Adds what the tokenizer itself puts around a text (BOS, say). A template writes its own, so the default is false. */
  addSpecialTokens?: boolean;
};

export type TokenText = { token: string; bytes: number[] | null };

/** The largest id accepted; the largest vocabulary known is a thirtieth of it. */
const MAX_ID = 1 << 23;
/** How many times longer a text may become in normaliser, pre-tokenizer, post-processor or decoder. Real ones stay under 4. */
const MAX_GROWTH = 64;

export class Tokenizer {
  readonly config: TokenizerConfig;
  /** One more than the largest id. */
  readonly vocabSize: number;
  /** Ids of added tokens by their text: those that never become text, and those that do (`<think>`, `<tool_call>`). */
  readonly specialTokens: ReadonlyMap<string, number>;
  readonly addedTokens: ReadonlyMap<string, number>;
  private readonly library: LibraryTokenizer;
  private readonly specialIds: ReadonlySet<number>;
  private readonly addedById: ReadonlyMap<number, string>;
  private readonly addedByName: ReadonlyMap<string, AddedToken>;
  private readonly addedNames: RegExp | undefined;
  /** Whether tokens are pieces of UTF-8, so that `tokenBytes` is exact. */
  readonly isByteLevel: boolean;

  /**
   * @param tokenizerJson text of tokenizer.json
   * @param tokenizerConfig text of tokenizer_config.json, if there is one
   * @throws EngineError 'format' if a file does not hold what it must, 'limit' if it would make texts grow without bound
   */
  constructor(tokenizerJson: string, tokenizerConfig?: string) {
    this.config = parseTokenizerConfig(tokenizerConfig);
    const json = parseJsonObject(tokenizerJson, 'tokenizer.json');
    const added = checkAddedTokens(json.added_tokens);
    this.vocabSize = 1 + Math.max(checkVocab(json.model), ...chunkMax(added.map((token) => token.id)));
    for (const part of ['normalizer', 'pre_tokenizer', 'post_processor', 'decoder']) checkPart(part, json[part]);
    this.specialTokens = new Map(added.filter((token) => token.special).map((token) => [token.content, token.id]));
    this.addedTokens = new Map(added.filter((token) => !token.special).map((token) => [token.content, token.id]));
    this.specialIds = new Set(this.specialTokens.values());
    this.addedById = new Map(added.map((token) => [token.id, token.content]));
    this.addedByName = new Map(added.map((token) => [token.content, token]));
    this.addedNames = anyOf([...this.addedByName.keys()]);
    this.isByteLevel = isByteLevel(json.decoder);
    // The library reads clean-up and casing switches of models that Sluice does not run from the config: it gets the tokens alone.
    const libraryConfig = { ...this.config.specialTokens, clean_up_tokenization_spaces: false };
    const parts = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, ...json, added_tokens: added };
    this.library = guard('loading tokenizer.json', () => new LibraryTokenizer(parts, libraryConfig));
  }

  /** @throws EngineError 'format' if the tokenizer cannot encode the text, 'limit' if it makes too much of it */
  encode(text: string, { allowSpecialTokens, addSpecialTokens = false }: EncodeOptions): number[] {
    return guard('encoding', () => {
      const ids = allowSpecialTokens
        ? this.library.encode(text, { add_special_tokens: addSpecialTokens }).ids
        : this.encodePlain(text, addSpecialTokens);
      return complete(ids);
    });
  }

  /**
   * As `encode` with special tokens, but a token's name that `mark` breaks is text like any other (see TokenMarker).
   * @throws as `encode` does
   */
  encodeMarked(text: string, mark: string): number[] {
    if (!text.includes(mark)) return this.encode(text, { allowSpecialTokens: true });
    return guard('encoding', () => {
      const sections = this.sections(text);
      return complete(
        sections.flatMap((section, i) => {
          if (typeof section === 'number') return [section];
          const plain = section.replaceAll(mark, '');
          return plain === '' ? [] : this.encodePlain(plain, false, i);
        }),
      );
    });
  }

  /** The whole text of `ids`: what a stream without stop strings would emit. */
  decode(ids: readonly number[]): string {
    const stream = this.openStream([]);
    let text = '';
    for (const id of ids) text += stream.push(id);
    return text + stream.finish();
  }

  openStream(stop: readonly string[]): StreamDecoder {
    return new StreamDecoder({
      tokenBytes: (id) => this.tokenBytes(id),
      isSpecial: (id) => this.isSpecial(id),
      stop,
      assembler: this.isByteLevel ? undefined : this.windowAssembler(),
    });
  }

  /** A copy of the token's piece of UTF-8; undefined for an id without a token. Exact for byte-level vocabularies only. */
  tokenBytes(id: number): Uint8Array | undefined {
    const added = this.addedById.get(id);
    if (added !== undefined) return addedTokenBytes(added);
    const token = this.library.id_to_token(id);
    return token === undefined ? undefined : byteLevelTokenBytes(token);
  }

  /** The same as characters of the byte map (`grammar/byte_chars.ts`). */
  tokenChars(id: number): string | undefined {
    const added = this.addedById.get(id);
    if (added !== undefined) return byteChars(addedTokenBytes(added));
    const token = this.library.id_to_token(id);
    return token === undefined ? undefined : byteLevelTokenChars(token);
  }

  /** A token by itself: its text, with U+FFFD for part of a character, and its UTF-8; null where tokens are no bytes. */
  describe(id: number): TokenText {
    if (!this.isByteLevel) return { token: this.addedById.get(id) ?? this.library.id_to_token(id) ?? '', bytes: null };
    const bytes = this.tokenBytes(id) ?? new Uint8Array(0);
    return { token: new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes), bytes: [...bytes] };
  }

  isSpecial(id: number): boolean {
    return this.specialIds.has(id);
  }

  idOf(token: string): number | undefined {
    return this.library.token_to_id(token);
  }

  /** A text's added tokens as ids, and what is between them. */
  private sections(text: string): (string | number)[] {
    const sections: (string | number)[] = [];
    let from = 0;
    for (const { 0: name, index } of this.addedNames ? text.matchAll(this.addedNames) : []) {
      const token = this.addedByName.get(name)!;
      const between = text.slice(from, index);
      sections.push(token.lstrip ? between.trimEnd() : between, token.id);
      from = index + name.length;
      if (token.rstrip) from += text.slice(from).length - text.slice(from).trimStart().length;
    }
    return [...sections, text.slice(from)];
  }

  /** The library's own steps, without the one that looks for added tokens. */
  private encodePlain(text: string, addSpecialTokens: boolean, section = 0): (number | undefined)[] {
    const { normalizer, pre_tokenizer: preTokenizer, model, post_processor: postProcessor } = this.library;
    const normalized = normalizer ? normalizer(text) : text;
    const words = normalized === '' ? [] : preTokenizer ? preTokenizer(normalized, { section_index: section }) : [normalized];
    let tokens = model!(words);
    // A model that looks whole words up before merging (ignore_merges) can still find an added token: such words go in halves.
    if (tokens.some((token) => this.isAdded(token))) tokens = words.flatMap((word) => this.encodeWordPlain(word));
    if (postProcessor) tokens = postProcessor(tokens, null, addSpecialTokens).tokens;
    return tokens.map((token) => this.library.token_to_id(token) ?? model!.unk_token_id);
  }

  private encodeWordPlain(word: string): string[] {
    const tokens = this.library.model!([word]);
    const characters = Array.from(word);
    if (characters.length < 2 || !tokens.some((token) => this.isAdded(token))) return tokens;
    const half = characters.length >> 1;
    return [characters.slice(0, half), characters.slice(half)].flatMap((part) => this.encodeWordPlain(part.join('')));
  }

  private isAdded(token: string): boolean {
    return this.specialTokens.has(token) || this.addedTokens.has(token);
  }

  private windowAssembler(): TextAssembler {
    return new WindowAssembler((ids) =>
      guard('decoding', () => {
        const known = ids.filter((id) => this.library.id_to_token(id) !== undefined);
        return known.length === 0 ? '' : this.library.decode(known, { clean_up_tokenization_spaces: false });
      }),
    );
  }
}

function complete(ids: readonly (number | undefined)[]): number[] {
  if (ids.every((id) => id !== undefined)) return ids as number[];
  throw new EngineError('format', 'tokenizer.json has no id for a piece of this text and no unknown token. Use a complete file.');
}

/** The library throws plain errors of every kind on files that it does not expect. */
function guard<T>(doing: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof EngineError) throw cause;
    if (isExhaustion(cause)) {
      throw new EngineError(
        'limit',
        `The tokenizer ran out of room while ${doing}: ${describe(cause)}. Shorten the text or mend tokenizer.json.`,
        { cause },
      );
    }
    throw new EngineError('format', `The tokenizer failed while ${doing}: ${describe(cause)}. Check tokenizer.json.`, { cause });
  }
}

type AddedToken = {
  id: number;
  content: string;
  special: boolean;
  lstrip: boolean;
  rstrip: boolean;
  normalized: boolean;
  single_word: boolean;
};

function checkAddedTokens(value: unknown): AddedToken[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new EngineError('format', 'tokenizer.json: added_tokens must be a list. Download it again.');
  return value.map((token: unknown, index) => {
    if (!isObject(token) || typeof token.content !== 'string' || token.content === '' || !isId(token.id)) {
      throw new EngineError(
        'format',
        `tokenizer.json: added_tokens[${index}] needs a non-empty content and an id from 0 to ${MAX_ID}. Download it again.`,
      );
    }
    const special = token.special === true;
    return {
      id: token.id,
      content: token.content,
      special,
      lstrip: token.lstrip === true,
      rstrip: token.rstrip === true,
      normalized: typeof token.normalized === 'boolean' ? token.normalized : !special,
      single_word: token.single_word === true,
    };
  });
}

/** The largest id of the model's vocabulary; -1 if it is empty. */
function checkVocab(model: unknown): number {
  const vocab = isObject(model) ? model.vocab : undefined;
  if (Array.isArray(vocab)) return vocab.length - 1; // Unigram: [piece, score], the id is the place
  if (!isObject(vocab)) throw new EngineError('format', 'tokenizer.json: model.vocab is missing. Download it again.');
  let largest = -1;
  for (const token in vocab) {
    const id = vocab[token];
    if (!isId(id)) {
      throw new EngineError(
        'format',
        `tokenizer.json: the id of ${describe(JSON.stringify(token))} must be a whole number from 0 to ${MAX_ID}. Download it again.`,
      );
    }
    if (id > largest) largest = id;
  }
  return largest;
}

function isId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MAX_ID;
}

function chunkMax(values: readonly number[]): number[] {
  return values.length === 0 ? [] : [values.reduce((a, b) => Math.max(a, b))];
}

/**
 * Bounds the product of what each replacement, prefix and template of one part can multiply a text by. Demands a usable pattern where one
 * is used: without it the library drops the text in silence.
 */
function checkPart(part: string, config: unknown): void {
  let growth = 1;
  const pending: unknown[] = [config];
  while (pending.length > 0) {
    const node = pending.pop();
    if (Array.isArray(node)) for (const child of node) pending.push(child);
    if (!isObject(node)) continue;
    if ((node.type === 'Split' || node.type === 'Replace') && !isPattern(node.pattern)) {
      throw new EngineError('format', `tokenizer.json: a ${node.type} of its ${part} has no pattern. Download it again.`);
    }
    for (const key of ['content', 'prepend', 'replacement']) {
      const text = node[key];
      if (typeof text === 'string') growth *= Math.max(1, text.length);
    }
    for (const key of ['single', 'pair']) {
      const template = node[key];
      if (Array.isArray(template)) growth *= Math.max(1, template.length);
    }
    for (const key of ['normalizers', 'pretokenizers', 'processors', 'decoders']) pending.push(node[key]);
    if (growth > MAX_GROWTH) {
      throw new EngineError(
        'limit',
        `tokenizer.json: its ${part} can make a text more than ${MAX_GROWTH} times longer. Use another tokenizer.json.`,
      );
    }
  }
}

function isPattern(pattern: unknown): boolean {
  return isObject(pattern) && (typeof pattern.String === 'string' || typeof pattern.Regex === 'string');
}

function isByteLevel(decoder: unknown): boolean {
  if (!isObject(decoder)) return false;
  if (decoder.type === 'ByteLevel') return true;
  const parts = decoder.type === 'Sequence' && Array.isArray(decoder.decoders) ? decoder.decoders : [];
  return parts.length === 1 && isByteLevel(parts[0]);
}

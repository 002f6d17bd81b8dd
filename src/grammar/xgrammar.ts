/**
 * `@mlc-ai/web-xgrammar` behind two classes. The package holds one WebAssembly instance for the life of a thread and aborts it on any
 * C++ error, so whoever sees this throw must end the thread (`text/text_host.ts` does); nothing else makes a new instance.
 */
import type * as Package from '@mlc-ai/web-xgrammar';
import { EngineError } from '../errors';
import { wasmAllowed } from '../wasm';
import type { Vocabulary } from './vocabulary';

type Library = typeof Package;

/**
 * Loads the package, 1.1 MB with its WebAssembly inside, so there is nothing to fetch. It is a UMD file: bundlers give its exports,
 * Node's own loader leaves them in a global. In Node it looks for `require`, which an ES module has not, unless there is a `location`.
 */
async function loadLibrary(): Promise<Library> {
  if (!wasmAllowed())
    throw new EngineError(
      'unsupported',
      "Structured output needs WebAssembly, which this page forbids. Add 'wasm-unsafe-eval' to script-src in its Content-Security-Policy.",
    );
  const lends = !('location' in globalThis);
  if (lends) Object.assign(globalThis, { location: { href: import.meta.url } });
  try {
    const loaded = (await import('@mlc-ai/web-xgrammar')) as Library & { default?: Library };
    const library = [loaded, loaded.default, (globalThis as { xgrammar?: Library }).xgrammar].find(
      (found) => found?.GrammarCompiler,
    );
    if (!library) throw new EngineError('internal', 'The grammar library did not load. Reload and try again.');
    (await library.Grammar.fromEBNF('root ::= "a"')).dispose(); // starts the WebAssembly, while the location is there
    return library;
  } finally {
    if (lends) Reflect.deleteProperty(globalThis, 'location');
  }
}

export class GrammarCompiler {
  readonly #library: Library;
  readonly #compiler: Package.GrammarCompiler;
  readonly vocab: number;

  private constructor(library: Library, compiler: Package.GrammarCompiler, vocab: number) {
    this.#library = library;
    this.#compiler = compiler;
    this.vocab = vocab;
  }

  /** Prepares the vocabulary, some 200 ms for 150,000 tokens. `stopIds` end a text that is complete. */
  static async create(vocabulary: Vocabulary, stopIds: readonly number[]): Promise<GrammarCompiler> {
    const library = await loadLibrary();
    const tokens = Array.from({ length: vocabulary.size }, (_, id) => vocabulary.charsOf(id) ?? ''); // which it never allows
    const stops = stopIds.filter((id) => id < vocabulary.size);
    const info = await library.TokenizerInfo.createTokenizerInfo(tokens, 'byte_level', false, tokens.length, stops);
    return new GrammarCompiler(library, await library.GrammarCompiler.createGrammarCompiler(info, false), tokens.length);
  }

  /** @param ebnf text that `printEbnf` made */
  async compile(ebnf: string): Promise<CompiledGrammar> {
    const compiled = await this.#compiler.compileGrammar(ebnf);
    return new CompiledGrammar(this.#library, compiled);
  }
}

export class CompiledGrammar {
  readonly #library: Library;
  readonly #compiled: Package.CompiledGrammar;

  constructor(library: Library, compiled: Package.CompiledGrammar) {
    this.#library = library;
    this.#compiled = compiled;
  }

  async matcher(): Promise<GrammarMatcher> {
    return new GrammarMatcher(await this.#library.GrammarMatcher.createGrammarMatcher(this.#compiled));
  }

  free(): void {
    this.#compiled.dispose();
  }
}

export class GrammarMatcher {
  readonly #matcher: Package.GrammarMatcher;

  constructor(matcher: Package.GrammarMatcher) {
    this.#matcher = matcher;
  }

  /** Bit i & 31 of word i >> 5: token i may come next. A copy. */
  async mask(): Promise<Uint32Array<ArrayBuffer>> {
    const bits = await this.#matcher.getNextTokenBitmask();
    return new Uint32Array(bits.buffer as ArrayBuffer, bits.byteOffset, bits.length);
  }

  accept(token: number): boolean {
    return this.#matcher.acceptToken(token);
  }

  free(): void {
    this.#matcher.dispose();
  }
}

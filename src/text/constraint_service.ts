/**
 * Constrained replies, in the text worker's thread. Schemas and grammars come from callers: compiling one can take any time and memory, and
 * a mistake in the library aborts its WebAssembly for good. Here the host ends the thread in all these cases, and the next
 * request finds a new one. The vocabulary is here too, and need not be sent.
 */
import { EngineError } from '../errors';
import { Automaton, Position } from '../grammar/automaton';
import { type Acceptance, ConstraintRun } from '../grammar/constraint_run';
import { parseEbnf } from '../grammar/ebnf';
import type { Grammar } from '../grammar/expression';
import { printEbnf } from '../grammar/print_ebnf';
import { schemaGrammar } from '../grammar/schema';
import { type ArgumentReading, type CallForm, inField, toolCallGrammar } from '../grammar/tool_calls';
import { type Blanks, blanksOf, TokenSpeller, type Vocabulary } from '../grammar/vocabulary';
import { type CompiledGrammar, GrammarCompiler } from '../grammar/xgrammar';
import type { Constraint } from '../protocol/chat';
import type { Tokenizer } from './tokenizer';
import { argumentSchema, isPlainString, typesOf } from './tool_values';

/** What a reply is held to and which ids it may use: those below `vocab`. */
export type ConstraintRequest = { constraint: Constraint; vocab: number; stopIds: readonly number[] };
/** The fewest bytes that a reply can have, and so at least as many tokens as it needs. */
export type OpenedConstraint = { leastBytes: number };

/** Tags of tool calls, which are tokens of their own in most vocabularies. */
const callTags = new Set(['<tool_call>', '</tool_call>']);
/** Compiled grammars kept for requests that ask for the same again. */
const maxKept = 8;

type Prepared = {
  key: string;
  vocabulary: Vocabulary;
  compiler: GrammarCompiler;
  stopIds: ReadonlySet<number>;
  banned: readonly number[];
  speller: () => TokenSpeller;
  blanks: Blanks;
};
type Kept = { automaton: Automaton; compiled: CompiledGrammar };

export class ConstraintService {
  readonly #tokenizer: Tokenizer;
  readonly #callForm: () => CallForm;
  readonly #runs = new Map<number, ConstraintRun>();
  readonly #kept = new Map<string, Kept>();
  #prepared: Prepared | undefined;

  /** `callForm`: the syntax of tool calls that the template shows. */
  constructor(tokenizer: Tokenizer, callForm: () => CallForm) {
    this.#tokenizer = tokenizer;
    this.#callForm = callForm;
  }

  /** Loads the library and gives it the vocabulary, once. @throws EngineError 'unsupported' */
  async prepare({ vocab, stopIds }: ConstraintRequest): Promise<void> {
    const key = `${vocab} ${stopIds}`;
    if (this.#prepared?.key === key) return;
    if (!this.#tokenizer.isByteLevel)
      throw new EngineError(
        'unsupported',
        'Replies can be constrained with byte-level tokenizers only. Ask without a constraint.',
      );
    const stops = new Set(stopIds);
    const vocabulary = vocabularyOf(this.#tokenizer, vocab, stops);
    this.#kept.clear();
    this.#prepared = {
      key,
      vocabulary,
      compiler: await GrammarCompiler.create(vocabulary, stopIds),
      stopIds: stops,
      banned: [...callTags].map((tag) => this.#tokenizer.addedTokens.get(tag)).filter((id) => id !== undefined),
      speller: once(() => new TokenSpeller(vocabulary)),
      blanks: blanksOf(vocabulary),
    };
  }

  /**
   * Begins a reply; `tokens` were accepted before, in another thread.
   * @throws EngineError 'unsupported-schema', 'invalid-request', 'limit' for what the caller asks for, 'internal' for all else
   */
  async open(id: number, request: ConstraintRequest, tokens: readonly number[]): Promise<OpenedConstraint> {
    const { constraint } = request;
    const prepared = this.#prepared!;
    const { automaton, compiled } = await this.#compiled(constraint, prepared);
    const position = Position.start(automaton);
    const { vocabulary, stopIds, speller, blanks } = prepared;
    const banned = constraint.kind === 'tool_calls' ? [] : prepared.banned;
    const run = new ConstraintRun({
      matcher: await compiled.matcher(),
      position,
      vocabulary,
      speller,
      blanks,
      stopIds,
      banned,
    });
    for (const token of tokens) run.accept(token, Number.POSITIVE_INFINITY);
    this.#runs.set(id, run);
    return { leastBytes: position.bytesToClose };
  }

  mask(id: number, remaining: number): Promise<Uint32Array<ArrayBuffer>> {
    return this.#run(id).mask(remaining);
  }

  accept(id: number, token: number, remaining: number): Acceptance {
    return this.#run(id).accept(token, remaining);
  }

  close(id: number): void {
    this.#runs.get(id)?.free();
    this.#runs.delete(id);
  }

  #run(id: number): ConstraintRun {
    const run = this.#runs.get(id);
    if (!run) throw new EngineError('internal', `The text worker has no constraint ${id}. Open it first.`);
    return run;
  }

  async #compiled(constraint: Constraint, { compiler }: Prepared): Promise<Kept> {
    const form = this.#callForm();
    const key = JSON.stringify([constraint, form]);
    const known = this.#kept.get(key);
    if (known) return known;
    const grammar = grammarOf(constraint, form);
    const automaton = inField(fieldOf(constraint), () => new Automaton(grammar));
    const kept = { automaton, compiled: await compiler.compile(printEbnf(grammar)) };
    if (this.#kept.size >= maxKept) {
      const [oldest, { compiled }] = [...this.#kept][0]!;
      this.#kept.delete(oldest);
      compiled.free();
    }
    this.#kept.set(key, kept);
    return kept;
  }
}

/** The field of a request that a constraint comes from. */
function fieldOf({ kind }: Constraint): string {
  const fields = { json_object: '', json_schema: '.json_schema.schema', grammar: '.grammar' };
  return kind === 'tool_calls' ? 'tools' : `response_format${fields[kind]}`;
}

/** @throws EngineError 'unsupported-schema', 'invalid-request', with the field that is wrong */
export function grammarOf(constraint: Constraint, form: CallForm): Grammar {
  switch (constraint.kind) {
    case 'json_object':
      return schemaGrammar({ type: 'object' });
    case 'json_schema':
      return inField(fieldOf(constraint), () => schemaGrammar(constraint.schema));
    case 'grammar':
      return inField(fieldOf(constraint), () => parseEbnf(constraint.grammar));
    case 'tool_calls':
      return toolCallGrammar(constraint, form, readingOf);
  }
}

/** As the parser of tool calls reads an argument's text. */
function readingOf(parameters: unknown, name: string): ArgumentReading {
  const argument = argumentSchema(parameters, name);
  if (isPlainString(argument)) return 'text';
  return typesOf(argument)?.has('string') ? 'mixed' : 'json';
}

function vocabularyOf(tokenizer: Tokenizer, vocab: number, stopIds: ReadonlySet<number>): Vocabulary {
  const added = new Map([...tokenizer.addedTokens].map(([content, id]) => [id, content]));
  const chars = Array.from({ length: Math.min(vocab, tokenizer.vocabSize) }, (_, id) => {
    const content = added.get(id);
    const isText = !stopIds.has(id) && !tokenizer.isSpecial(id) && (content === undefined || callTags.has(content));
    return isText ? tokenizer.tokenChars(id) : undefined;
  });
  return { size: chars.length, charsOf: (id) => chars[id] };
}

function once<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => (made ??= make());
}

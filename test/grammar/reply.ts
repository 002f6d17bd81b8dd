/** Whole replies of a model that draws by chance: what the mask allows, and nothing else about it is likely. */
import { Automaton, Position } from '../../src/grammar/automaton';
import { ConstraintRun } from '../../src/grammar/constraint_run';
import type { Grammar } from '../../src/grammar/expression';
import { printEbnf } from '../../src/grammar/print_ebnf';
import { blanksOf, TokenSpeller } from '../../src/grammar/vocabulary';
import { GrammarCompiler } from '../../src/grammar/xgrammar';
import type { TestVocabulary } from './vocabularies';

/** `leastTokens`: of the shortest reply that the grammar has. */
export type Reply = { text: string; tokens: number; finished: boolean; leastTokens: number };

/** Draws the next token among those that are set. */
export type Draw = (mask: Uint32Array, random: () => number, size: number) => number;

export class RandomModel {
  private constructor(
    readonly vocabulary: TestVocabulary,
    readonly compiler: GrammarCompiler,
    readonly speller: TokenSpeller,
  ) {}

  static async create(vocabulary: TestVocabulary): Promise<RandomModel> {
    const compiler = await GrammarCompiler.create(vocabulary, [vocabulary.stopId]);
    return new RandomModel(vocabulary, compiler, new TokenSpeller(vocabulary));
  }

  async open(grammar: Grammar): Promise<{ run: ConstraintRun; automaton: Automaton; free(): void }> {
    const automaton = new Automaton(grammar);
    const compiled = await this.compiler.compile(printEbnf(grammar));
    const run = new ConstraintRun({
      matcher: await compiled.matcher(),
      position: Position.start(automaton),
      vocabulary: this.vocabulary,
      speller: () => this.speller,
      blanks: blanksOf(this.vocabulary),
      stopIds: new Set([this.vocabulary.stopId]),
      banned: [],
    });
    return {
      run,
      automaton,
      free: () => {
        run.free();
        compiled.free();
      },
    };
  }

  async reply(grammar: Grammar, maxTokens: number, random: () => number, draw: Draw): Promise<Reply> {
    const { run, automaton, free } = await this.open(grammar);
    const ids: number[] = [];
    let finished = false;
    try {
      for (let left = maxTokens; left > 0 && !finished; ) {
        const token = draw(await run.mask(left), random, this.vocabulary.size);
        const { accepted, done } = run.accept(token, left - 1);
        if (!accepted) continue;
        left--;
        finished = done;
        if (token !== this.vocabulary.stopId) ids.push(token);
      }
    } finally {
      free();
    }
    const leastTokens = this.speller.spell(Position.start(automaton).closing())!.length;
    const tail = leastTokens > maxTokens ? 'cut' : 'whole';
    return { text: this.vocabulary.textOf(ids, tail), tokens: ids.length, finished, leastTokens };
  }
}

/** Every allowed token alike: the wildest reply there is. */
export const uniformly: Draw = (mask, random, size) => {
  let count = 0;
  for (let id = 0; id < size; id++) count += (mask[id >> 5]! >>> (id & 31)) & 1;
  if (count === 0) throw new Error('no token is allowed');
  let chosen = Math.floor(random() * count);
  for (let id = 0; id < size; id++) if ((mask[id >> 5]! >>> (id & 31)) & 1 && chosen-- === 0) return id;
  throw new Error('unreachable');
};

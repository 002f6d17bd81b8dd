/** xgrammar against the automaton: a mask may offer more than the grammar admits, and must never hide what it does. */
import { expect, test } from 'vitest';
import { Automaton, Position } from '../../src/grammar/automaton';
import { bytesOfChars } from '../../src/grammar/byte_chars';
import { keepReadable } from '../../src/grammar/keep_readable';
import { printEbnf } from '../../src/grammar/print_ebnf';
import { checkSchema, schemaGrammar } from '../../src/grammar/schema';
import type { Vocabulary } from '../../src/grammar/vocabulary';
import { randomFrom } from './random';
import { randomSchema } from './random_schemas';
import { RandomModel, uniformly } from './reply';
import { story } from './vocabularies';

const isLong = process.env.SLUICE_LONG === '1';

test('no token is hidden, and few are offered in vain', { timeout: 600_000 }, async () => {
  const vocabulary = story();
  const model = await RandomModel.create(vocabulary);
  let [admitted, offered] = [0, 0];
  for (let seed = 1; seed <= (isLong ? 400 : 25); seed++) {
    const random = randomFrom(seed);
    const schema = randomSchema(random);
    if (!isAccepted(schema)) continue;
    const grammar = schemaGrammar(schema);
    const compiled = await model.compiler.compile(printEbnf(grammar));
    const matcher = await compiled.matcher();
    let position = Position.start(new Automaton(grammar));
    for (let i = 0; i < 30 && !position.isFinal; i++) {
      const mask = await matcher.mask();
      const exact = new Uint32Array(mask.length).fill(0xffffffff);
      keepReadable(exact, position, vocabulary);
      for (let id = 0; id < vocabulary.size; id++) {
        if (vocabulary.charsOf(id) === undefined) exact[id >> 5]! &= ~(1 << (id & 31));
      }
      for (let id = 0; id < vocabulary.size; id++) {
        const bit = 1 << (id & 31);
        if ((exact[id >> 5]! & bit) === 0) continue;
        expect(mask[id >> 5]! & bit, `token ${id} after ${i} in ${JSON.stringify(schema)}`).not.toBe(0);
        admitted++;
      }
      offered += mask.reduce((sum, word) => sum + ones(word), 0);
      const token = uniformly(exact, random, vocabulary.size);
      expect(matcher.accept(token)).toBe(true);
      position = position.read(bytesOfChars(vocabulary.charsOf(token)!))!;
    }
    matcher.free();
    compiled.free();
  }
  console.log(`${admitted} tokens admitted, ${offered} offered`);
  expect(offered).toBeLessThan(admitted * 2);
});

test('a position that comes again hides no token either, whatever became of the masks before', async () => {
  const vocabulary = story();
  const model = await RandomModel.create(vocabulary);
  const grammar = schemaGrammar({ type: 'array', items: { type: 'string' }, minItems: 20 });
  const random = randomFrom(5);
  const { run, automaton, free } = await model.open(grammar);
  let position = Position.start(automaton);
  const seen = new Set<Position>();
  let again = 0;
  for (let left = 400; left > 200 && !position.isFinal; ) {
    const mask = await run.mask(left);
    const exact = mask.map((_, word) => readableOf(vocabulary, position, word));
    for (let word = 0; word < mask.length; word++) expect(exact[word]! & ~mask[word]!).toBe(0);
    if (seen.has(position)) again++;
    seen.add(position);
    const token = uniformly(exact, random, vocabulary.size);
    mask.fill(0); // it is the caller's
    if (!run.accept(token, left - 1).accepted) continue;
    left--;
    position = position.read(bytesOfChars(vocabulary.charsOf(token)!))!;
  }
  free();
  expect(again).toBeGreaterThan(10);
});

/** The tokens of one word of a mask that can be read. */
function readableOf(vocabulary: Vocabulary, position: Position, word: number): number {
  let bits = 0;
  for (let bit = 0; bit < 32; bit++) {
    const chars = vocabulary.charsOf(word * 32 + bit);
    if (chars && position.read(bytesOfChars(chars))) bits |= 1 << bit;
  }
  return bits;
}

function ones(word: number): number {
  let count = 0;
  for (let rest = word; rest !== 0; rest &= rest - 1) count++;
  return count;
}

function isAccepted(schema: unknown): boolean {
  try {
    checkSchema(schema);
    return true;
  } catch {
    return false;
  }
}

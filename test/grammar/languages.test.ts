/** Numbers, patterns and EBNF against what JavaScript itself says. */
import { describe, expect, test } from 'vitest';
import { Automaton, Position } from '../../src/grammar/automaton';
import { parseEbnf } from '../../src/grammar/ebnf';
import { type Expression, type Grammar, literal } from '../../src/grammar/expression';
import { intersect, languageOf, languageRules, lengthLanguage } from '../../src/grammar/language';
import { type NumberBounds, numberExpression, unbounded } from '../../src/grammar/numbers';
import { parsePattern } from '../../src/grammar/pattern';
import { prune } from '../../src/grammar/prune';
import { utf8Ranges } from '../../src/grammar/utf8_ranges';
import { randomFrom } from './random';

const utf8 = new TextEncoder();
const grammarOf = (root: Expression): Grammar => ({ rules: new Map([['root', root]]), root: 'root' });

function matcher(grammar: Grammar): (text: string) => boolean {
  const automaton = new Automaton(grammar);
  return (text) => Position.start(automaton).read(utf8.encode(text))?.isComplete ?? false;
}

describe('numbers within bounds', () => {
  const within = (value: number, { low, lowExclusive, high, highExclusive }: NumberBounds) =>
    (lowExclusive ? value > low : value >= low) && (highExclusive ? value < high : value <= high);

  test('whole numbers: exactly those', () => {
    const random = randomFrom(7);
    for (let i = 0; i < 150; i++) {
      const low = Math.floor((random() - 0.5) * 400);
      const bounds = { low, lowExclusive: random() < 0.5, high: low + Math.floor(random() * 300), highExclusive: random() < 0.5 };
      const grammar = prune(grammarOf(numberExpression(bounds, true)));
      const matches = grammar ? matcher(grammar) : () => false;
      for (let value = low - 20; value < bounds.high + 20; value++) {
        expect(matches(String(value)), `${value} in ${JSON.stringify(bounds)}`).toBe(within(value, bounds));
      }
    }
  });

  test('fractions: what can be written is within, and what is within by a margin can be written', () => {
    const random = randomFrom(8);
    for (let i = 0; i < 300; i++) {
      const scale = 10 ** (Math.floor(random() * 18) - 8);
      const low = (random() - 0.5) * scale;
      const high = low + random() * scale;
      const bounds = { low, lowExclusive: random() < 0.5, high, highExclusive: random() < 0.5 };
      const grammar = prune(grammarOf(numberExpression(bounds, false)));
      expect(grammar, JSON.stringify(bounds)).toBeDefined();
      const automaton = new Automaton(grammar!);
      for (let walk = 0; walk < 20; walk++) {
        let position = Position.start(automaton);
        let text = '';
        while (!position.isFinal && !(position.isComplete && random() < 0.2)) {
          const next = Array.from('-.0123456789').flatMap((c) => {
            const after = position.read(utf8.encode(c));
            return after ? [{ c, after }] : [];
          });
          if (next.length === 0) break;
          const step = next[Math.floor(random() * next.length)]!;
          text += step.c;
          position = step.after;
        }
        expect(position.isComplete).toBe(true);
        expect(within(Number(text), bounds), `${text} in ${JSON.stringify(bounds)}`).toBe(true);
      }
    }
  });

  test.each<[NumberBounds, string[], string[]]>([
    [{ ...unbounded, low: 0 }, ['0', '0.5', '999999999'], ['-1', '-0.1']],
    [{ ...unbounded, high: -0.5 }, ['-0.5', '-1', '-0.51'], ['0', '-0.4', '-0']],
    [{ ...unbounded, low: 0.1, high: 0.3 }, ['0.1', '0.3', '0.2999'], ['0.09', '0.31']],
    [{ ...unbounded, low: 1e-9, high: 2e-9 }, ['0.000000001', '0.0000000015'], ['0', '0.000000003']],
    [{ ...unbounded, low: 5e14 }, ['500000000000000', '999999999999999'], ['499999999999999']],
    [{ low: 0, lowExclusive: true, high: 1, highExclusive: true }, ['0.5', '0.000001'], ['0', '1', '1.0', '0.0']],
  ])('%o', (bounds, valid, invalid) => {
    const matches = matcher(grammarOf(numberExpression(bounds, false)));
    for (const text of valid) expect(matches(text), text).toBe(true);
    for (const text of invalid) expect(matches(text), text).toBe(false);
  });
});

const patterns = [
  '^a{2,3}$',
  'a|b',
  '^(a|bc)*$',
  '[^a-c]',
  '\\d+',
  '^\\w+\\s\\W$',
  '^.$',
  '\\.',
  '^(?:ab)?c+?$',
  '^$',
  '',
  '[\\d-]',
  '^[a\\]b]$',
  '\\u{1F600}',
  '\\ud83d\\ude00',
  '^[😀-😂é]$',
  '\\p{Lu}',
  '^\\P{L}$',
  '\\x41',
  '\\cJ',
  '^(?<n>a)b',
  '(^a|b$)',
  '^a|b$',
  '^(^a)(b$)$',
  '[\\s\\S]',
  '\\t',
  '^[\\b]$',
  'x{0}',
  '^[^]$',
  '[]',
];

describe('patterns', () => {
  const alphabet = Array.from('abcABC1 .-_\n\té😀😁]\\x\b');
  test.each(patterns)('%s', (pattern) => {
    const expected = new RegExp(pattern, 'u');
    const value = parsePattern(pattern);
    const grammar = prune(grammarOf(value));
    const structural = grammar ? matcher(grammar) : () => false;
    const language = languageOf(value);
    const rules = new Map(
      languageRules(
        language,
        (state) => `s${state}`,
        (c) => c,
        literal(''),
      ),
    );
    const asRules = prune({ rules, root: 's0' });
    const deterministic = asRules ? matcher(asRules) : () => false;
    const random = randomFrom(pattern.length);
    for (let i = 0; i < 400; i++) {
      const text = Array.from({ length: Math.floor(random() * 5) }, () => alphabet[Math.floor(random() * alphabet.length)]).join(
        '',
      );
      expect(structural(text), JSON.stringify(text)).toBe(expected.test(text));
      expect(deterministic(text), JSON.stringify(text)).toBe(expected.test(text));
    }
  });

  test('with a length', () => {
    const both = intersect(lengthLanguage([[0x61, 0x7a]], 2, 4), languageOf(parsePattern('^(ab)*c?$')));
    const matches = matcher({ rules: new Map(languageRules(both, String, (c) => c, literal('.'))), root: '0' });
    expect(['.', 'c.', 'ab.', 'abc.', 'abab.', 'ababc.', 'aa.'].filter(matches)).toEqual(['ab.', 'abc.', 'abab.']);
  });
});

test('ranges of characters as bytes: exactly their encodings', () => {
  const random = randomFrom(9);
  for (let i = 0; i < 200; i++) {
    const top = [0x7f, 0x7ff, 0xd7ff, 0x10ffff][i % 4]!;
    const [low, high] = [Math.floor(random() * top), Math.floor(random() * top)].sort((a, b) => a - b) as [number, number];
    if (low <= 0xdfff && high >= 0xd800) continue;
    const sequences = utf8Ranges([[low, high]]);
    const size = sequences.reduce((sum, bytes) => sum + bytes.reduce((n, [from, to]) => n * (to - from + 1), 1), 0);
    expect(size).toBe(high - low + 1);
    for (const code of [low, high, Math.floor((low + high) / 2)]) {
      const bytes = utf8.encode(String.fromCodePoint(code));
      const matching = sequences.filter(
        (s) => s.length === bytes.length && s.every(([a, b], j) => bytes[j]! >= a && bytes[j]! <= b),
      );
      expect(matching).toHaveLength(1);
    }
  }
});

describe('EBNF', () => {
  test.each<[string, string[], string[]]>([
    ['root ::= "a" b* # comment\nb ::= [x-z] | "\\n"', ['a', 'axz', 'a\n'], ['b', 'aa']],
    ['root ::= (("a" | "b"){2} "c")+', ['abc', 'aacbbc'], ['ac', '']],
    ['# begins so\nroot ::=\n  "é"\n  | [^é\\x00-\\x7f]{1,2}', ['é', 'ê', '中文'], ['a', 'éé']],
    ['root ::= "" | "(" root ")"', ['', '(())'], ['(']],
    ['root ::= a{2,}\na ::= [\\u4e00-\\u9fff] [\\]\\-\\\\]', ['中]文-', '中]文\\中]'], ['中]']],
    ['root ::= "\\U0001F600" "\\"" [-a]', ['😀"-', '😀"a'], ['😀"b']],
  ])('%s', (text, valid, invalid) => {
    const matches = matcher(parseEbnf(text));
    for (const value of valid) expect(matches(value), value).toBe(true);
    for (const value of invalid) expect(matches(value), value).toBe(false);
  });

  test.each([
    ['root ::= "a', /line 1, column 10: this text is not closed/],
    ['root ::= [a', /line 1, column 10: this class is not closed/],
    ['root ::= "a"\nroot ::= "b"', /line 2, column 1: the rule 'root' is defined twice/],
    ['root ::= x', /line 1, column 10: there is no rule 'x'/],
    ['root ::= ("a"', /line 1, column 10: this parenthesis is not closed/],
    ['root = "a"', /line 1, column 6: "::=" must follow/],
    ['start ::= "a"', /no rule 'root'/],
    ['root ::= "a"{3,1}', /column 13: the lower bound/],
    ['root ::= "a"{1,999999}', /more than 4096 times/],
    ['root ::= (= "a") "a"', /lookahead is not supported/],
    ['root ::= [z-a]', /ends before it begins/],
    ['root ::= "\\q"', /the escape \\q is not known/],
    ['root ::= "\\ud800"', /surrogate/],
    ['root ::= "a" root', /no finite text/],
    ['', /no rule 'root'/],
    ['root ::= )', /line 1, column 10/],
  ])('%s is refused', (text, message) => {
    expect(() => parseEbnf(text)).toThrow(message);
    expect(() => parseEbnf(text)).toThrow(expect.objectContaining({ code: 'invalid-request' }));
  });

  test('a rule that begins with itself is refused, also by way of others', () => {
    for (const text of ['root ::= root "a" | "b"', 'root ::= a "x"\na ::= "y"* root | "z"']) {
      expect(() => new Automaton(parseEbnf(text))).toThrow(/can begin with itself/);
    }
  });
});

test('the shortest closing', () => {
  const automaton = new Automaton(parseEbnf('root ::= "[" item ("," item)* "]"\nitem ::= "long word" | "ab" | "(" item ")"'));
  const closings = ['', '[', '[lo', '[((', '[ab', '[ab,'].map((text) => {
    const position = Position.start(automaton).read(utf8.encode(text))!;
    const closing = new TextDecoder().decode(position.closing());
    expect(closing.length).toBe(position.bytesToClose);
    return closing;
  });
  expect(closings).toEqual(['[ab]', 'ab]', 'ng word]', 'ab))]', ']', 'ab]']);
});

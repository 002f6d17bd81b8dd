/** How values stand in JSON text: the characters of a string, the parts of any value, whitespace. */
import {
  anyChar,
  type CodeRange,
  chars,
  charsOf,
  choice,
  type Expression,
  intersection,
  literal,
  mapParts,
  nothing,
  optional,
  repeat,
  rule,
  sequence,
} from './expression';
import { numberExpression, unbounded } from './numbers';

/** At most one line break with 40 spaces of indent, or one space: a model may lay its reply out, and cannot idle in blanks. */
const indent = 40;
const blank = optional(choice(literal(' '), sequence(literal('\n'), repeat(literal(' '), 0, indent))));
export const comma = sequence(literal(','), blank);
export const colon = sequence(literal(':'), optional(literal(' ')));

export function inBraces(inner: Expression): Expression {
  return sequence(literal('{'), blank, inner, blank, literal('}'));
}

export function inBrackets(inner: Expression): Expression {
  return sequence(literal('['), blank, inner, blank, literal(']'));
}

const quote = 0x22;
const backslash = 0x5c;
/** Characters that stand for themselves in a string. */
export const plainChars = intersection(anyChar, [
  [0x20, quote - 1],
  [quote + 1, backslash - 1],
  [backslash + 1, 0x10ffff],
]);
const hex = charsOf('0123456789abcdefABCDEF');
/**
 * One character of any string. `\u` never writes half of a surrogate pair: two halves would be one character for a length, and one
 * alone is no text at all.
 */
const escapeSequence = sequence(
  literal('\\'),
  choice(
    charsOf('"\\/bfnrt'),
    sequence(
      literal('u'),
      choice(
        sequence(charsOf('0123456789abcefABCEF'), repeat(hex, 3, 3)),
        sequence(charsOf('dD'), charsOf('01234567'), repeat(hex, 2, 2)),
      ),
    ),
  ),
);
export const stringChar = choice(chars(...plainChars), escapeSequence);

export function stringOf(inner: Expression): Expression {
  return sequence(literal('"'), inner, literal('"'));
}

/** An expression over the characters of a value as one over the characters of its JSON string: each is written in one way. */
export function encoded(value: Expression): Expression {
  if (value.kind === 'chars') return encodedChars(value.ranges);
  if (value.kind === 'literal') return literal(JSON.stringify(value.text).slice(1, -1));
  return mapParts(value, encoded);
}

const escaped: CodeRange[] = [
  [0, 0x1f],
  [quote, quote],
  [backslash, backslash],
];

function encodedChars(ranges: readonly CodeRange[]): Expression {
  const plain = intersection(ranges, plainChars);
  const options: Expression[] = plain.length > 0 ? [chars(...plain)] : [];
  for (const [low, high] of intersection(ranges, escaped)) {
    for (let code = low; code <= high; code++) options.push(literal(JSON.stringify(String.fromCharCode(code)).slice(1, -1)));
  }
  return options.length > 0 ? choice(...options) : nothing;
}

/** Names of the rules for any value; `jsonRules` holds them. */
export const anyRules = { value: 'any value', object: 'any object', array: 'any array', string: 'any string' } as const;

/** Rules for any JSON value. */
export function jsonRules(): Map<string, Expression> {
  const value = rule(anyRules.value);
  const string = rule(anyRules.string);
  const member = sequence(string, colon, value);
  return new Map<string, Expression>([
    [
      anyRules.value,
      choice(
        rule(anyRules.object),
        rule(anyRules.array),
        string,
        numberExpression(unbounded, false),
        literal('true'),
        literal('false'),
        literal('null'),
      ),
    ],
    [anyRules.object, choice(literal('{}'), inBraces(sequence(member, repeat(sequence(comma, member), 0))))],
    [anyRules.array, choice(literal('[]'), inBrackets(sequence(value, repeat(sequence(comma, value), 0))))],
    [anyRules.string, stringOf(repeat(stringChar, 0))],
  ]);
}

/**
 * A context-free grammar over text, as plain data. All that Sluice constrains a reply to (schemas, tool calls, EBNF) becomes one of
 * these; from it come the text for xgrammar (`print_ebnf.ts`) and the automaton that knows how to close (`automaton.ts`).
 */

/** Code points from `low` to `high`, both included. */
export type CodeRange = readonly [low: number, high: number];

export type Expression =
  | { kind: 'literal'; text: string }
  /** One code point. Ranges are sorted, apart from each other and free of surrogates. */
  | { kind: 'chars'; ranges: readonly CodeRange[] }
  | { kind: 'sequence'; parts: readonly Expression[] }
  /** No options: nothing matches. */
  | { kind: 'choice'; options: readonly Expression[] }
  /** `max` may be Infinity. */
  | { kind: 'repeat'; of: Expression; min: number; max: number }
  | { kind: 'rule'; name: string }
  /** What `exact` says. `loose` admits all that and more, and is quicker to compile: xgrammar gets it, the automaton decides. */
  | { kind: 'narrow'; exact: Expression; loose: Expression };

export type Grammar = { rules: Map<string, Expression>; root: string };

export const empty: Expression = { kind: 'literal', text: '' };
export const nothing: Expression = { kind: 'choice', options: [] };

export const literal = (text: string): Expression => ({ kind: 'literal', text });
export const rule = (name: string): Expression => ({ kind: 'rule', name });
export const repeat = (of: Expression, min: number, max = Number.POSITIVE_INFINITY): Expression => ({
  kind: 'repeat',
  of,
  min,
  max,
});
export const optional = (of: Expression): Expression => repeat(of, 0, 1);

export function sequence(...parts: Expression[]): Expression {
  return parts.length === 1 ? parts[0]! : { kind: 'sequence', parts };
}

export function choice(...options: Expression[]): Expression {
  return options.length === 1 ? options[0]! : { kind: 'choice', options };
}

export function chars(...ranges: CodeRange[]): Expression {
  return { kind: 'chars', ranges: normalised(ranges) };
}

/** Every character of `text` as a range of its own: `charsOf('+-')`. */
export function charsOf(text: string): Expression {
  return chars(...Array.from(text, (character): CodeRange => [character.codePointAt(0)!, character.codePointAt(0)!]));
}

export const maxCodePoint = 0x10ffff;
const surrogates: CodeRange = [0xd800, 0xdfff];
/** All characters that UTF-8 can hold. */
export const anyChar: readonly CodeRange[] = [
  [0, surrogates[0] - 1],
  [surrogates[1] + 1, maxCodePoint],
];

/** Sorted, merged, without surrogates, which no UTF-8 text holds. */
export function normalised(ranges: readonly CodeRange[]): CodeRange[] {
  const merged: [number, number][] = [];
  for (const [low, high] of [...ranges].filter(([low, high]) => low <= high).sort((a, b) => a[0] - b[0])) {
    const last = merged.at(-1);
    if (last && low <= last[1] + 1) last[1] = Math.max(last[1], high);
    else merged.push([low, high]);
  }
  return intersectSorted(merged, anyChar);
}

export function complement(ranges: readonly CodeRange[]): CodeRange[] {
  const gaps: CodeRange[] = [];
  let next = 0;
  for (const [low, high] of normalised([...ranges, surrogates])) {
    if (low > next) gaps.push([next, low - 1]);
    next = high + 1;
  }
  if (next <= maxCodePoint) gaps.push([next, maxCodePoint]);
  return normalised(gaps);
}

export function intersection(a: readonly CodeRange[], b: readonly CodeRange[]): CodeRange[] {
  return intersectSorted(normalised(a), normalised(b));
}

function intersectSorted(a: readonly CodeRange[], b: readonly CodeRange[]): CodeRange[] {
  const common: CodeRange[] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const low = Math.max(a[i]![0], b[j]![0]);
    const high = Math.min(a[i]![1], b[j]![1]);
    if (low <= high) common.push([low, high]);
    if (a[i]![1] < b[j]![1]) i++;
    else j++;
  }
  return common;
}

/** `expression` with its parts replaced; rules stay. */
export function mapParts(expression: Expression, replace: (part: Expression) => Expression): Expression {
  switch (expression.kind) {
    case 'sequence':
      return { kind: 'sequence', parts: expression.parts.map(replace) };
    case 'choice':
      return { kind: 'choice', options: expression.options.map(replace) };
    case 'repeat':
      return { ...expression, of: replace(expression.of) };
    case 'narrow':
      return { ...expression, exact: replace(expression.exact), loose: replace(expression.loose) };
    default:
      return expression;
  }
}

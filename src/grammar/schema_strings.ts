/** Strings of a schema: lengths, patterns and formats, alone or together. */
import { anyChar, type Expression, mapParts, nothing, repeat, rule, sequence } from './expression';
import { stringFormat } from './formats';
import { intersect, type Language, LanguageTooLarge, languageOf, languageRules, lengthLanguage } from './language';
import { PatternProblem, parsePattern } from './pattern';
import { isWide } from './print_ebnf';
import type { SchemaObject } from './schema_keywords';
import { child, unsupportedSchema } from './schema_problem';

/** How the characters of a value are written where it stands. */
export type TextForm = {
  /** Any one character. */
  char: Expression;
  /** An expression over the value's characters as one over what is written. */
  encode: (value: Expression) => Expression;
  /** What ends the value. */
  end: Expression;
};

type Placed = { schema: SchemaObject; pointer: string };

/** Longer strings are never written: what has no bound, or a larger one, ends here at the latest where it must be counted. */
const maxCounted = 4096;

/**
 * The value and its end.
 * @param addRules takes the rules that a language needs, gives the name of the first
 * @throws EngineError 'unsupported-schema'
 */
export function stringText(conjuncts: readonly Placed[], form: TextForm, addRules: AddRules): Expression {
  const min = Math.max(0, ...conjuncts.map(({ schema }) => (schema.minLength as number | undefined) ?? 0));
  const max = Math.min(...conjuncts.map(({ schema }) => (schema.maxLength as number | undefined) ?? Number.POSITIVE_INFINITY));
  if (min > max) return nothing;
  if (min > maxCounted) {
    const { pointer } = conjuncts.find(({ schema }) => schema.minLength === min)!;
    throw unsupportedSchema(child(pointer, 'minLength'), `at most ${maxCounted} characters can be asked for.`);
  }
  const bound = max === Number.POSITIVE_INFINITY ? max : Math.min(max, maxCounted);
  const patterns = conjuncts.flatMap(patternsOf);
  if (patterns.length === 0) return sequence(repeat(form.char, min, bound), form.end);
  const asRules = (languages: readonly Language[]) =>
    rule(addRules((name) => languageRules(languages.reduce(intersect), name, form.encode, form.end)));
  try {
    const languages = patterns.map(({ value }) => languageOf(value));
    const isCounted = min > 0 || bound !== Number.POSITIVE_INFINITY;
    const exact = asRules(isCounted ? [lengthLanguage(anyChar, min, bound), ...languages] : languages);
    return { kind: 'narrow', exact, loose: asRules(patterns.map(({ value }) => languageOf(loosened(value)))) };
  } catch (error) {
    if (!(error instanceof LanguageTooLarge)) throw error;
    throw unsupportedSchema(patterns[0]!.pointer, 'with the lengths or other patterns here it is too large. Make them simpler.');
  }
}

export type AddRules = (make: (name: (state: number) => string) => [string, Expression][]) => string;

/** Counts become any number where they would cost xgrammar a state for each step (`print_ebnf.ts`). */
function loosened(value: Expression): Expression {
  const inner = mapParts(value, loosened);
  if (inner.kind !== 'repeat') return inner;
  if (isWide(inner)) return repeat(inner.of, 0);
  return inner.max > 4 ? repeat(inner.of, Math.min(inner.min, 4)) : inner;
}

function patternsOf({ schema, pointer }: Placed): { value: Expression; pointer: string }[] {
  const found: { value: Expression; pointer: string }[] = [];
  const add = (source: string, at: string) => {
    try {
      found.push({ value: parsePattern(source), pointer: at });
    } catch (error) {
      if (!(error instanceof PatternProblem)) throw error;
      throw unsupportedSchema(at, `the pattern cannot be used, because ${error.message}.`);
    }
  };
  if (schema.pattern !== undefined) add(schema.pattern as string, child(pointer, 'pattern'));
  if (schema.format === undefined) return found;
  const known = stringFormat(schema.format as string, pointer);
  if (known !== undefined) add(known, child(pointer, 'format'));
  return found;
}

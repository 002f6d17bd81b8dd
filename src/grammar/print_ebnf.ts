/**
 * A grammar as the EBNF text that xgrammar 0.1.27 reads, in the forms that it handles well. The text may admit more than the grammar
 * (`automaton.ts` decides), never less. Measured with Qwen3's 151,669 tokens:
 * - Its character classes are byte classes in effect: a class with a code point past 0x7F is cut to its low byte in silence, and a
 *   negated class lets surrogates, overlong forms and values past U+10FFFF through (`[é-ê]`, `[^é]`, `[^"]`). So classes are
 *   written as ranges of UTF-8 bytes. One byte past 0x7F alone is written twice, because `[\xc3]` would be taken for the text "Ã".
 * - A character that is a rule of its own ends that rule with every character, and each token is then looked at again for every mask:
 *   160 ms. Written with what follows inside one right-recursive rule, a mask takes 0.15 ms.
 * - Each step of a counted repetition of wide characters takes 90 ms to compile, so they are repeated at will, and other counts above
 *   four are not written either.
 */
import type { CodeRange, Expression, Grammar } from './expression';
import { rulesIn } from './prune';
import { type ByteRange, utf8Ranges } from './utf8_ranges';

/** The largest count that a repetition without wide characters is written with. */
const maxCount = 4;

export function printEbnf(grammar: Grammar): string {
  return new Printer(grammar).text();
}

class Printer {
  readonly #grammar: Grammar;
  readonly #names = new Map<string, string>();
  /** Rules made here, by what they stand for. */
  readonly #made = new Map<string, string>();
  readonly #lines: string[] = [];

  constructor(grammar: Grammar) {
    this.#grammar = grammar;
    let count = 0;
    for (const name of grammar.rules.keys()) this.#names.set(name, name === grammar.root ? 'root' : `r${count++}`);
  }

  /** Of the rules that the text needs: what only an exact form uses would be compiled for nothing. */
  text(): string {
    const { rules, root } = this.#grammar;
    const needed = new Set([root]);
    for (const name of needed) {
      const expression = rules.get(name)!;
      this.#lines.push(`${this.#names.get(name)} ::= ${this.#before(expression, '')}`);
      for (const used of rulesIn(expression, 'loose')) needed.add(used); // a set grows while it is walked
    }
    return this.#lines.join('\n');
  }

  /** `expression` and then `rest`, which is text of one element or empty. */
  #before(expression: Expression, rest: string): string {
    if (!isWide(expression)) return joined(this.#narrow(expression), rest);
    switch (expression.kind) {
      case 'chars':
        return this.#chars(expression.ranges, rest);
      case 'choice':
        return `(${expression.options.map((option) => this.#before(option, rest)).join(' | ')})`;
      case 'sequence':
        return expression.parts.reduceRight((after, part) => this.#before(part, this.#element(after)), rest);
      case 'repeat':
        return this.#repeat(expression, rest);
      case 'narrow':
        return this.#before(expression.loose, rest);
      default:
        throw new Error(`${expression.kind} is never wide`);
    }
  }

  /** Any number of times, whatever the counts: so all strings that end alike share a rule. */
  #repeat({ of }: Extract<Expression, { kind: 'repeat' }>, rest: string): string {
    const key = `${JSON.stringify(of)}* ${rest}`;
    const known = this.#made.get(key);
    if (known) return known;
    const name = this.#newName(key);
    this.#lines.push(`${name} ::= ${rest || quoted('')} | ${this.#before(of, name)}`);
    return name;
  }

  /** Text without wide characters: it stands as it is. */
  #narrow(expression: Expression): string {
    switch (expression.kind) {
      case 'literal':
        return quoted(expression.text);
      case 'chars':
        return byteClass(utf8Ranges(expression.ranges).map(([byte]) => byte!));
      case 'rule':
        return this.#names.get(expression.name)!;
      case 'sequence':
        return `(${expression.parts.map((part) => this.#narrow(part)).join(' ') || quoted('')})`;
      case 'choice':
        return `(${expression.options.map((option) => this.#narrow(option)).join(' | ')})`;
      case 'repeat':
        return `${this.#narrow(expression.of)}${quantifier(expression.min, expression.max)}`;
      case 'narrow':
        return this.#narrow(expression.loose);
    }
  }

  #chars(ranges: readonly CodeRange[], rest: string): string {
    const after = this.#element(rest);
    const byTail = new Map<string, ByteRange[]>();
    for (const [first, ...others] of utf8Ranges(ranges)) {
      const tail = others.reduceRight((next, byte) => this.#element(joined(byteClass([byte]), next)), after);
      byTail.set(tail, [...(byTail.get(tail) ?? []), first!]);
    }
    return `(${[...byTail].map(([tail, bytes]) => joined(byteClass(bytes), tail)).join(' | ')})`;
  }

  /** One element that stands for `text`: itself where it is one, else a rule. */
  #element(text: string): string {
    if (/^(\w*|"(\\.|[^"\\])*")$/.test(text)) return text;
    const known = this.#made.get(text);
    if (known) return known;
    const name = this.#newName(text);
    this.#lines.push(`${name} ::= ${text}`);
    return name;
  }

  #newName(key: string): string {
    const name = `w${this.#made.size}`;
    this.#made.set(key, name);
    return name;
  }
}

/** Whether characters past ASCII are in it, other than by way of a rule. */
export function isWide(expression: Expression): boolean {
  switch (expression.kind) {
    case 'chars':
      return expression.ranges.some(([, high]) => high > 0x7f);
    case 'sequence':
      return expression.parts.some(isWide);
    case 'choice':
      return expression.options.some(isWide);
    case 'repeat':
      return isWide(expression.of);
    case 'narrow':
      return isWide(expression.loose);
    default:
      return false;
  }
}

const joined = (text: string, rest: string) => (rest === '' ? text : `${text} ${rest}`);

function quantifier(min: number, max: number): string {
  const from = Math.min(min, maxCount);
  if (max > maxCount) return from === 0 ? '*' : from === 1 ? '+' : `{${from},}`;
  return from === 0 && max === 1 ? '?' : `{${from},${max}}`;
}

function byteClass(ranges: readonly ByteRange[]): string {
  const parts = ranges.map(([low, high]) => {
    if (low === high) return low > 0x7f ? `${hex(low)}${hex(low)}` : hex(low);
    return `${hex(low)}-${hex(high)}`;
  });
  return `[${parts.join('')}]`;
}

const hex = (byte: number) => `\\x${byte.toString(16).padStart(2, '0')}`;

function quoted(text: string): string {
  let out = '';
  for (const character of text) {
    const code = character.codePointAt(0)!;
    if (character === '"' || character === '\\') out += `\\${character}`;
    else if (code >= 0x20 && code < 0x7f) out += character;
    else out += code > 0xffff ? `\\U${code.toString(16).padStart(8, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
  }
  return `"${out}"`;
}

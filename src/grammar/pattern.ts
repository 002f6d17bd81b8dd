/**
 * Regular expressions of JSON Schema (ECMA-262 with the u flag) as expressions over the characters of the value. What a context-free
 * grammar cannot say, or only at a cost without bound, is refused by name: lookaround, back references, word boundaries, anchors within.
 */
import {
  anyChar,
  type CodeRange,
  chars,
  choice,
  complement,
  type Expression,
  intersection,
  maxCodePoint,
  repeat,
  sequence,
} from './expression';

/** Why a pattern cannot be enforced; the caller knows where it stands. */
export class PatternProblem extends Error {}

const maxRepetitions = 1000;
const maxPatternLength = 2000;
const maxDepth = 64;

type Anchor = { kind: 'anchor'; at: 'start' | 'end' };
/** A group whose alternatives hold anchors; `hoisted` multiplies it out, so that every anchor stands in an alternative of its own. */
type Group = { kind: 'group'; alternatives: Alternative[] };
type Part = Expression | Anchor | Group;
/** One alternative: its parts in order. */
type Alternative = Part[];

/**
 * What the whole value must look like: a pattern matches anywhere, so without an anchor any characters may stand on that side.
 * @throws PatternProblem
 */
export function parsePattern(source: string): Expression {
  if (source.length > maxPatternLength) throw new PatternProblem(`it is longer than ${maxPatternLength} characters`);
  try {
    new RegExp(source, 'u');
  } catch (cause) {
    throw new PatternProblem(`it is no regular expression in Unicode mode (${(cause as Error).message})`);
  }
  return choice(...new Parser(source).alternatives().map(anchored));
}

const anything = repeat(chars(...anyChar), 0);

function anchored(parts: Alternative): Expression {
  const inner = [...parts];
  let start = false;
  let end = false;
  while (isAnchor(inner[0], 'start')) {
    inner.shift();
    start = true;
  }
  while (isAnchor(inner.at(-1), 'end')) {
    inner.pop();
    end = true;
  }
  if (inner.some((part) => part.kind === 'anchor')) throw new PatternProblem('^ or $ stands within it');
  return sequence(...(start ? [] : [anything]), ...(inner as Expression[]), ...(end ? [] : [anything]));
}

const isAnchor = (part: Part | undefined, at: Anchor['at']) => part?.kind === 'anchor' && part.at === at;

const digits: CodeRange[] = [[0x30, 0x39]];
const wordChars: CodeRange[] = [...digits, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]];
const spaces: CodeRange[] = [
  [9, 13],
  [32, 32],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const lineEnds: CodeRange[] = [
  [10, 10],
  [13, 13],
  [0x2028, 0x2029],
];
const controls: Record<string, number> = { t: 9, n: 10, v: 11, f: 12, r: 13 };

class Parser {
  readonly #text: string[];
  #at = 0;
  #depth = 0;

  constructor(source: string) {
    this.#text = Array.from(source);
  }

  /** Up to the end or to a closing parenthesis. The pattern is known to be well-formed. */
  alternatives(): Alternative[] {
    if (++this.#depth > maxDepth) throw new PatternProblem(`its groups are nested more than ${maxDepth} deep`);
    const found: Alternative[] = [[]];
    for (let next = this.#peek(); next !== undefined && next !== ')'; next = this.#peek()) {
      if (next === '|') {
        this.#at++;
        found.push([]);
      } else found.at(-1)!.push(...this.#term());
    }
    this.#depth--;
    return found.flatMap(hoisted);
  }

  /** One thing with its quantifier. */
  #term(): Part[] {
    const next = this.#text[this.#at++]!;
    if (next === '^') return [{ kind: 'anchor', at: 'start' }];
    if (next === '$') return [{ kind: 'anchor', at: 'end' }];
    if (next === '(') return this.#group();
    const ranges = next === '.' ? complement(lineEnds) : next === '[' ? this.#class() : this.#character(next);
    return [this.#quantified(chars(...ranges))];
  }

  #group(): Part[] {
    if (this.#peek() === '?') {
      this.#at++;
      const mark = this.#text[this.#at++]!;
      if (mark === '=' || mark === '!') throw new PatternProblem('it looks ahead');
      if (mark === '<' && /[=!]/.test(this.#peek()!)) throw new PatternProblem('it looks behind');
      if (mark === '<') while (this.#text[this.#at++] !== '>');
      else if (mark !== ':') throw new PatternProblem('it sets flags');
    }
    const inner = this.alternatives();
    this.#at++; // the closing parenthesis
    if (!inner.some((parts) => parts.some((part) => part.kind === 'anchor'))) {
      return [this.#quantified(choice(...inner.map((parts) => sequence(...(parts as Expression[])))))];
    }
    if (/[*+?{]/.test(this.#peek() ?? '')) throw new PatternProblem('a repeated group holds ^ or $');
    return [{ kind: 'group', alternatives: inner }];
  }

  #quantified(of: Expression): Expression {
    const bounds = this.#bounds();
    if (!bounds) return of;
    if (this.#peek() === '?') this.#at++; // lazy: the same texts
    const [min, max] = bounds;
    if (min > maxRepetitions || (max !== Number.POSITIVE_INFINITY && max > maxRepetitions)) {
      throw new PatternProblem(`it repeats something more than ${maxRepetitions} times`);
    }
    return repeat(of, min, max);
  }

  #bounds(): [number, number] | undefined {
    const next = this.#peek();
    const simple: Record<string, [number, number]> = {
      '*': [0, Number.POSITIVE_INFINITY],
      '+': [1, Number.POSITIVE_INFINITY],
      '?': [0, 1],
    };
    if (next !== undefined && next in simple) {
      this.#at++;
      return simple[next];
    }
    if (next !== '{') return undefined;
    const end = this.#text.indexOf('}', this.#at);
    const [min, max] = this.#text
      .slice(this.#at + 1, end)
      .join('')
      .split(',');
    this.#at = end + 1;
    return [Number(min), max === undefined ? Number(min) : max === '' ? Number.POSITIVE_INFINITY : Number(max)];
  }

  #character(next: string): CodeRange[] {
    return next === '\\' ? this.#escape(false) : single(next);
  }

  #escape(inClass: boolean): CodeRange[] {
    const next = this.#text[this.#at++]!;
    const sets: Record<string, CodeRange[]> = { d: digits, w: wordChars, s: spaces };
    const set = sets[next.toLowerCase()];
    if (set) return next in sets ? set : complement(set);
    if (next in controls) return one(controls[next]!);
    if (next === 'b' && inClass) return one(8);
    if (next === 'b' || next === 'B') throw new PatternProblem('it asks for a word boundary');
    if (next === '0') return one(0);
    if (/[1-9k]/.test(next)) throw new PatternProblem('it refers back to a group');
    if (next === 'c') return one(this.#text[this.#at++]!.codePointAt(0)! % 32);
    if (next === 'x') return one(this.#hex(2));
    if (next === 'u') return one(this.#unicode());
    if (next === 'p' || next === 'P') return this.#property(next);
    return single(next);
  }

  #hex(length: number): number {
    const value = Number.parseInt(this.#text.slice(this.#at, this.#at + length).join(''), 16);
    this.#at += length;
    return value;
  }

  #unicode(): number {
    if (this.#peek() === '{') {
      const end = this.#text.indexOf('}', this.#at);
      const value = Number.parseInt(this.#text.slice(this.#at + 1, end).join(''), 16);
      this.#at = end + 1;
      return value;
    }
    const first = this.#hex(4);
    if (first < 0xd800 || first > 0xdbff || this.#text.slice(this.#at, this.#at + 2).join('') !== '\\u') return first;
    const back = this.#at;
    this.#at += 2;
    const second = this.#hex(4);
    if (second >= 0xdc00 && second <= 0xdfff) return 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    this.#at = back;
    return first;
  }

  #property(kind: string): CodeRange[] {
    const end = this.#text.indexOf('}', this.#at);
    const name = this.#text.slice(this.#at, end + 1).join('');
    this.#at = end + 1;
    return propertyRanges(`\\${kind}${name}`);
  }

  #class(): CodeRange[] {
    const negated = this.#peek() === '^';
    if (negated) this.#at++;
    const ranges: CodeRange[] = [];
    while (this.#peek() !== ']') {
      const low = this.#classPart();
      if (this.#peek() === '-' && this.#text[this.#at + 1] !== ']') {
        this.#at++;
        ranges.push([low[0]![0], this.#classPart()[0]![0]]);
      } else ranges.push(...low);
    }
    this.#at++;
    return negated ? complement(ranges) : intersection(ranges, anyChar);
  }

  #classPart(): CodeRange[] {
    const next = this.#text[this.#at++]!;
    return next === '\\' ? this.#escape(true) : single(next);
  }

  #peek(): string | undefined {
    return this.#text[this.#at];
  }
}

function hoisted(parts: Alternative): Alternative[] {
  const at = parts.findIndex((part) => part.kind === 'group');
  if (at < 0) return [parts];
  const { alternatives } = parts[at] as Group;
  return alternatives.flatMap((inner) => hoisted([...parts.slice(0, at), ...inner, ...parts.slice(at + 1)]));
}

const one = (code: number): CodeRange[] => [[code, code]];
const single = (character: string) => one(character.codePointAt(0)!);

const properties = new Map<string, CodeRange[]>();

/** The engine's own tables, read by asking about every character: about 50 ms for each property, once. */
function propertyRanges(matched: string): CodeRange[] {
  const known = properties.get(matched);
  if (known) return known;
  const matcher = new RegExp(matched, 'u');
  const ranges: [number, number][] = [];
  for (let code = 0; code <= maxCodePoint; code++) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    if (!matcher.test(String.fromCodePoint(code))) continue;
    const last = ranges.at(-1);
    if (last && last[1] === code - 1) last[1] = code;
    else ranges.push([code, code]);
  }
  properties.set(matched, ranges);
  return ranges;
}

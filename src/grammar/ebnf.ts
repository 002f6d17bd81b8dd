/**
 * EBNF text to a grammar, in the dialect that xgrammar and llama.cpp share: `name ::= …`, "text", [classes], ( ), |, ?, *, +, {m,n}, # to
 * the end of the line. The text is never given to xgrammar as it is: that aborts on a mistake and reads classes past ASCII
 * wrongly (`print_ebnf.ts`).
 */
import { EngineError } from '../errors';
import {
  type CodeRange,
  chars,
  choice,
  complement,
  type Expression,
  type Grammar,
  literal,
  repeat,
  rule,
  sequence,
} from './expression';
import { prune } from './prune';

const maxLength = 1 << 18;
const maxDepth = 200;
const maxRepetitions = 4096;

/** @throws EngineError 'invalid-request' with line and column */
export function parseEbnf(text: string, root = 'root'): Grammar {
  if (text.length > maxLength) throw new EngineError('invalid-request', `it is longer than ${maxLength} characters.`);
  const rules = new EbnfParser(text).rules();
  if (!rules.has(root)) throw new EngineError('invalid-request', `there is no rule '${root}', where every reply begins. Add it.`);
  const grammar = prune({ rules, root });
  if (!grammar) throw new EngineError('invalid-request', `no finite text matches '${root}'. Give every recursion a way out.`);
  return grammar;
}

class EbnfParser {
  readonly #text: string;
  readonly #rules = new Map<string, Expression>();
  /** Where each rule is used first. */
  readonly #used = new Map<string, number>();
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  rules(): Map<string, Expression> {
    for (this.#skip(true); this.#at < this.#text.length; this.#skip(true)) {
      const start = this.#at;
      const name = this.#name();
      this.#skip(true);
      if (!this.#takes('::=')) throw this.#problem('"::=" must follow the name of a rule');
      if (this.#rules.has(name)) throw this.#problem(`the rule '${name}' is defined twice`, start);
      this.#rules.set(name, this.#choice());
    }
    for (const [name, at] of this.#used) if (!this.#rules.has(name)) throw this.#problem(`there is no rule '${name}'`, at);
    return this.#rules;
  }

  #choice(): Expression {
    if (++this.#depth > maxDepth) throw this.#problem(`groups are nested more than ${maxDepth} deep`);
    const options = [this.#sequence()];
    while (this.#takes('|')) options.push(this.#sequence());
    this.#depth--;
    return choice(...options);
  }

  #sequence(): Expression {
    const parts: Expression[] = [];
    for (this.#skip(true); !this.#endsSequence(); this.#skip(true)) parts.push(this.#quantified(this.#element()));
    return sequence(...parts);
  }

  #endsSequence(): boolean {
    const next = this.#text[this.#at];
    if (next === undefined || next === '|' || next === ')') return true;
    return /^[A-Za-z_][\w.-]*\s*::=/.test(this.#text.slice(this.#at, this.#at + 500)); // the next rule begins
  }

  #element(): Expression {
    const start = this.#at;
    const next = this.#text[this.#at];
    if (next === '"') return this.#literal();
    if (next === '[') return this.#class();
    if (next !== '(') {
      const name = this.#name();
      if (!this.#used.has(name)) this.#used.set(name, start);
      return rule(name);
    }
    this.#at++;
    if (this.#text[this.#at] === '=') throw this.#problem('lookahead is not supported');
    const inner = this.#choice();
    if (!this.#takes(')')) throw this.#problem('this parenthesis is not closed', start);
    return inner;
  }

  #quantified(of: Expression): Expression {
    let result = of;
    for (;;) {
      if (this.#takes('*')) result = repeat(result, 0);
      else if (this.#takes('+')) result = repeat(result, 1);
      else if (this.#takes('?')) result = repeat(result, 0, 1);
      else if (this.#text[this.#at] === '{') result = repeat(result, ...this.#bounds());
      else return result;
    }
  }

  #bounds(): [number, number] {
    const match = /^\{\s*(\d+)\s*(?:(,)\s*(\d+)?\s*)?\}/.exec(this.#text.slice(this.#at, this.#at + 100));
    if (!match) throw this.#problem('repetitions are written {m}, {m,} or {m,n}');
    const [whole, from, comma, to] = match;
    const min = Number(from);
    const max = comma === undefined ? min : to === undefined ? Number.POSITIVE_INFINITY : Number(to);
    if (max < min) throw this.#problem('the lower bound of the repetition is above the upper one');
    if (min > maxRepetitions || (max !== Number.POSITIVE_INFINITY && max > maxRepetitions))
      throw this.#problem(`nothing can be repeated more than ${maxRepetitions} times`);
    this.#at += whole.length;
    return [min, max];
  }

  #literal(): Expression {
    const start = this.#at++;
    let text = '';
    while (this.#text[this.#at] !== '"') {
      if (this.#text[this.#at] === undefined || this.#text[this.#at] === '\n')
        throw this.#problem('this text is not closed', start);
      text += String.fromCodePoint(this.#character());
    }
    this.#at++;
    if (/\p{Surrogate}/u.test(text)) throw this.#problem('half of a surrogate pair is no character', start);
    return literal(text);
  }

  #class(): Expression {
    const start = this.#at++;
    const negated = this.#takes('^');
    const ranges: CodeRange[] = [];
    while (this.#text[this.#at] !== ']') {
      if (this.#text[this.#at] === undefined || this.#text[this.#at] === '\n')
        throw this.#problem('this class is not closed', start);
      const low = this.#character();
      let high = low;
      if (this.#text[this.#at] === '-' && this.#text[this.#at + 1] !== ']') {
        this.#at++;
        high = this.#character();
      }
      if (high < low) throw this.#problem('a range of this class ends before it begins', start);
      ranges.push([low, high]);
    }
    this.#at++;
    const result = negated ? chars(...complement(ranges)) : chars(...ranges);
    if (result.kind === 'chars' && result.ranges.length === 0) throw this.#problem('no character is in this class', start);
    return result;
  }

  /** One character, escaped or not. */
  #character(): number {
    const start = this.#at;
    const code = this.#text.codePointAt(this.#at)!;
    this.#at += code > 0xffff ? 2 : 1;
    if (code !== 0x5c) return code;
    const next = this.#text[this.#at++] ?? '';
    const digits = { x: 2, u: 4, U: 8 }[next];
    if (digits !== undefined) {
      const hex = this.#text.slice(this.#at, this.#at + digits);
      const value = Number.parseInt(hex, 16);
      if (hex.length !== digits || !/^[0-9a-fA-F]+$/.test(hex) || value > 0x10ffff)
        throw this.#problem(`\\${next} needs ${digits} hexadecimal digits of a character`, start);
      this.#at += digits;
      return value;
    }
    const named: Record<string, number> = { n: 10, r: 13, t: 9, b: 8, f: 12, v: 11, '0': 0, a: 7, e: 27 };
    if (Object.hasOwn(named, next)) return named[next]!;
    if (/^[^A-Za-z0-9\s]$/.test(next)) return next.codePointAt(0)!;
    throw this.#problem(`the escape \\${next} is not known`, start);
  }

  #name(): string {
    const match = /^[A-Za-z_][\w.-]*/.exec(this.#text.slice(this.#at, this.#at + 300));
    if (!match) throw this.#problem(`a rule, "text", a [class] or a group must stand here`);
    this.#at += match[0].length;
    return match[0];
  }

  #takes(token: string): boolean {
    this.#skip(false);
    if (!this.#text.startsWith(token, this.#at)) return false;
    this.#at += token.length;
    return true;
  }

  /** Blanks and comments; line ends too where `lines`. */
  #skip(lines: boolean): void {
    const pattern = lines ? /(?:\s|#[^\n]*)*/y : /[ \t]*/y;
    pattern.lastIndex = this.#at;
    this.#at += pattern.exec(this.#text)![0].length;
  }

  #problem(what: string, at = this.#at): EngineError {
    const before = this.#text.slice(0, at).split('\n');
    return new EngineError('invalid-request', `line ${before.length}, column ${before.at(-1)!.length + 1}: ${what}.`);
  }
}

/**
 * Regular languages over characters, for what a string must satisfy at once: a pattern and a length, two patterns. Expressions
 * without rules become deterministic automata, automata are intersected, and the result becomes right-recursive rules.
 */
import { type CodeRange, chars, choice, type Expression, normalised, rule, sequence } from './expression';

type NfaNode = { steps: { ranges: readonly CodeRange[]; to: number }[]; jumps: number[] };

/** State 0 is the start. Ranges that leave a state are apart from each other. */
export type Language = { states: { steps: { range: CodeRange; to: number }[]; accepts: boolean }[] };

/** Thrown where an automaton would need more states than are worth compiling. */
export class LanguageTooLarge extends Error {}
const maxStates = 4000;
const maxNfaNodes = 40_000;

/** @throws LanguageTooLarge */
export function languageOf(expression: Expression): Language {
  const nodes: NfaNode[] = [{ steps: [], jumps: [] }];
  const end = addNode(nodes);
  build(nodes, expression, 0, end);
  return determinise(nodes, end);
}

/** Every text of `min` to `max` characters. */
export function lengthLanguage(ranges: readonly CodeRange[], min: number, max: number): Language {
  const last = max === Number.POSITIVE_INFINITY ? min : max;
  if (last > maxStates) throw new LanguageTooLarge();
  return {
    states: Array.from({ length: last + 1 }, (_, length) => {
      const to = length < last ? length + 1 : max === Number.POSITIVE_INFINITY ? length : undefined;
      return { steps: to === undefined ? [] : ranges.map((range) => ({ range, to })), accepts: length >= min };
    }),
  };
}

/** @throws LanguageTooLarge */
export function intersect(a: Language, b: Language): Language {
  const ids = new Map<number, number>();
  const pairs: [number, number][] = [];
  const idOf = (i: number, j: number): number => {
    const key = i * b.states.length + j;
    const known = ids.get(key);
    if (known !== undefined) return known;
    if (pairs.length >= maxStates) throw new LanguageTooLarge();
    ids.set(key, pairs.length);
    return pairs.push([i, j]) - 1;
  };
  idOf(0, 0);
  const states: Language['states'] = [];
  for (let id = 0; id < pairs.length; id++) {
    const [i, j] = pairs[id]!;
    const steps: Language['states'][number]['steps'] = [];
    for (const x of a.states[i]!.steps) {
      for (const y of b.states[j]!.steps) {
        const low = Math.max(x.range[0], y.range[0]);
        const high = Math.min(x.range[1], y.range[1]);
        if (low <= high) steps.push({ range: [low, high], to: idOf(x.to, y.to) });
      }
    }
    states.push({ steps, accepts: a.states[i]!.accepts && b.states[j]!.accepts });
  }
  return { states };
}

/**
 * One rule for each state, followed by `end`. `name(i)` names the rule of state i; `encode` says how characters are written.
 * Returns the rules; the first is the whole language.
 */
export function languageRules(
  language: Language,
  name: (state: number) => string,
  encode: (chars: Expression) => Expression,
  end: Expression,
): [string, Expression][] {
  return minimised(language).states.map(({ steps, accepts }, id) => {
    const byTarget = new Map<number, CodeRange[]>();
    for (const { range, to } of steps) byTarget.set(to, [...(byTarget.get(to) ?? []), range]);
    const options = [...byTarget].map(([to, ranges]) => sequence(encode(chars(...ranges)), rule(name(to))));
    if (accepts) options.push(end);
    return [name(id), choice(...options)];
  });
}

/** Of more states the round for round comparison, which may need as many rounds, takes longer than what it saves. */
const maxMinimised = 500;

/** The same texts in as few states as can be (Moore): states that accept alike and whose steps lead to states that are alike are one. */
function minimised(language: Language): Language {
  const { states } = language;
  if (states.length > maxMinimised) return language;
  const table = targetTable(states);
  let classes = states.map(({ accepts }) => Number(accepts));
  for (let count = 0; ; ) {
    const ids = new Map<string, number>();
    classes = table.map((targets, id) => {
      let key = `${classes[id]}`;
      for (const to of targets) key += to < 0 ? ',' : `,${classes[to]}`;
      if (!ids.has(key)) ids.set(key, ids.size);
      return ids.get(key)!;
    });
    if (ids.size === count) break;
    count = ids.size;
  }
  const first = [...new Set(classes)].map((id) => states[classes.indexOf(id)]!);
  return {
    states: first.map(({ steps, accepts }) => ({
      steps: joined(steps.map(({ range, to }) => ({ range, to: classes[to]! }))),
      accepts,
    })),
  };
}

/** By state: where each piece leads into which all ranges together cut the characters; -1 where nothing does. */
function targetTable(states: Language['states']): number[][] {
  const cuts = new Set<number>();
  for (const { steps } of states) for (const { range } of steps) cuts.add(range[0]).add(range[1] + 1);
  const sorted = [...cuts].sort((a, b) => a - b);
  const at = new Map(sorted.map((cut, i) => [cut, i]));
  return states.map(({ steps }) => {
    const targets = new Array<number>(sorted.length).fill(-1);
    for (const { range, to } of steps) targets.fill(to, at.get(range[0])!, at.get(range[1] + 1)!);
    return targets;
  });
}

function addNode(nodes: NfaNode[]): number {
  if (nodes.length >= maxNfaNodes) throw new LanguageTooLarge();
  return nodes.push({ steps: [], jumps: [] }) - 1;
}

function build(nodes: NfaNode[], expression: Expression, from: number, to: number): void {
  switch (expression.kind) {
    case 'chars':
      nodes[from]!.steps.push({ ranges: expression.ranges, to });
      return;
    case 'literal': {
      const parts = Array.from(expression.text, (c): Expression => chars([c.codePointAt(0)!, c.codePointAt(0)!]));
      build(nodes, { kind: 'sequence', parts }, from, to);
      return;
    }
    case 'choice':
      for (const option of expression.options) build(nodes, option, from, to);
      return;
    case 'sequence': {
      let at = from;
      for (const part of expression.parts) {
        const next = addNode(nodes);
        build(nodes, part, at, next);
        at = next;
      }
      nodes[at]!.jumps.push(to);
      return;
    }
    case 'repeat':
      buildRepeat(nodes, expression, from, to);
      return;
    case 'narrow':
      build(nodes, expression.exact, from, to);
      return;
    case 'rule':
      throw new Error(`a language cannot hold the rule ${expression.name}`);
  }
}

function buildRepeat(
  nodes: NfaNode[],
  { of, min, max }: Extract<Expression, { kind: 'repeat' }>,
  from: number,
  to: number,
): void {
  let at = from;
  const once = () => {
    const next = addNode(nodes);
    build(nodes, of, at, next);
    at = next;
  };
  for (let i = 0; i < min; i++) once();
  if (max === Number.POSITIVE_INFINITY) {
    const loop = addNode(nodes);
    nodes[at]!.jumps.push(loop);
    build(nodes, of, loop, loop);
    at = loop;
  } else {
    for (let i = min; i < max; i++) {
      nodes[at]!.jumps.push(to);
      once();
    }
  }
  nodes[at]!.jumps.push(to);
}

/** The subset construction, over the pieces that the ranges of a subset cut the characters into. */
function determinise(nodes: readonly NfaNode[], end: number): Language {
  const ids = new Map<string, number>();
  const sets: number[][] = [];
  const idOf = (set: readonly number[]): number => {
    const closed = closure(nodes, set);
    const key = closed.join(',');
    const known = ids.get(key);
    if (known !== undefined) return known;
    if (sets.length >= maxStates) throw new LanguageTooLarge();
    ids.set(key, sets.length);
    return sets.push(closed) - 1;
  };
  idOf([0]);
  const states: Language['states'] = [];
  for (let id = 0; id < sets.length; id++) {
    const steps = sets[id]!.flatMap((node) => nodes[node]!.steps);
    const merged = pieces(steps).map(({ range, targets }) => ({ range, to: idOf(targets) }));
    states.push({ steps: joined(merged), accepts: sets[id]!.includes(end) });
  }
  return { states };
}

function closure(nodes: readonly NfaNode[], set: readonly number[]): number[] {
  const found = new Set(set);
  for (const node of found) for (const to of nodes[node]!.jumps) found.add(to); // a set grows while it is walked
  return [...found].sort((a, b) => a - b);
}

type Piece = { range: CodeRange; targets: number[] };

function pieces(steps: NfaNode['steps']): Piece[] {
  const cuts = new Set<number>();
  for (const { ranges } of steps) for (const [low, high] of ranges) cuts.add(low).add(high + 1);
  const sorted = [...cuts].sort((a, b) => a - b);
  const found: Piece[] = [];
  for (let i = 0; i + 1 < sorted.length; i++) {
    const low = sorted[i]!;
    const targets = steps.filter(({ ranges }) => ranges.some(([from, to]) => low >= from && low <= to)).map(({ to }) => to);
    if (targets.length > 0) found.push({ range: [low, sorted[i + 1]! - 1], targets });
  }
  return found;
}

/** Neighbouring ranges with one target as one. */
function joined(steps: { range: CodeRange; to: number }[]): { range: CodeRange; to: number }[] {
  const byTarget = new Map<number, CodeRange[]>();
  for (const { range, to } of steps) byTarget.set(to, [...(byTarget.get(to) ?? []), range]);
  return [...byTarget].flatMap(([to, ranges]) => normalised(ranges).map((range) => ({ range, to })));
}

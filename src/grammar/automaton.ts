/**
 * The grammar as a recursive transition network over bytes. xgrammar says which tokens may come next but not how far the end is; this
 * follows the same text beside it and knows the fewest bytes that complete it, and which ones. One pass per byte of a reply, so
 * it is plain and small where xgrammar is fast.
 */
import { EngineError } from '../errors';
import type { Expression, Grammar } from './expression';

import { type ByteRange, utf8Ranges } from './utf8_ranges';

type Step = { bytes: ByteRange; to: number };
type Call = { rule: number; to: number };
type Node = { steps: Step[]; calls: Call[]; jumps: number[]; isEnd: boolean };

const maxNodes = 400_000;
/** Ways to read the same text at once. Schemas stay under twenty; a grammar that needs more is ambiguous without bound. */
const maxThreads = 4096;

export class Automaton {
  readonly nodes: Node[] = [];
  readonly starts: number[] = [];
  readonly root: number;
  /** Fewest bytes from a node to the end of its rule. */
  readonly distance: Float64Array;
  readonly #ids = new Map<string, number>();
  /** Characters of several bytes are rules of their own, so that `{0,1000}` of one stays small. */
  readonly #charRules = new Map<string, number>();

  /** @throws EngineError 'limit' where it grows too large, 'invalid-request' where a rule begins with itself */
  constructor(grammar: Grammar) {
    refuseLeftRecursion(grammar);
    for (const name of grammar.rules.keys()) this.#ids.set(name, this.#newRule());
    for (const [name, expression] of grammar.rules) this.#define(this.#ids.get(name)!, expression);
    this.root = this.#ids.get(grammar.root)!;
    this.distance = distances(this.nodes, this.starts);
  }

  #newRule(): number {
    return this.starts.push(this.#newNode()) - 1;
  }

  #newNode(): number {
    if (this.nodes.length >= maxNodes)
      throw new EngineError('limit', 'The grammar is too large. Use smaller bounds for repetitions and lengths, or fewer rules.');
    return this.nodes.push({ steps: [], calls: [], jumps: [], isEnd: false }) - 1;
  }

  #define(rule: number, expression: Expression): void {
    const end = this.#newNode();
    this.nodes[end]!.isEnd = true;
    this.#build(expression, this.starts[rule]!, end);
  }

  #build(expression: Expression, from: number, to: number): void {
    switch (expression.kind) {
      case 'literal':
        this.#bytes(
          Array.from(utf8.encode(expression.text), (byte): ByteRange => [byte, byte]),
          from,
          to,
        );
        return;
      case 'chars':
        this.#chars(expression, from, to);
        return;
      case 'rule':
        this.nodes[from]!.calls.push({ rule: this.#ids.get(expression.name)!, to });
        return;
      case 'choice':
        for (const option of expression.options) this.#build(option, from, to);
        return;
      case 'narrow':
        this.#build(expression.exact, from, to);
        return;
      case 'sequence':
        this.#chain(expression.parts, from, to);
        return;
      case 'repeat':
        this.#repeat(expression, from, to);
        return;
    }
  }

  #chain(parts: readonly Expression[], from: number, to: number): void {
    if (parts.length === 0) this.nodes[from]!.jumps.push(to);
    let at = from;
    for (const [i, part] of parts.entries()) {
      const next = i === parts.length - 1 ? to : this.#newNode();
      this.#build(part, at, next);
      at = next;
    }
  }

  #bytes(bytes: readonly ByteRange[], from: number, to: number): void {
    if (bytes.length === 0) this.nodes[from]!.jumps.push(to);
    let at = from;
    for (const [i, byte] of bytes.entries()) {
      const next = i === bytes.length - 1 ? to : this.#newNode();
      this.nodes[at]!.steps.push({ bytes: byte, to: next });
      at = next;
    }
  }

  #chars({ ranges }: Extract<Expression, { kind: 'chars' }>, from: number, to: number): void {
    if (ranges.every(([, high]) => high <= 0x7f)) {
      for (const range of ranges) this.nodes[from]!.steps.push({ bytes: range, to });
      return;
    }
    const key = ranges.join(';');
    let rule = this.#charRules.get(key);
    if (rule === undefined) {
      rule = this.#newRule();
      this.#charRules.set(key, rule);
      const end = this.#newNode();
      this.nodes[end]!.isEnd = true;
      for (const bytes of utf8Ranges(ranges)) this.#bytes(bytes, this.starts[rule]!, end);
    }
    this.nodes[from]!.calls.push({ rule, to });
  }

  #repeat({ of, min, max }: Extract<Expression, { kind: 'repeat' }>, from: number, to: number): void {
    let at = from;
    for (let i = 0; i < min; i++) {
      const next = this.#newNode();
      this.#build(of, at, next);
      at = next;
    }
    if (max === Number.POSITIVE_INFINITY) {
      const loop = this.#newNode(); // its own, so that nothing else that leaves `at` is repeated
      this.nodes[at]!.jumps.push(loop);
      this.#build(of, loop, loop);
      this.nodes[loop]!.jumps.push(to);
      return;
    }
    for (let i = min; i < max; i++) {
      this.nodes[at]!.jumps.push(to);
      const next = this.#newNode();
      this.#build(of, at, next);
      at = next;
    }
    this.nodes[at]!.jumps.push(to);
  }
}

const utf8 = new TextEncoder();

/** Where reading goes on once the rules that are open have ended. */
class Frame {
  readonly #callers = new Map<number, Frame>();
  constructor(
    readonly to: number,
    readonly parent: Frame | undefined,
    /** Fewest bytes from here to the end of the text. */
    readonly cost: number,
    readonly id: number,
  ) {}

  /** The one frame for this return address, so that equal states are the same object. */
  child(to: number, distance: number, nextId: () => number): Frame {
    let frame = this.#callers.get(to);
    if (!frame) {
      frame = new Frame(to, this, this.cost + distance, nextId());
      this.#callers.set(to, frame);
    }
    return frame;
  }
}

type Thread = { node: number; frame: Frame };

/** What the positions of one text share: frame numbers, and the positions met lately, so that a loop comes back to the same object. */
type Shared = { automaton: Automaton; frames: number; known: Map<string, Position> };
const maxKnown = 20_000;

/** How far one text has come: every way to read it so far. Immutable, apart from remembering what follows. */
export class Position {
  readonly #next = new Map<number, Position | undefined>();

  private constructor(
    private readonly shared: Shared,
    /** At nodes where a byte can be read. */
    private readonly threads: readonly Thread[],
    /** The text may end here. */
    readonly isComplete: boolean,
  ) {}

  static start(automaton: Automaton): Position {
    const bottom = new Frame(-1, undefined, 0, 0);
    const shared = { automaton, frames: 1, known: new Map() };
    return Position.close(shared, [{ node: automaton.starts[automaton.root]!, frame: bottom }]);
  }

  /** The position after `bytes`; undefined if the grammar does not admit them. @throws EngineError 'limit' */
  read(bytes: Uint8Array): Position | undefined {
    let position: Position | undefined = this;
    for (const byte of bytes) {
      position = position.readByte(byte);
      if (!position) return undefined;
    }
    return position;
  }

  /** No byte can follow. */
  get isFinal(): boolean {
    return this.isComplete && this.threads.length === 0;
  }

  /** Fewest bytes that complete the text. */
  get bytesToClose(): number {
    if (this.isComplete) return 0;
    return this.threads.reduce((least, thread) => Math.min(least, this.#cost(thread)), Number.POSITIVE_INFINITY);
  }

  /** The bytes themselves. */
  closing(): Uint8Array {
    const bytes: number[] = [];
    let position: Position = this;
    while (!position.isComplete) {
      const byte = position.#nearestByte();
      bytes.push(byte);
      position = position.readByte(byte)!;
    }
    return Uint8Array.from(bytes);
  }

  #cost({ node, frame }: Thread): number {
    return this.shared.automaton.distance[node]! + frame.cost;
  }

  #nearestByte(): number {
    const { nodes, distance } = this.shared.automaton;
    let best: { cost: number; byte: number } | undefined;
    for (const { node, frame } of this.threads) {
      for (const { bytes, to } of nodes[node]!.steps) {
        const cost = distance[to]! + frame.cost;
        if (!best || cost < best.cost) best = { cost, byte: bytes[0] };
      }
    }
    return best!.byte;
  }

  /** The position after one byte; undefined if the grammar does not admit it. @throws EngineError 'limit' */
  readByte(byte: number): Position | undefined {
    const known = this.#next.get(byte);
    if (known || this.#next.has(byte)) return known;
    const { nodes } = this.shared.automaton;
    const threads: Thread[] = [];
    for (const { node, frame } of this.threads) {
      for (const { bytes, to } of nodes[node]!.steps) {
        if (byte >= bytes[0] && byte <= bytes[1]) threads.push({ node: to, frame });
      }
    }
    const next = threads.length === 0 ? undefined : Position.close(this.shared, threads);
    this.#next.set(byte, next);
    return next;
  }

  /** Follows calls, returns and jumps until every way stands before a byte. */
  private static close(shared: Shared, threads: readonly Thread[]): Position {
    const { nodes, starts, distance } = shared.automaton;
    const nextId = () => shared.frames++;
    const seen = new Set<number>();
    const ready: Thread[] = [];
    const pending: Thread[] = [];
    let isComplete = false;
    const visit = (node: number, frame: Frame) => {
      const key = frame.id * nodes.length + node;
      if (seen.has(key)) return;
      seen.add(key);
      pending.push({ node, frame });
    };
    for (const { node, frame } of threads) visit(node, frame);
    while (pending.length > 0) {
      if (seen.size > maxThreads) throw ambiguous();
      const thread = pending.pop()!;
      const { node, frame } = thread;
      const { steps, calls, jumps, isEnd } = nodes[node]!;
      if (steps.length > 0) ready.push(thread);
      for (const to of jumps) visit(to, frame);
      for (const { rule, to } of calls) {
        // A call that is the last thing of its rule needs no way back: right recursion then runs in constant space.
        visit(starts[rule]!, isOnlyEnd(nodes[to]!) ? frame : frame.child(to, distance[to]!, nextId));
      }
      if (!isEnd) continue;
      if (frame.parent) visit(frame.to, frame.parent);
      else isComplete = true;
    }
    return Position.known(shared, ready, isComplete);
  }

  private static known(shared: Shared, threads: readonly Thread[], isComplete: boolean): Position {
    const key = `${isComplete}${threads.map(({ node, frame }) => `${frame.id}.${node}`).sort()}`;
    const found = shared.known.get(key);
    if (found) return found;
    if (shared.known.size >= maxKnown) shared.known.clear();
    const position = new Position(shared, threads, isComplete);
    shared.known.set(key, position);
    return position;
  }
}

function isOnlyEnd({ isEnd, steps, calls, jumps }: Node): boolean {
  return isEnd && steps.length === 0 && calls.length === 0 && jumps.length === 0;
}

function ambiguous(): EngineError {
  return new EngineError(
    'limit',
    'The grammar can be read in too many ways at once. Make its alternatives begin differently, or bound its repetitions.',
  );
}

/** Knuth's shortest derivations by relaxation: a node's distance changes until no edge improves it. */
function distances(nodes: readonly Node[], starts: readonly number[]): Float64Array {
  const distance = new Float64Array(nodes.length).fill(Number.POSITIVE_INFINITY);
  const users = Array.from(nodes, (): number[] => []);
  const ruleOf = new Map(starts.map((node, rule) => [node, rule]));
  const callers = Array.from(starts, (): number[] => []);
  for (const [id, { steps, calls, jumps }] of nodes.entries()) {
    for (const { to } of steps) users[to]!.push(id);
    for (const to of jumps) users[to]!.push(id);
    for (const { rule, to } of calls) {
      users[to]!.push(id);
      callers[rule]!.push(id);
    }
  }
  const least = ({ steps, calls, jumps, isEnd }: Node): number => {
    let found = isEnd ? 0 : Number.POSITIVE_INFINITY;
    for (const { to } of steps) found = Math.min(found, 1 + distance[to]!);
    for (const to of jumps) found = Math.min(found, distance[to]!);
    for (const { rule, to } of calls) found = Math.min(found, distance[starts[rule]!]! + distance[to]!);
    return found;
  };
  let pending = nodes.flatMap(({ isEnd }, id) => (isEnd ? [id] : []));
  while (pending.length > 0) {
    const next = new Set<number>();
    for (const id of pending) {
      const found = least(nodes[id]!);
      if (found >= distance[id]!) continue;
      distance[id] = found;
      for (const user of users[id]!) next.add(user);
      const rule = ruleOf.get(id);
      if (rule !== undefined) for (const caller of callers[rule]!) next.add(caller);
    }
    pending = [...next];
  }
  return distance;
}

/** @throws EngineError 'invalid-request' */
function refuseLeftRecursion({ rules }: Grammar): void {
  const nullable = nullableRules(rules);
  const done = new Set<string>();
  const path = new Set<string>();
  const walk = (name: string): void => {
    if (done.has(name)) return;
    if (path.has(name)) {
      throw new EngineError(
        'invalid-request',
        `Rule '${name}' can begin with itself. Write the repetition with *, or with the rule at the end.`,
      );
    }
    path.add(name);
    for (const first of leading(rules.get(name)!, nullable)) walk(first);
    path.delete(name);
    done.add(name);
  };
  for (const name of rules.keys()) walk(name);
}

function nullableRules(rules: ReadonlyMap<string, Expression>): Set<string> {
  const nullable = new Set<string>();
  for (let size = -1; size !== nullable.size; ) {
    size = nullable.size;
    for (const [name, expression] of rules) if (isNullable(expression, nullable)) nullable.add(name);
  }
  return nullable;
}

function isNullable(expression: Expression, nullable: ReadonlySet<string>): boolean {
  switch (expression.kind) {
    case 'literal':
      return expression.text === '';
    case 'chars':
      return false;
    case 'rule':
      return nullable.has(expression.name);
    case 'sequence':
      return expression.parts.every((part) => isNullable(part, nullable));
    case 'choice':
      return expression.options.some((option) => isNullable(option, nullable));
    case 'repeat':
      return expression.min === 0 || isNullable(expression.of, nullable);
    case 'narrow':
      return isNullable(expression.exact, nullable);
  }
}

/** Rules that can stand before the first byte. */
function leading(expression: Expression, nullable: ReadonlySet<string>): string[] {
  switch (expression.kind) {
    case 'rule':
      return [expression.name];
    case 'choice':
      return expression.options.flatMap((option) => leading(option, nullable));
    case 'repeat':
      return leading(expression.of, nullable);
    case 'narrow':
      return [...leading(expression.exact, nullable), ...leading(expression.loose, nullable)];
    case 'sequence': {
      const stop = expression.parts.findIndex((part) => !isNullable(part, nullable));
      return expression.parts.slice(0, stop < 0 ? undefined : stop + 1).flatMap((part) => leading(part, nullable));
    }
    default:
      return [];
  }
}

/**
 * Cuts text before the first stop string, in pieces of any size. An Aho-Corasick automaton over UTF-16 units: its state is the longest
 * suffix of the text that begins a stop string, which is exactly what must be held back. The held text is a prefix of a known string, so
 * nothing is buffered and a character costs a constant. The alternative, searching the tail again on each push, costs the length of the
 * longest stop string a token.
 */
type Node = {
  /** `stops[stop].slice(0, depth)` is the text that leads here. */
  stop: number;
  depth: number;
  next: Map<number, Node>;
  /** The state for the longest proper suffix; undefined at the root. */
  fallback: Node | undefined;
  /** Length of the longest stop string that ends here; 0 if none does. */
  matched: number;
};

export class StopFilter {
  private readonly stops: readonly string[];
  private readonly root: Node;
  private state: Node;
  private done = false;

  /** Empty strings stop nothing. Neither do strings with half a surrogate pair: decoded text holds none. */
  constructor(stops: readonly string[]) {
    this.stops = stops.filter((stop) => stop !== '' && !/[\uD800-\uDFFF]/u.test(stop));
    this.root = buildAutomaton(this.stops);
    this.state = this.root;
  }

  get stopped(): boolean {
    return this.done;
  }

  push(text: string): string {
    if (this.done) return '';
    if (this.stops.length === 0) return text;
    let out = '';
    let start = 0; // text[start..i) is free to go, while the state is the root
    for (let i = 0; i < text.length; i++) {
      const before = this.state;
      const after = this.step(before, text.charCodeAt(i));
      this.state = after;
      if (before === this.root && after === this.root) continue;
      if (before === this.root) out += text.slice(start, i); // text[i] begins the held text
      start = i + 1;
      if (after.matched > 0) {
        this.done = true;
        return out + `${this.held(before)}${text[i]}`.slice(0, before.depth + 1 - after.matched);
      }
      const freed = before.depth + 1 - after.depth;
      if (freed > before.depth) out += this.held(before) + text[i];
      else if (freed > 0) out += this.stops[before.stop]!.slice(0, freed);
    }
    return this.state === this.root ? out + text.slice(start) : out;
  }

  finish(): string {
    const held = this.done ? '' : this.held(this.state);
    this.state = this.root;
    return held;
  }

  private held(node: Node): string {
    return node.depth === 0 ? '' : this.stops[node.stop]!.slice(0, node.depth);
  }

  private step(from: Node, unit: number): Node {
    for (let node: Node | undefined = from; node; node = node.fallback) {
      const next = node.next.get(unit);
      if (next) return next;
    }
    return this.root;
  }
}

function buildAutomaton(stops: readonly string[]): Node {
  const root: Node = { stop: 0, depth: 0, next: new Map(), fallback: undefined, matched: 0 };
  stops.forEach((stop, index) => {
    let node = root;
    for (let i = 0; i < stop.length; i++) {
      const unit = stop.charCodeAt(i);
      let next = node.next.get(unit);
      if (!next) {
        next = { stop: index, depth: i + 1, next: new Map(), fallback: root, matched: 0 };
        node.next.set(unit, next);
      }
      node = next;
    }
    node.matched = stop.length;
  });
  // Breadth first: a node's fallback is shallower, so it is complete when the node is reached.
  const queue = [...root.next.values()];
  for (let head = 0; head < queue.length; head++) {
    const node = queue[head]!;
    if (node.matched === 0) node.matched = node.fallback!.matched;
    for (const [unit, next] of node.next) {
      let suffix = node.fallback;
      while (suffix && !suffix.next.has(unit)) suffix = suffix.fallback;
      next.fallback = suffix?.next.get(unit) ?? root;
      queue.push(next);
    }
  }
  return root;
}

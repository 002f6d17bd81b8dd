/**
 * Which experts the tokens of a text choose, made up, and what a cache would miss of them. Random weights route almost uniformly, which is
 * the worst case for whoever keeps some of the experts; a trace stands for real text where only speed is asked for.
 *
 * Each layer has an order of popularity of its own: the nth of N experts is drawn with weight exp(-5 n / N) / (n + 1)^0.4. A choice of the
 * token before is chosen again with probability 0.4, as neighbouring tokens do, and every fourth token two experts of a layer change their
 * places in the order, as subjects do. Of 256 experts, 8 a token, the least recently used ones of each layer then hit as in traces of 35B-A3B:
 * 76 to 87 % with slots for a quarter of the experts, 94 to 96 % for a half, 98 to 99 % for three quarters (test/bench/trace.test.ts).
 */
import { Random } from '../engine/random';

export type TraceShape = { layers: number; experts: number; chosen: number };

export type Trace = TraceShape & {
  tokens: number;
  /** [layers, tokens, chosen] */
  picks: Uint32Array<ArrayBuffer>;
};

const steepness = 5;
const zipf = 0.4;
const repeated = 0.4;
const swapsPerToken = 0.25;

/** The same for the same arguments. */
export function realisticTrace({ layers, experts, chosen }: TraceShape, tokens: number, seed: number): Trace {
  const picks = new Uint32Array(layers * tokens * chosen);
  for (let layer = 0; layer < layers; layer++) {
    const text = new LayerText(experts, chosen, new Random(seed * 4096 + layer));
    for (let token = 0; token < tokens; token++) picks.set(text.next(), (layer * tokens + token) * chosen);
  }
  return { layers, experts, chosen, tokens, picks };
}

class LayerText {
  readonly #chosen: number;
  readonly #random: Random;
  readonly #order: number[];
  /** Weights of the first n experts of the order. */
  readonly #upTo: number[] = [];
  #before: number[] = [];

  constructor(experts: number, chosen: number, random: Random) {
    this.#chosen = chosen;
    this.#random = random;
    this.#order = Array.from({ length: experts }, (_, i) => i);
    for (let i = experts - 1; i > 0; i--) this.#swap(i, this.#below(i + 1));
    let sum = 0;
    for (let n = 0; n < experts; n++) {
      sum += Math.exp((-steepness * (n + 0.5)) / experts) / (n + 1) ** zipf;
      this.#upTo.push(sum);
    }
  }

  next(): number[] {
    const experts = this.#order.length;
    if (this.#random.next() < swapsPerToken) this.#swap(this.#below(experts), this.#below(experts));
    const picks = new Set(this.#before.filter(() => this.#random.next() < repeated));
    while (picks.size < this.#chosen) picks.add(this.#order[this.#draw()]!);
    this.#before = [...picks];
    return this.#before;
  }

  #draw(): number {
    const at = this.#random.next() * this.#upTo.at(-1)!;
    let [low, high] = [0, this.#upTo.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#upTo[middle]! > at) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #below(n: number): number {
    return Math.floor(this.#random.next() * n);
  }

  #swap(i: number, j: number): void {
    [this.#order[i], this.#order[j]] = [this.#order[j]!, this.#order[i]!];
  }
}

/** Experts that a layer's token chooses. */
export function picksOf({ tokens, chosen, picks }: Trace, layer: number, token: number): Uint32Array {
  const at = (layer * tokens + (token % tokens)) * chosen;
  return picks.subarray(at, at + chosen);
}

/**
 * Misses of the last `counted` tokens of `positions`, read one after another, where each layer has equal slots of its own and the least
 * recently used expert makes room for another, but for those that the token itself wants.
 */
export function leastRecentlyUsedMisses(trace: Trace, slots: number, positions: readonly number[], counted: number): number {
  const perLayer = Math.floor(slots / trace.layers);
  let misses = 0;
  for (let layer = 0; layer < trace.layers; layer++) {
    const held = new Set<number>(); // in the order of use
    for (const [i, position] of positions.entries()) {
      const picks = picksOf(trace, layer, position);
      for (const expert of picks) {
        const hit = held.delete(expert);
        if (!hit && i >= positions.length - counted) misses += 1;
        if (held.size >= perLayer) held.delete(oldest(held, picks) ?? expert);
        held.add(expert);
      }
      // Fewer slots than a token wants hold the last ones of it.
      for (const expert of held) if (held.size > perLayer) held.delete(expert);
    }
  }
  return misses;
}

function oldest(held: ReadonlySet<number>, keep: Uint32Array): number | undefined {
  for (const expert of held) if (!keep.includes(expert)) return expert;
  return undefined;
}

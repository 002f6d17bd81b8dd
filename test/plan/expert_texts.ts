/** Made-up texts: which keys (layer * experts + expert) the layers choose, token by token. */
import { Random } from '../../src/engine/random';

export type Shape = { layers: number; experts: number; chosen: number };
/** [token][layer]: keys. */
export type Choices = number[][][];
/** A layer's tokens, one after another. */
export type Text = (shape: Shape, random: Random) => () => number[];

type Likeness = {
  /** Popularity of the nth expert is 1 / n^zipf. */
  zipf: number;
  /** Chance that a choice of the token before is chosen again. */
  repeat: number;
  /** Pairs of a layer that change places in its order of popularity, and how many tokens lie between. */
  drift: number;
  every?: number;
};

export function likeText({ zipf, repeat, drift, every = 50 }: Likeness): Text {
  return ({ experts, chosen }, random) => {
    const order = Array.from({ length: experts }, (_, i) => i);
    const mix = (pairs: number) => {
      for (let n = 0; n < pairs; n++) {
        const [i, j] = [below(random, experts), below(random, experts)];
        [order[i], order[j]] = [order[j]!, order[i]!];
      }
    };
    mix(4 * experts);
    let sum = 0;
    const sums = order.map((_, i) => (sum += 1 / (i + 1) ** zipf));
    let before: number[] = [];
    let token = 0;
    return () => {
      if (token++ % every === every - 1) mix(drift);
      const picks = new Set(before.filter(() => random.next() < repeat));
      while (picks.size < chosen) {
        picks.add(order[firstFrom(sums, random.next() * sum)]!);
      }
      before = [...picks];
      return before;
    };
  };
}

/** No two tokens have anything to do with each other. */
export const uniform = likeText({ zipf: 0, repeat: 0, drift: 0 });

/** One after another, `size` of them over and over. */
export function round(size: number): Text {
  return ({ experts, chosen }) => {
    let next = 0;
    return () => Array.from({ length: chosen }, () => next++ % Math.min(size, experts));
  };
}

/** Any of `size` neighbours, and after `every` tokens of others: what was used often is of no use. */
export function movingWindow(size: number, every: number): Text {
  return ({ experts, chosen }, random) => {
    let first = 0;
    let token = 0;
    return () => {
      if (token++ % every === 0) first = below(random, experts);
      const picks = new Set<number>();
      while (picks.size < chosen) picks.add((first + below(random, size)) % experts);
      return [...picks];
    };
  };
}

/** `tokens` of each in turn. */
export function inTurn(texts: readonly Text[], tokens: number): Text {
  return (shape, random) => {
    const nexts = texts.map((text) => text(shape, random));
    let token = 0;
    return () => nexts[Math.floor(token++ / tokens) % nexts.length]!();
  };
}

export function choicesOf(text: Text, shape: Shape, tokens: number, seed: number): Choices {
  const nexts = Array.from({ length: shape.layers }, (_, layer) => text(shape, new Random(seed * 4096 + layer)));
  return Array.from({ length: tokens }, () => nexts.map((next, layer) => next().map((expert) => layer * shape.experts + expert)));
}

/** Index of the first one that is not less; `sums` rise. */
function firstFrom(sums: readonly number[], at: number): number {
  let [low, high] = [0, sums.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sums[middle]! >= at) high = middle;
    else low = middle + 1;
  }
  return low;
}

function below(random: Random, n: number): number {
  return Math.floor(random.next() * n);
}

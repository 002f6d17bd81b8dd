/** A mixture of experts, token by token. */
import { gemmReference } from './gemv';
import { swigluReference } from './swiglu';

/** logits [tokens, experts] -> the chosen ones, best first, of equals the lower index, and their softmax over all or over the chosen. */
export function moeRouteReference(
  logits: ArrayLike<number>,
  { tokens, experts, chosen, renormalised }: { tokens: number; experts: number; chosen: number; renormalised: boolean },
): { picks: Float64Array; weights: Float64Array } {
  const picks: number[] = [];
  const weights: number[] = [];
  for (let t = 0; t < tokens; t++) {
    const own = Array.from({ length: experts }, (_, e) => ({ expert: e, logit: logits[t * experts + e]! }));
    own.sort((a, b) => b.logit - a.logit || a.expert - b.expert);
    const most = own[0]!.logit;
    const counted = renormalised ? own.slice(0, chosen) : own;
    const sum = counted.reduce((total, { logit }) => total + Math.exp(logit - most), 0);
    for (const { expert, logit } of own.slice(0, chosen)) {
      picks.push(expert);
      weights.push(Math.exp(logit - most) / sum);
    }
  }
  return { picks: Float64Array.from(picks), weights: Float64Array.from(weights) };
}

/** `places`: choices, those of one expert side by side, in order; `tiles`: of each the expert, its first place and the one behind its last. */
export function moeGroupReference(
  picks: ArrayLike<number>,
  { experts, tile }: { experts: number; tile: number },
): { places: Float64Array; tiles: Float64Array } {
  const places: number[] = [];
  const tiles: number[] = [];
  for (let expert = 0; expert < experts; expert++) {
    let first = places.length;
    for (let choice = 0; choice < picks.length; choice++) if (picks[choice] === expert) places.push(choice);
    for (; first < places.length; first += tile) tiles.push(expert, first, Math.min(places.length, first + tile));
  }
  return { places: Float64Array.from(places), tiles: Float64Array.from(tiles) };
}

type Choices = { picks: readonly number[]; chosen: number; rows: number; cols: number };

/** y [choices, rows] = silu(gate x) * (up x) of each token's experts; `gate`, `up`: W [rows, cols] by expert. */
export function moeGateUpReference(
  x: Float32Array,
  gate: (expert: number) => ArrayLike<number>,
  up: (expert: number) => ArrayLike<number>,
  { picks, chosen, rows, cols }: Choices,
): Float64Array {
  const y = new Float64Array(picks.length * rows);
  for (const [choice, expert] of picks.entries()) {
    const token = Math.floor(choice / chosen);
    const own = x.subarray(token * cols, (token + 1) * cols);
    const product = (w: ArrayLike<number>) => gemmReference(own, w, { tokens: 1, rows, cols });
    y.set(swigluReference(product(gate(expert)), product(up(expert))), choice * rows);
  }
  return y;
}

/** y [choices, rows] = W x, x [choices, cols]. */
export function moeDownReference(
  x: Float32Array,
  down: (expert: number) => ArrayLike<number>,
  shape: Omit<Choices, 'chosen'>,
): Float64Array {
  const { picks, rows, cols } = shape;
  const y = new Float64Array(picks.length * rows);
  for (const [choice, expert] of picks.entries()) {
    const own = x.subarray(choice * cols, (choice + 1) * cols);
    y.set(gemmReference(own, down(expert), { tokens: 1, rows, cols }), choice * rows);
  }
  return y;
}

/** hidden + weighted experts + gated shared expert, [tokens, cols]. */
export function moeCombineReference(
  hidden: ArrayLike<number>,
  parts: { experts: ArrayLike<number>; weights: ArrayLike<number>; sharedOut: ArrayLike<number>; sharedGate: ArrayLike<number> },
  { tokens, chosen, cols }: { tokens: number; chosen: number; cols: number },
): Float64Array {
  const y = new Float64Array(tokens * cols);
  for (let i = 0; i < y.length; i++) {
    const token = Math.floor(i / cols);
    let sum = parts.sharedOut[i]! / (1 + Math.exp(-parts.sharedGate[token]!));
    for (let rank = 0; rank < chosen; rank++) {
      const choice = token * chosen + rank;
      sum += parts.weights[choice]! * parts.experts[choice * cols + (i % cols)]!;
    }
    y[i] = hidden[i]! + sum;
  }
  return y;
}

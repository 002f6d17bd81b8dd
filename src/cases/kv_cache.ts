/** A KV cache as f32 words: itself, or two f16 to a word. */
import { halfBits, halfValue } from '../kernels/reference/half';
import type { KvDtype } from '../kernels/variants';
import { type Random, stored, uniform } from './harness';

/** Words that hold `count` cached numbers. */
export const cacheValues = (kv: KvDtype, count: number): number => (kv === 'f16' ? count / 2 : count);

/** `count` random numbers as the cache holds them, and the cache that holds them. */
export function randomCache(
  next: Random,
  kv: KvDtype,
  count: number,
): { numbers: Float32Array<ArrayBuffer>; words: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> } {
  const numbers = uniform(next, count).map((value) => stored(value, kv));
  if (kv === 'f32') return { numbers, words: numbers };
  const halves = Uint16Array.from(numbers, halfBits);
  return { numbers, words: new Uint32Array(halves.buffer) };
}

/** Cached numbers [first, first + count), and the words before and behind them. */
export function readCache(
  kv: KvDtype,
  words: Float32Array,
  first: number,
  count: number,
): { written: ArrayLike<number>; around: Float32Array } {
  const [start, end] = [cacheValues(kv, first), cacheValues(kv, first + count)];
  const inside = words.slice(start, end);
  const around = Float32Array.from([...words.subarray(0, start), ...words.subarray(end)]);
  if (kv === 'f32') return { written: inside, around };
  return { written: Float64Array.from(new Uint16Array(inside.buffer), halfValue), around };
}

/** What repeated measurements say together. */

/** `spread`: (largest - smallest) / median. */
export type Summary = { median: number; spread: number; count: number };

export function summarise(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, spread: (sorted.at(-1)! - sorted[0]!) / median, count: sorted.length };
}

/** ||got - want|| / ||want||; infinite where a value is not finite. */
export function relativeError(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let off = 0;
  let size = 0;
  for (let i = 0; i < want.length; i++) {
    off += (got[i]! - want[i]!) ** 2;
    size += want[i]! ** 2;
  }
  const error = Math.sqrt(off / size);
  return got.length === want.length && Number.isFinite(error) ? error : Number.POSITIVE_INFINITY;
}

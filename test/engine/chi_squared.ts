/**
 * Pearson's test of counts against probabilities: p, the chance of a statistic at least as large if they agree. Cells that expect
 * fewer than 5 are one cell. A count where the probability is 0 gives p = 0.
 */
export function chiSquaredP(counts: readonly number[], probabilities: readonly number[]): number {
  const draws = counts.reduce((sum, count) => sum + count, 0);
  const cells = probabilities.map((probability, i) => ({ count: counts[i]!, expected: draws * probability }));
  if (cells.some(({ count, expected }) => expected === 0 && count > 0)) return 0;
  const large = cells.filter(({ expected }) => expected >= 5);
  const small = cells.filter(({ expected }) => expected > 0 && expected < 5);
  const rest = small.reduce((sum, cell) => ({ count: sum.count + cell.count, expected: sum.expected + cell.expected }), {
    count: 0,
    expected: 0,
  });
  const all = rest.expected > 0 ? [...large, rest] : large;
  const statistic = all.reduce((sum, { count, expected }) => sum + (count - expected) ** 2 / expected, 0);
  return all.length === 1 ? 1 : upperTail(statistic, all.length - 1);
}

/** 1 - P(freedom / 2, statistic / 2), P the lower incomplete gamma function by its series. */
function upperTail(statistic: number, freedom: number): number {
  const [a, x] = [freedom / 2, statistic / 2];
  let gamma = freedom % 2 === 0 ? 1 : Math.sqrt(Math.PI); // of 1 or 1/2
  for (let n = freedom % 2 === 0 ? 1 : 0.5; n <= a; n++) gamma *= n; // of a + 1
  let sum = 0;
  let term = 1;
  for (let n = 1; term > 1e-17 * sum; n++) {
    sum += term;
    term *= x / (a + n);
  }
  return Math.max(0, 1 - (x ** a * Math.exp(-x) * sum) / gamma);
}

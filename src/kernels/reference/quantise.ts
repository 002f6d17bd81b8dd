/**
 * x [cols] -> what int8 codes with a scale per `unit` neighbours should stand for: `values` to half a step of 1/127 of the unit's largest
 * value, `sums` of each unit exactly.
 */
export function quantiseReference(x: ArrayLike<number>, unit = 32): { values: Float64Array; sums: Float64Array } {
  const values = Float64Array.from(x);
  const sums = new Float64Array(x.length / unit);
  for (let i = 0; i < x.length; i++) sums[Math.floor(i / unit)]! += x[i]!;
  return { values, sums };
}

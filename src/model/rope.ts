/**
 * (cos, sin) for every position and rotated pair: [contextTokens, rotaryDims / 2, 2] f32. A table, because WGSL's sin and
 * cos promise nothing beyond [-pi, pi]. Frequencies and angles are rounded to f32 as the reference implementation does, so
 * that long contexts agree with it; the functions themselves are exact.
 */
export function ropeTable(contextTokens: number, rotaryDims: number, theta: number): Float32Array<ArrayBuffer> {
  const pairs = rotaryDims / 2;
  const frequencies = Array.from({ length: pairs }, (_, i) =>
    Math.fround(1 / Math.fround(theta ** Math.fround((2 * i) / rotaryDims))),
  );
  const table = new Float32Array(contextTokens * pairs * 2);
  for (let position = 0; position < contextTokens; position++) {
    for (let i = 0; i < pairs; i++) {
      const angle = Math.fround(position * frequencies[i]!);
      table[(position * pairs + i) * 2] = Math.cos(angle);
      table[(position * pairs + i) * 2 + 1] = Math.sin(angle);
    }
  }
  return table;
}

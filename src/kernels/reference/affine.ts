/** MLX affine quantisation of a [rows, cols] matrix, any width from 2 to 8 bits. Source: the affine mode of `mlx.core.quantize`. */

/** `group`: how many neighbouring weights of a row share one scale and one bias. */
export type AffineShape = { rows: number; cols: number; bits: number; group: number };

/** q [rows, cols] of 0 .. 2^bits - 1; scales and biases [rows, cols / group]. */
export type Affine = { q: Uint8Array; scales: Float64Array; biases: Float64Array };

/** W[r, c] = scale * q + bias. */
export function dequantise({ q, scales, biases }: Affine, { rows, cols, group }: AffineShape): Float64Array {
  const w = new Float64Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) {
      const g = r * (cols / group) + Math.floor(c / group);
      w[r * cols + c] = scales[g]! * q[r * cols + c]! + biases[g]!;
    }
  }
  return w;
}

/**
 * The bias is the group's value farthest from zero, kept exactly, and the scale leads from there to the other end; it is
 * adjusted so that zero is representable.
 */
export function quantise(w: ArrayLike<number>, { rows, cols, bits, group }: AffineShape): Affine {
  const steps = 2 ** bits - 1;
  const groups = (rows * cols) / group;
  const q = new Uint8Array(rows * cols);
  const scales = new Float64Array(groups);
  const biases = new Float64Array(groups);
  for (let g = 0; g < groups; g++) {
    let low = Number.POSITIVE_INFINITY;
    let high = Number.NEGATIVE_INFINITY;
    for (let i = g * group; i < (g + 1) * group; i++) {
      low = Math.min(low, w[i]!);
      high = Math.max(high, w[i]!);
    }
    const fromLow = Math.abs(low) > Math.abs(high);
    const edge = fromLow ? low : high;
    const width = Math.max((high - low) / steps, 1e-7) * (fromLow ? 1 : -1);
    const stepsToZero = Math.round(edge / width);
    const scale = stepsToZero === 0 ? width : edge / stepsToZero;
    const bias = stepsToZero === 0 ? 0 : edge;
    scales[g] = scale;
    biases[g] = bias;
    for (let i = g * group; i < (g + 1) * group; i++) {
      q[i] = Math.min(steps, Math.max(0, Math.round((w[i]! - bias) / scale)));
    }
  }
  return { q, scales, biases };
}

/** q as u32 words: each row one stream of bits, the lowest bit of the first q first. 32 divides cols * bits. */
export function packBits(q: ArrayLike<number>, { rows, cols, bits }: Omit<AffineShape, 'group'>): Uint32Array {
  const words = new Uint32Array((rows * cols * bits) / 32);
  for (let i = 0; i < rows * cols; i++) {
    for (let b = 0; b < bits; b++) {
      const at = i * bits + b; // rows end on whole words, so they follow one another without gaps
      if ((q[i]! >> b) & 1) words[Math.floor(at / 32)]! += 2 ** (at % 32);
    }
  }
  return words;
}

export function unpackBits(words: ArrayLike<number>, { rows, cols, bits }: Omit<AffineShape, 'group'>): Uint8Array {
  const q = new Uint8Array(rows * cols);
  for (let i = 0; i < rows * cols; i++) {
    for (let b = 0; b < bits; b++) {
      const at = i * bits + b;
      q[i]! += ((words[Math.floor(at / 32)]! >>> (at % 32)) & 1) * 2 ** b;
    }
  }
  return q;
}

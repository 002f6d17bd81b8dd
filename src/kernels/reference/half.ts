/** f16 and bf16 as bits and as numbers, by definition: slow and exact. */

/** The f16 nearest to `value`, ties to even, as 16 bits. */
export function halfBits(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (Number.isNaN(value)) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00; // halfway between the largest f16 and the next power of two
  if (size < 2 ** -14) return sign | roundEven(size / 2 ** -24);
  let exponent = -14;
  while (2 ** (exponent + 1) <= size) exponent++;
  const fraction = roundEven((size / 2 ** exponent - 1) * 1024);
  return sign | (((exponent + 15) << 10) + fraction); // a fraction rounded up to 1024 carries into the exponent
}

export function halfValue(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The bf16 nearest to the f32 nearest to `value`, ties to even, as 16 bits. Finite values only. */
export function bf16Bits(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0]!;
  const low = bits & 0xffff;
  const high = bits >>> 16;
  if (low > 0x8000 || (low === 0x8000 && high % 2 === 1)) return high + 1;
  return high;
}

export function bf16Value(bits: number): number {
  return new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!;
}

function roundEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest === 0.5) return below % 2 === 0 ? below : below + 1;
  return rest < 0.5 ? below : below + 1;
}

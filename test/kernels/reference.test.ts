/** The references' own number formats, by known values and by round trip. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { random, uniform } from '../../src/cases/harness';
import { dequantise, packBits, quantise, unpackBits } from '../../src/kernels/reference/affine';
import { bf16Bits, bf16Value, halfBits, halfValue } from '../../src/kernels/reference/half';

describe('f16', () => {
  test.each([
    { value: 1, bits: 0x3c00, why: 'one' },
    { value: -2, bits: 0xc000, why: 'a sign' },
    { value: -0, bits: 0x8000, why: 'negative zero' },
    { value: 65504, bits: 0x7bff, why: 'the largest' },
    { value: 65519.9, bits: 0x7bff, why: 'under half a step past the largest' },
    { value: 65520, bits: 0x7c00, why: 'half a step past the largest is infinity' },
    { value: 2 ** -24, bits: 0x0001, why: 'the smallest' },
    { value: 2 ** -25, bits: 0x0000, why: 'half of the smallest: ties to even' },
    { value: 3 * 2 ** -25, bits: 0x0002, why: 'one and a half of the smallest: ties to even' },
    { value: 2 ** -14 - 2 ** -26, bits: 0x0400, why: 'the largest subnormal rounds up into the normals' },
    { value: 2 - 2 ** -12, bits: 0x4000, why: 'a fraction that carries into the exponent' },
    { value: 1 + 2 ** -11, bits: 0x3c00, why: 'a tie, down to even' },
    { value: 1 + 3 * 2 ** -11, bits: 0x3c02, why: 'a tie, up to even' },
  ])('$value: $why', ({ value, bits }) => expect(halfBits(value)).toBe(bits));

  test('every finite pattern survives the way to a number and back', () => {
    for (let bits = 0; bits < 65536; bits++) {
      if ((bits & 0x7c00) !== 0x7c00) expect(halfBits(halfValue(bits))).toBe(bits);
    }
  });
});

test('bf16 is the upper half of an f32, rounded to the nearest, ties to even', () => {
  expect(bf16Bits(1)).toBe(0x3f80);
  expect(bf16Bits(1 + 2 ** -8)).toBe(0x3f80);
  expect(bf16Bits(1 + 3 * 2 ** -8)).toBe(0x3f82);
  expect(bf16Bits(-(1 + 2 ** -8 + 2 ** -20))).toBe(0xbf81);
  for (let bits = 0; bits < 65536; bits++) if ((bits & 0x7f80) !== 0x7f80) expect(bf16Bits(bf16Value(bits))).toBe(bits);
});

describe('affine', () => {
  test('a row is one stream, lowest bits first', () => {
    // 3 bits each: the stream is an octal number, last digit first.
    const q = Array.from({ length: 32 }, (_, i) => i % 8);
    const stream = BigInt(`0o${q.toReversed().join('')}`);
    const words = [0n, 32n, 64n].map((shift) => Number((stream >> shift) & 0xffffffffn));
    expect(packBits(q, { rows: 1, cols: 32, bits: 3 })).toEqual(Uint32Array.from(words));
    expect(packBits([1, 2, 3, 4, 5, 6, 7, 8], { rows: 1, cols: 8, bits: 4 })).toEqual(Uint32Array.of(0x87654321));
  });

  test('packing is undone by unpacking, for every width', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 8 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer(),
        (bits, rows, blocks, seed) => {
          const cols = 32 * blocks;
          const q = Uint8Array.from(uniform(random(seed), rows * cols, 0, 2 ** bits - 1e-3));
          expect(unpackBits(packBits(q, { rows, cols, bits }), { rows, cols, bits })).toEqual(q);
        },
      ),
    );
  });

  test.each([2, 3, 4, 5, 6, 7, 8])('%i bits: a weight is off by one step at most', (bits) => {
    const shape = { rows: 3, cols: 128, bits, group: 32 };
    const w = uniform(random(bits), shape.rows * shape.cols);
    const affine = quantise(w, shape);
    dequantise(affine, shape).forEach((value, i) => {
      // Half a step of rounding; and a scale moved so that zero is hit leaves the far end of the group short by another.
      expect(Math.abs(value - w[i]!)).toBeLessThanOrEqual(Math.abs(affine.scales[Math.floor(i / 32)]!) * 1.001);
    });
  });

  test('zero and the value farthest from it are kept exactly', () => {
    const w = Float32Array.from({ length: 32 }, (_, i) => (i - 10) / 8);
    const shape = { rows: 1, cols: 32, bits: 4, group: 32 };
    const back = dequantise(quantise(w, shape), shape);
    expect(back[10]).toBeCloseTo(0, 12);
    expect(back[31]).toBe(w[31]);
  });
});

/** What a report repeats of the address bar: names of kernels and cases, and nobody's words. */
import { expect, test } from 'vitest';
import { kernelCases } from '../../src/cases/suite';
import { askedOf } from '../../src/doctor/asked';
import { describePlant, parsePlant, planted } from '../../src/doctor/plant';
import type { Gpu } from '../../src/gpu/device';

test.each([
  ['my-secret-words', '(unknown)'],
  ['rms_norm my-secret-words', '(unknown)'],
  ['rms_norm:', 'rms_norm:'],
  [`${kernelCases[0]!.kernel}: ${kernelCases[0]!.name}`, `${kernelCases[0]!.kernel}: ${kernelCases[0]!.name}`],
])('only=%s is repeated as %s', (only, said) => expect(askedOf({ only })).toEqual({ only: said }));

test.each([
  ['rms_norm,inverseSqrt,sqrt', "rms_norm with 'sqrt' for 'inverseSqrt'"],
  ['lose-device,1000', 'the device is destroyed at 1000 bytes'],
  ['my_kernel,inverseSqrt,sqrt', '(unknown)'],
  ['rms_norm,inverseSqrt,my-secret-words', '(unknown)'],
  ['rms_norm,my-secret-words,sqrt', '(unknown)'],
])('plant=%s is repeated as %s', (plant, said) => expect(askedOf({ plant: parsePlant(plant) })).toEqual({ planted: said }));

test('what cannot be told is not put into a kernel either, since a compiler would quote it', () => {
  const gpu = {} as Gpu;
  const plant = parsePlant('rms_norm,inverseSqrt,my-secret-words');
  expect(describePlant(plant)).toBe('(unknown)');
  expect(planted(gpu, plant)).toBe(gpu);
});

test('nor does a refusal quote it', () => {
  expect(() => parsePlant('my-secret-words')).toThrow(
    expect.not.objectContaining({ message: expect.stringContaining('secret') }),
  );
});

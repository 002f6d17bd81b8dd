/** What a report repeats of the address bar: names of kernels and cases, and nobody's words. */
import { expect, test } from 'vitest';
import { kernelCases } from '../../src/cases/suite';
import { againOf, askedOf } from '../../src/doctor/asked';
import { withIdlePlant } from '../../src/doctor/context';
import { describePlant, parsePlant, planted, plantText, whyIdle } from '../../src/doctor/plant';
import { cleaned } from '../../src/doctor/private_text';
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

test('what asks for the same again comes through as it is, for every case', () => {
  for (const { kernel, name } of kernelCases) {
    const again = againOf(['kernels'], { only: `${kernel}: ${name}`, plant: parsePlant('rms_norm,+,-'), memoryBytes: 2 ** 29 });
    expect(cleaned(again)).toEqual({ checks: 'kernels', only: `${kernel}: ${name}`, plant: 'rms_norm,+,-', memory: '0.5' });
  }
  expect(againOf(['disk', 'memory'], { diskBytes: 2 ** 28 })).toEqual({ checks: 'disk,memory', disk: '0.25' });
});

test.each([{ only: 'my-secret-words' }, { plant: parsePlant('my_kernel,sqrt,exp') }])('%j is not asked for again', (options) =>
  expect(againOf(['kernels'], options)).toBeUndefined(),
);

test('a check whose fault came to nothing is noted, and one that failed stays so', () => {
  const passed = { status: 'passed', summary: '', facts: {} } as const;
  expect(withIdlePlant(passed, undefined)).toBe(passed);
  expect(withIdlePlant(passed, 'nothing changed')).toMatchObject({ status: 'noted', problems: ['nothing changed'] });
  const failed = { ...passed, status: 'failed', problems: ['wrong'] } as const;
  expect(withIdlePlant({ ...failed, problems: ['wrong'] }, 'nothing changed')).toMatchObject({
    status: 'failed',
    problems: ['wrong', 'nothing changed'],
  });
});

test.each(['rms_norm,inverseSqrt,sqrt', 'lose-device,1000'])('plant=%s is written as it is read', (text) =>
  expect(plantText(parsePlant(text))).toBe(text),
);

test.each([
  ['rms_norm,inverseSqrt,sqrt', { compiled: 2, changed: 1 }, undefined],
  ['rms_norm,inverseSqrt,sqrt', { compiled: 2, changed: 0 }, "rms_norm has no 'inverseSqrt'"],
  ['my_kernel,inverseSqrt,sqrt', { compiled: 0, changed: 0 }, 'no kernel of that name'],
  ['rms_norm,my-secret-words,sqrt', { compiled: 0, changed: 0 }, 'was not put in'],
  ['lose-device,1000', { compiled: 0, changed: 0 }, undefined],
])('plant=%s with %j', (plant, tally, why) => {
  const told = whyIdle(parsePlant(plant), tally);
  expect(told).toEqual(why && expect.stringContaining(why));
  expect(told ?? '').not.toContain('secret');
});

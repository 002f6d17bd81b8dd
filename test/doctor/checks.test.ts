/** What condemns a device, and what does not: judgements over outcomes, so without a GPU. */
import { expect, test } from 'vitest';
import type { KernelRow } from '../../src/bench/kernels';
import { kernelCases } from '../../src/cases/suite';
import { fileSize } from '../../src/doctor/checks/disk';
import { judged as kernels } from '../../src/doctor/checks/kernels';
import { judged } from '../../src/doctor/checks/products';
import { engineRate, piecesWithin } from '../../src/doctor/checks/upload';
import { gib, mib } from '../../src/doctor/context';

const row = (outcome: KernelRow['outcome'], more: Partial<KernelRow> = {}): KernelRow =>
  ({
    ...{ matrix: 'q_proj', rows: 128, cols: 256, perToken: 2, tokens: 1, candidate: 'direct', activations: 'f32' },
    ...{ outcome, best: false, us: 10, gbPerSecond: 50, ...(outcome === 'right' ? {} : { reason: 'relative error 0.5' }) },
    ...more,
  }) as KernelRow;
const read = { value: 100, spread: 0 };

test('a matrix whose candidates are all wrong fails, as one wrong candidate beside a right one does', () => {
  const all = judged([row('wrong'), row('failed', { candidate: 'teams' })], read, false);
  expect(all).toMatchObject({ status: 'failed', facts: { rows: [], gbPerSecond: 0 } });
  expect(all.problems).toEqual([
    'q_proj 128x256: direct wrong: relative error 0.5',
    'q_proj 128x256: teams failed: relative error 0.5',
  ]);
  const one = judged([row('right', { best: true }), row('wrong', { activations: 'int16' })], read, true);
  expect(one).toMatchObject({ status: 'failed', problems: { length: 1 } });
});

test('right products are a share of the read bandwidth', () => {
  const { status, summary, problems = [] } = judged([row('right', { best: true }), row('right')], read, false);
  expect({ status, summary, problems }).toMatchObject({
    status: 'passed',
    summary: expect.stringContaining('50 %'),
    problems: [],
  });
});

test('a wrong kernel condemns the device, unless benchmarks alone run it', () => {
  const wrong = (kernel: string) => ({ kernel, name: 'small', why: '', what: 'error 1 is over 0.1.' });
  const facts = (...kernels: string[]) => ({ ran: 9, failed: kernels.map(wrong), skipped: { 'no f16': 2 } });
  expect(kernels(facts())).toEqual({ status: 'passed', problems: [], summary: expect.stringContaining('; 2 need') });
  const unused = [...new Set(kernelCases.map(({ kernel }) => kernel))].filter((stem) => kernels(facts(stem)).status === 'noted');
  expect(unused).toEqual(['gemm_q4_few_int', 'attention']);
  expect(kernels(facts(...unused))).toMatchObject({
    ...{ status: 'noted', problems: { length: 2 } },
    summary:
      '7 cases agree with their references; 2 need what this device lacks; 2 do not, of kernels that only benchmarks run: gemm_q4_few_int, attention.',
  });
  expect(kernels(facts('attention', 'rms_norm'))).toMatchObject({ status: 'failed', problems: { length: 2 } });
  expect(kernels(facts('attention'), ['the device was lost'])).toMatchObject({ status: 'failed', problems: { length: 2 } });
  expect(kernels(facts(), ['the device was lost'])).toMatchObject({ status: 'failed', summary: 'the device was lost' });
});

test('pieces are tried as far as a probe’s memory goes, and the others named', () => {
  const sizes = (bytes: number, kind: string) => piecesWithin(bytes).tried.flatMap((one) => (one.kind === kind ? one.size : []));
  expect([sizes(gib, 'write'), sizes(gib, 'mapped'), piecesWithin(gib).leftOut]).toEqual([[1, 2, 4, 8, 16], [1, 4, 8], {}]);
  expect([sizes(64 * mib, 'write'), sizes(64 * mib, 'mapped')]).toEqual([
    [1, 2, 4, 8],
    [1, 4],
  ]);
  expect(piecesWithin(64 * mib).leftOut).toEqual({
    'write, 16 MiB': 'would take 80 MiB; a probe may take 64 MiB',
    'mapped, 8 MiB': 'would take 80 MiB; a probe may take 64 MiB',
  });
});

test('what the engine uploads at is known from pieces that it sends', () => {
  const facts = { write: { 4: 6, 16: 9 }, mapped: { 4: 5, 8: 7 } };
  expect([engineRate('write', facts), engineRate('mapped', facts), engineRate('write', undefined)]).toEqual([6, 7, 0]);
});

test('the file is as large as asked, or as the machine bears, and the report says why', () => {
  const free = 100 * gib;
  expect(fileSize({}, { isCpu: false, free })).toEqual({ bytes: gib, why: 'the usual size' });
  expect(fileSize({ handheld: true }, { isCpu: false, free })).toEqual({ bytes: 256 * mib, why: 'small, for a phone or tablet' });
  expect(fileSize({}, { isCpu: true, free })).toEqual({ bytes: 16 * mib, why: 'small, beside a software adapter' });
  expect(fileSize({ diskBytes: 2 * gib }, { isCpu: true, free })).toEqual({ bytes: 2 * gib, why: 'as asked' });
  expect(fileSize({}, { isCpu: false, free: gib })).toEqual({ bytes: gib / 2, why: 'half of what the browser grants' });
});

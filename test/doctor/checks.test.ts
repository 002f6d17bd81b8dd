/** What condemns a device, and what does not: judgements over outcomes, so without a GPU. */
import { expect, test } from 'vitest';
import type { KernelRow } from '../../src/bench/kernels';
import { kernelCases } from '../../src/cases/suite';
import { judged as kernels } from '../../src/doctor/checks/kernels';
import { judged } from '../../src/doctor/checks/products';

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

import { expect, test } from 'vitest';
import {
  ACTION_LABELS,
  describeNetworkCost,
  describePressure,
  describeProblem,
  describeRecovery,
  type Surroundings,
} from '../../demo/problems';
import { EngineError, type ErrorCode } from '../../src/api';
import { checkSpace, type StoreHost } from '../../src/storage/store/host';
import { large } from './plans';

const AROUND: Surroundings = { secureContext: true, webGpu: true, online: true, bundled: true };
const CODES: ErrorCode[] = [
  'unsupported',
  'unsupported-content',
  'format',
  'storage',
  'not-found',
  'limit',
  'budget',
  'shape',
  'context-length',
  'invalid-request',
  'non-finite',
  'device-lost',
  'unloaded',
  'internal',
];

test.each(CODES.flatMap((code) => (['load', 'reply'] as const).map((where) => ({ code, where }))))(
  'every error has words and a way out: $code in a $where',
  ({ code, where }) => {
    const problem = describeProblem(new EngineError(code, 'What happened.'), where, AROUND);
    expect(problem.text).toMatch(/^What happened\.\n./);
    expect(problem.title).not.toBe('');
    for (const action of problem.actions) if (action) expect(ACTION_LABELS[action]).toBeTruthy();
    expect(new Set(problem.actions).size).toBe(problem.actions.length);
  },
);

test.each([
  { around: { secureContext: false, webGpu: false }, says: 'https', why: 'an insecure page hides WebGPU' },
  { around: { webGpu: false }, says: 'Safari 26', why: 'an old browser' },
  { around: {}, says: 'graphics driver', why: 'WebGPU without a usable adapter' },
])('unsupported names the remedy: $why', ({ around, says }) => {
  expect(describeProblem(new EngineError('unsupported', 'No.'), 'load', { ...AROUND, ...around }).text).toContain(says);
});

test('a failed load never offers the model that failed as the other one', () => {
  const actions = (bundled: boolean) => describeProblem(new EngineError('storage', 'x'), 'load', { ...AROUND, bundled }).actions;
  expect(actions(true)).toEqual(['retry', 'picker']);
  expect(actions(false)).toEqual(['retry', 'bundled']);
});

test('offline is said before anything else', () => {
  expect(describeProblem(new EngineError('storage', 'x'), 'load', { ...AROUND, online: false }).title).toBe('You are offline');
});

test('what is no EngineError is shown all the same', () => {
  expect(describeProblem('odd', 'reply', AROUND).text).toContain('odd');
  expect(describeProblem(new TypeError('bad'), 'load', AROUND).actions).toEqual(['retry', 'reload-page']);
});

const REFUSAL =
  'A GPU budget of 500.0 MB is too small for this model with a context of 8192 tokens: it needs at least 962199552 bytes (962.2 MB).';

test('a refused budget offers the numbers that the planner named', () => {
  const describe = (message: string) => describeProblem(new EngineError('budget', message), 'load', AROUND);
  expect(describe(`${REFUSAL} A context of 2048 tokens would fit this budget.`)).toMatchObject({
    actions: ['smallest-budget', 'shorter-context'],
    fix: { gpuBudget: 962_199_552, contextTokens: 2048 },
  });
  expect(describe(REFUSAL)).toMatchObject({ actions: ['smallest-budget', 'memory'], fix: { gpuBudget: 962_199_552 } });
  expect(describe('The device has no more memory.')).toMatchObject({ actions: ['memory', 'picker'] });
});

test('a full disk offers the storage panel, before and in the middle of a download', async () => {
  const host = { grantsMore: false, persist: async () => false, freeBytes: async () => 5e9 } as unknown as StoreHost;
  const early = await checkSpace(host, 15e9).catch((error: unknown) => error);
  const late = new EngineError('storage', 'weights.bin could not be written: the disk, or the browser’s share of it, is full.');
  for (const error of [early, late]) {
    expect(error).toBeInstanceOf(EngineError);
    expect(describeProblem(error, 'load', AROUND)).toMatchObject({ title: 'The disk is full', actions: ['storage', 'retry'] });
  }
});

test('pressure offers a smaller budget where there is one', () => {
  const pressure = { reason: 'out-of-memory' as const, message: 'No room for 64 MB.', suggestedBudgetBytes: 2e9 };
  expect(describePressure(pressure)).toMatchObject({ actions: ['lower-budget', 'memory'], fix: { gpuBudget: 2e9 } });
  const none = describePressure({ ...pressure, suggestedBudgetBytes: undefined });
  expect(none.actions).toEqual(['reload-continue', 'memory']);
  expect(none.text).toContain('No room for 64 MB.');
  expect([...describePressure(pressure).actions, ...none.actions].every((action) => action && ACTION_LABELS[action])).toBe(true);
});

test('a lost device that comes back is told of, and offers nothing to do; one that is given up offers another model', () => {
  const lost = { reason: 'device-lost' as const, message: 'The GPU was lost.', suggestedBudgetBytes: undefined };
  expect(describeRecovery({ ...lost, recovery: 'started' })).toMatchObject({
    title: expect.stringContaining('lost'),
    actions: ['memory'],
  });
  expect(describeRecovery({ ...lost, recovery: 'done' })).toBeUndefined();
  expect(describeRecovery({ ...lost, recovery: 'waiting' })).toBeUndefined();
  expect(describeRecovery({ ...lost, recovery: 'done', gpuBudgetBytes: 2e9 })?.text).toContain('2.0 GB');
  expect(describeRecovery({ ...lost, recovery: 'started' })?.text).toContain('the reply goes on');
  expect(describeRecovery({ ...lost, recovery: 'started' }, { replying: false })?.text).not.toContain('the reply');
  const second = describeRecovery({ ...lost, message: 'With 2000000000 bytes.', recovery: 'started', gpuBudgetBytes: 2e9 });
  expect(second?.text).toMatch(/second time.*2\.0 GB of GPU memory, half of before/);
  const least = describeRecovery({ ...lost, recovery: 'done', gpuBudgetBytes: 2e9 }, { leastBytes: 2e9 });
  expect(least?.text).toMatch(/2\.0 GB of GPU memory, the least that the model takes/);
  expect(second?.text).not.toContain('2000000000');
  expect(describePressure({ ...lost, recovery: 'stopped' })).toMatchObject({ actions: ['picker', 'reload-continue'] });
  expect(describePressure({ ...lost, recovery: 'stopped' }).labels).toEqual({ picker: 'Choose a smaller model' });
});

test('only streaming from the network is announced as a price', () => {
  expect(describeNetworkCost(large)).toBeUndefined();
  const problem = describeNetworkCost({ ...large, disk: { ...large.disk, home: 'none' } });
  expect(problem?.text).toContain('12.5 GB');
  expect(problem?.actions).toEqual(['memory', 'dismiss']);
});

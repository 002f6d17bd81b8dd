import { expect, test } from 'vitest';
import { ACTION_LABELS, describeProblem, type Surroundings } from '../../demo/problems';
import { EngineError, type ErrorCode } from '../../src/api';

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

import { expect, test } from 'vitest';
import { createEngine } from '../../src/api';
import { judgeLocal } from '../../src/api/fallback';
import { EngineError, type ErrorCode } from '../../src/errors';
import type { PlanReport } from '../../src/protocol/plan';
import { report } from './endpoint';

const planning = (plan: PlanReport) => async () => plan;
const at = (tokensPerSecond: number): PlanReport => ({ ...report, prediction: { ...report.prediction!, tokensPerSecond } });

test.each([
  { plan: { ...report, prediction: undefined }, verdict: { local: true }, why: 'nothing speaks against it' },
  { plan: at(20), verdict: { local: true }, why: 'quick enough' },
  { plan: at(1), verdict: { local: true }, why: 'just quick enough' },
  { plan: at(0.5), verdict: { local: false, reason: 'slow' }, why: 'a token in two seconds' },
  { plan: at(0.5), least: 0.25, verdict: { local: true }, why: 'the page wants no more' },
  { plan: at(20), least: 30, verdict: { local: false, reason: 'slow' }, why: 'the page wants more' },
])('a plan: $why', async ({ plan, least, verdict }) =>
  expect(await judgeLocal('a/b', {}, least, planning(plan))).toMatchObject(verdict),
);

test.each([
  ['budget', 'memory'],
  ['unsupported', 'unsupported'],
] as const)('%s means: not here', async (code, reason) => {
  const refused = () => Promise.reject(new EngineError(code, 'Why.'));
  expect(await judgeLocal('a/b', {}, 1, refused)).toEqual({ local: false, reason, message: 'Why.' });
});

test.each(['not-found', 'storage', 'format', 'internal'] as ErrorCode[])('%s is an error, not a reason', async (code) => {
  const failed = () => Promise.reject(new EngineError(code, 'Why.'));
  await expect(judgeLocal('a/b', {}, 1, failed)).rejects.toMatchObject({ code });
});

test.each([
  [{ fallback: { url: 'http://llm.example/v1' } }, /must be https/],
  [{ fallback: { url: 'https://llm.example/v1' }, onFallback: 'yes' as never }, /'onFallback' must be a function/],
  [{ fallback: { url: 'https://llm.example/v1' }, prefer: 'device' as 'local' }, /'prefer' must be 'local'/],
  [{ fallback: { url: 'https://llm.example/v1' }, leastTokensPerSecond: -1 }, /'leastTokensPerSecond' must be/],
])('%j is refused before anything starts', async (options, message) => {
  const failed = createEngine('a/b', { prefer: 'local', ...options });
  await expect(failed).rejects.toMatchObject({ code: 'invalid-request', message: expect.stringMatching(message) });
});

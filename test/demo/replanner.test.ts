import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type PlanState, Replanner } from '../../demo/replanner';
import type { PlanReport } from '../../src/api';
import { large } from './plans';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function planner(answer: (request: number) => Promise<PlanReport> | PlanReport) {
  const asked: number[] = [];
  const ended: number[] = [];
  const states: PlanState<number>[] = [];
  const ask = async (request: number, signal: AbortSignal) => {
    asked.push(request);
    signal.addEventListener('abort', () => ended.push(request));
    return answer(request);
  };
  const replanner = new Replanner<number>(ask, (state) => states.push(state), 100);
  return { replanner, asked, ended, states, kinds: () => states.map(({ kind, request }) => `${kind} ${request}`) };
}

test('a slider in motion asks once, when it rests', async () => {
  const { replanner, asked, kinds } = planner(() => large);
  for (const request of [1, 2, 3]) {
    replanner.plan(request);
    await vi.advanceTimersByTimeAsync(50);
  }
  await vi.advanceTimersByTimeAsync(100);
  expect(asked).toEqual([3]);
  expect(kinds()).toEqual(['planning 1', 'planning 2', 'planning 3', 'planned 3']);
});

test('an overtaken question is ended, and its answer dropped', async () => {
  const answers: ((plan: PlanReport) => void)[] = [];
  const { replanner, ended, kinds } = planner(() => new Promise((resolve) => answers.push(resolve)));
  replanner.plan(1, 0);
  await vi.advanceTimersByTimeAsync(0);
  replanner.plan(2, 0);
  await vi.advanceTimersByTimeAsync(0);
  expect(ended).toEqual([1]);
  answers[1]!(large);
  answers[0]!(large);
  await vi.advanceTimersByTimeAsync(0);
  expect(kinds()).toEqual(['planning 1', 'planning 2', 'planned 2']);
});

test('a refusal is a state, and a cancelled question says no more', async () => {
  const { replanner, states } = planner(async (request) => {
    if (request === 1) throw new Error('At least 5.');
    return large;
  });
  replanner.plan(1, 0);
  await vi.advanceTimersByTimeAsync(0);
  expect(states.at(-1)).toEqual({ kind: 'refused', request: 1, error: new Error('At least 5.') });
  replanner.plan(2, 0);
  replanner.cancel();
  await vi.advanceTimersByTimeAsync(100);
  expect(states.at(-1)).toEqual({ kind: 'planning', request: 2 });
});

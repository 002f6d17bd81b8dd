import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { SavedStates } from '../../demo/saved_states';
import type { Engine } from '../../src/api';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** An engine whose disk never answers, and what was asked of it. */
function slowEngine(): { engine: Engine; asked: string[] } {
  const asked: string[] = [];
  const ask = (what: string) => (id: string) => {
    asked.push(`${what} ${id}`);
    return new Promise(() => {});
  };
  return { engine: { sessions: { save: ask('save'), restore: ask('restore') } } as unknown as Engine, asked };
}

test('a message that is written at once does not wait for the disk; the state is saved behind its reply', async () => {
  const { engine, asked } = slowEngine();
  const states = new SavedStates();
  states.replied(engine, 'a', true);
  await states.prepare(engine, 'a');
  vi.advanceTimersByTime(60_000);
  expect(asked).toEqual([]);
  states.replied(engine, 'a', true);
  vi.advanceTimersByTime(1500);
  expect(asked).toEqual(['save a']);
});

test('before another conversation is read, the state is saved', async () => {
  const { engine, asked } = slowEngine();
  const states = new SavedStates();
  states.replied(engine, 'a', true);
  void states.prepare(engine, 'b');
  expect(asked).toEqual(['save a']);
});

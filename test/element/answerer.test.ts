/** Who answers an element, where the engine is one that another element uses. */
import { expect, test, vi } from 'vitest';
import type { Engine, LoadProgress, Pressure } from '../../src/api';
import { engineKey, SharedEngines, type StartEngine } from '../../src/api/shared_engines';
import { Answerer, type Wish } from '../../src/element/answerer';

const wish: Wish = { model: 'a/b', options: {}, endpoint: undefined, leastTokensPerSecond: undefined };
const half: LoadProgress = { phase: 'weights', loaded: 1, total: 2, progress: 0.5, text: 'Half' };

const pressure: Pressure = { reason: 'out-of-memory', message: 'No room.', suggestedBudgetBytes: 2e9 };

/** An engine that another element holds; what it does is not the matter here. */
function shared() {
  const engines = new SharedEngines();
  const unload = vi.fn(async () => {});
  const engine = { unload, lost: new Promise(() => {}) } as unknown as Engine;
  let finish!: () => void;
  let report!: (progress: LoadProgress) => void;
  let press!: (pressure: Pressure) => void;
  const start: StartEngine = (onProgress, _, onPressure) => {
    [report, press] = [onProgress, onPressure];
    return new Promise<Engine>((resolve) => {
      finish = () => resolve(engine);
    });
  };
  const lease = engines.acquire(engineKey('a/b', {}), start, () => {});
  const onProgress = vi.fn();
  const onPressure = vi.fn();
  const answerer = new Answerer({ onProgress, onPressure, agree: () => true, onLost() {} }, engines);
  const told = { onProgress, onPressure, report: (at: LoadProgress) => report(at), press: () => press(pressure) };
  return { answerer, engine, lease, unload, finish: () => finish(), ...told };
}
const settled = () => new Promise((resolve) => setTimeout(resolve));

test.each([0, 1, 2, 3, 4, 5, 6])('let go %i steps after the load began, an engine goes on for others', async (steps) => {
  const { answerer, lease, unload, finish } = shared();
  finish();
  await lease.engine;
  answerer.load(wish).catch(() => {});
  for (let step = 0; step < steps; step++) await Promise.resolve();
  answerer.release();
  await settled();
  expect(unload).not.toHaveBeenCalled();
  lease.release();
  await settled();
  expect(unload, 'no other lease was left behind').toHaveBeenCalledOnce();
});

test('who comes late to a load is told how far it is', async () => {
  const { answerer, engine, onProgress, finish, report } = shared();
  report(half);
  const loaded = answerer.load(wish);
  await settled();
  expect(onProgress).toHaveBeenCalledExactlyOnceWith(half);
  finish();
  expect(await loaded).toBe(engine);
  expect(answerer.engine).toBe(engine);
});

test('pressure on a shared engine is told to each that holds it, and to nobody that let it go', async () => {
  const { answerer, onPressure, finish, press } = shared();
  finish();
  await answerer.load(wish);
  press();
  expect(onPressure).toHaveBeenCalledExactlyOnceWith(pressure);
  answerer.release();
  press();
  expect(onPressure).toHaveBeenCalledOnce();
});

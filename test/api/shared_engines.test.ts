import { expect, test, vi } from 'vitest';
import type { Engine, LoadProgress } from '../../src/api';
import { engineKey, SharedEngines, type StartEngine } from '../../src/api/shared_engines';
import { abortError } from '../../src/errors';

const progress: LoadProgress = { phase: 'weights', loaded: 1, total: 2, progress: 0.5, text: 'Half' };

/** Loads that end when the test says so; what an engine does is not the matter here. */
function loads() {
  const engines = new SharedEngines();
  const unload = vi.fn(async () => {});
  let lose!: () => void;
  const lost = new Promise<{ reason: string; message: string }>((resolve) => {
    lose = () => resolve({ reason: 'unknown', message: '' });
  });
  const started: { report(progress: LoadProgress): void; finish(): void; fail(error: Error): void }[] = [];
  const start: StartEngine = (report, signal) =>
    new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(abortError()));
      started.push({ report, finish: () => resolve({ unload, lost } as unknown as Engine), fail: reject });
    });
  return { engines, start, started, unload, lose: () => lose() };
}

test('one engine for one key, unloaded when the last one lets go', async () => {
  const { engines, start, started, unload } = loads();
  const [first, second] = [engines.acquire('k', start, () => {}), engines.acquire('k', start, () => {})];
  const other = engines.acquire('another', start, () => {});
  expect(started).toHaveLength(2);
  started[0]!.finish();
  expect(await first.engine).toBe(await second.engine);
  first.release();
  first.release(); // once
  await Promise.resolve();
  expect(unload).not.toHaveBeenCalled();
  second.release();
  await vi.waitFor(() => expect(unload).toHaveBeenCalledOnce());
  engines.acquire('k', start, () => {}).engine.catch(() => {});
  expect(started).toHaveLength(3);
  other.engine.catch(() => {});
  other.release();
});

test('a load goes on while somebody waits for it, and tells late-comers how far it is', async () => {
  const { engines, start, started } = loads();
  const seen: number[] = [];
  const first = engines.acquire('k', start, () => {});
  started[0]!.report(progress);
  const second = engines.acquire('k', start, ({ progress: share }) => seen.push(share));
  expect(seen).toEqual([0.5]);
  first.release();
  started[0]!.finish();
  await second.engine;
  const third = engines.acquire('n', start, () => {});
  third.release();
  await expect(third.engine).rejects.toMatchObject({ name: 'AbortError' });
});

test('a load that failed and an engine that is lost are tried anew', async () => {
  const { engines, start, started, lose } = loads();
  const first = engines.acquire('k', start, () => {});
  started[0]!.fail(new Error('no'));
  await expect(first.engine).rejects.toThrow('no');
  expect(engines.stateOf('k')).toBe(undefined);
  const second = engines.acquire('k', start, () => {});
  expect(engines.stateOf('k')).toBe('loading');
  started[1]!.finish();
  await second.engine;
  expect(engines.stateOf('k')).toBe('ready');
  lose();
  await vi.waitFor(() => {
    engines.acquire('k', start, () => {});
    expect(started).toHaveLength(3);
  });
});

test('keys agree where model and options do', () => {
  expect(engineKey('a/b', { gpuBudget: '4GB', contextTokens: 1 })).toBe(
    engineKey('a/b', { contextTokens: 1, gpuBudget: '4GB', kv: undefined }),
  );
  expect(engineKey('a/b', { gpuBudget: '4GB' })).not.toBe(engineKey('a/b', { gpuBudget: '2GB' }));
  expect(engineKey('a/b', {})).not.toBe(engineKey('a/c', {}));
});

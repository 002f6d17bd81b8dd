import { expect, test, vi } from 'vitest';
import { deleteSavedSession, deleteStored, downloadOf, planOf, storedModels } from '../../src/api/without_engine';
import { EngineError } from '../../src/errors';
import type { LoadProgress } from '../../src/protocol/engine';
import type { StoredModel } from '../../src/protocol/storage';
import { report, testEndpoint } from './endpoint';

const stored: StoredModel = {
  id: 'a1',
  model: 'acme/tiny',
  revision: undefined,
  storedBytes: 10,
  totalBytes: 20,
  complete: false,
  verified: 'unknown',
  createdAt: 1,
  lastUsedAt: 2,
  inUse: false,
};

test('a plan is asked for with the options of a load, and its worker ends', async () => {
  const { connect, calls, terminated } = testEndpoint({ plan: async () => ({ plan: report }) });
  expect(await planOf('acme/tiny', { gpuBudget: 2e9, contextTokens: 512 }, connect)).toEqual(report);
  expect(calls).toEqual([['plan', 'acme/tiny', { gpuBudget: 2e9, contextTokens: 512 }]]);
  expect(terminated()).toBe(1);
});

test('a refused plan says what the planner said, and its worker ends too', async () => {
  const { connect, terminated } = testEndpoint({ plan: async () => ({ error: { code: 'budget', message: 'At least 5.' } }) });
  await expect(planOf('acme/tiny', {}, connect)).rejects.toEqual(new EngineError('budget', 'At least 5.'));
  expect(terminated()).toBe(1);
});

test('a wrong option or an aborted signal starts no worker', async () => {
  const connect = vi.fn();
  await expect(planOf('a/b', { gpuBudget: 'much' }, connect)).rejects.toMatchObject({ code: 'invalid-request' });
  await expect(planOf('a/b', { signal: AbortSignal.abort() }, connect)).rejects.toMatchObject({ name: 'AbortError' });
  await expect(deleteStored('', {}, connect)).rejects.toMatchObject({ code: 'invalid-request' });
  await expect(downloadOf('a/b', { onProgress: 1 as never }, connect).done).rejects.toMatchObject({ code: 'invalid-request' });
  expect(connect).not.toHaveBeenCalled();
});

test('an abort ends the worker in mid-question', async () => {
  const controller = new AbortController();
  const { connect, terminated } = testEndpoint({ plan: () => new Promise(() => {}) });
  const plan = planOf('acme/tiny', { signal: controller.signal }, connect);
  controller.abort();
  await expect(plan).rejects.toMatchObject({ name: 'AbortError' });
  expect(terminated()).toBe(1);
});

test('stored models are listed and deleted; one in use is refused', async () => {
  const { connect, calls } = testEndpoint({
    listModels: async () => ({ models: [stored] }),
    deleteModel: async (id) => (id === 'a1' ? { done: true } : { error: { code: 'storage', message: 'In use by another tab.' } }),
  });
  expect(await storedModels({}, connect)).toEqual([stored]);
  await deleteStored('a1', {}, connect);
  await expect(deleteStored('b2', {}, connect)).rejects.toEqual(new EngineError('storage', 'In use by another tab.'));
  expect(calls).toEqual([['listModels'], ['deleteModel', 'a1'], ['deleteModel', 'b2']]);
});

test('a saved session is deleted without an engine; an id that is none starts no worker', async () => {
  const { connect, calls, terminated } = testEndpoint({ deleteSession: async () => ({ done: true }) });
  await deleteSavedSession('chat 1', {}, connect);
  await expect(deleteSavedSession('', {}, connect)).rejects.toMatchObject({ code: 'invalid-request' });
  expect(calls).toEqual([['deleteSession', 'chat 1']]);
  expect(terminated()).toBe(1);
});

test('a download reports, pauses, resumes and is done', async () => {
  let finish!: () => void;
  const { connect, calls, terminated } = testEndpoint({
    download: (_model, _config, onProgress) => {
      onProgress({ phase: 'download', loaded: 5, total: 20, progress: 0.25, text: 'Downloading' });
      return new Promise((resolve) => {
        finish = () => resolve({ done: true });
      });
    },
    pauseDownload() {},
    resumeDownload() {},
  });
  const seen: LoadProgress[] = [];
  const download = downloadOf('acme/tiny', { verify: 'full', onProgress: (progress) => seen.push(progress) }, connect);
  await vi.waitFor(() => expect(seen).toHaveLength(1));
  download.pause();
  download.resume();
  await vi.waitFor(() =>
    expect(calls).toEqual([['download', 'acme/tiny', { verify: 'full' }], ['pauseDownload'], ['resumeDownload']]),
  );
  finish();
  await download.done;
  expect(seen.at(-1)).toEqual({ phase: 'ready', loaded: 20, total: 20, progress: 1, text: 'Ready' });
  expect(terminated()).toBe(1);
  download.pause(); // nothing is under way, so nothing happens
});

test('a pause that came before there was anything to pause is said again', async () => {
  let begin!: () => void;
  const { connect, calls } = testEndpoint({
    async download(_model, _config, onProgress) {
      await new Promise<void>((resolve) => {
        begin = resolve;
      });
      await onProgress({ phase: 'download', loaded: 0, total: 9, progress: 0, text: '' });
      return { done: true };
    },
    pauseDownload() {},
  });
  const download = downloadOf('acme/tiny', {}, connect);
  download.pause();
  await vi.waitFor(() => expect(calls).toHaveLength(2));
  begin();
  await download.done;
  expect(calls.map(([name]) => name)).toEqual(['download', 'pauseDownload', 'pauseDownload']);
});

test('a cancelled download ends its worker, and a worker that fails ends its download', async () => {
  const controller = new AbortController();
  const first = testEndpoint({ download: () => new Promise(() => {}) });
  const cancelled = downloadOf('acme/tiny', { signal: controller.signal }, first.connect);
  controller.abort();
  await expect(cancelled.done).rejects.toMatchObject({ name: 'AbortError' });
  expect(first.terminated()).toBe(1);
  const second = testEndpoint({ download: () => new Promise(() => {}) });
  const broken = downloadOf('acme/tiny', {}, second.connect);
  second.crash('out of reach');
  await expect(broken.done).rejects.toThrow(/out of reach/);
  expect(second.terminated()).toBe(1);
});

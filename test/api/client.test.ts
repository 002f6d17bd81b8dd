import { expect, test, vi } from 'vitest';
import { EngineClient } from '../../src/api/client';
import type { DownloadControl } from '../../src/api/progress';
import { sessions } from '../../src/api/sessions';
import type { EngineOptions } from '../../src/api/types';
import { EngineError } from '../../src/errors';
import type { EngineWorkerApi, LoadProgress, Pressure } from '../../src/protocol/engine';
import { info, testEndpoint } from './endpoint';

const step = (progress: number, phase: LoadProgress['phase'] = 'download'): LoadProgress => ({
  phase,
  loaded: progress * 100,
  total: 100,
  progress,
  text: phase,
});
const loads: EngineWorkerApi['load'] = async (_model, _config, onProgress) => {
  onProgress(step(0.1));
  onProgress(step(0.9));
  return { info };
};
const start = (worker: Partial<EngineWorkerApi>, options: EngineOptions = {}) => {
  const endpoint = testEndpoint(worker);
  return { ...endpoint, client: EngineClient.start('acme/tiny', options, endpoint.connect) };
};

test('model and configuration reach the worker, callbacks and signals stay', async () => {
  const { signal } = new AbortController();
  const { client, calls } = start({ load: loads }, { gpuBudget: '4GB', contextOverflow: 'stop', signal, onProgress: () => {} });
  expect((await client).info.plan.gpu.total).toBe(3.4e9);
  expect(calls[0]).toEqual(['load', 'acme/tiny', { gpuBudget: '4GB', contextOverflow: 'stop' }]);
});

test('progress ends with ready, and nothing comes after it', async () => {
  const seen: LoadProgress[] = [];
  let late!: (progress: LoadProgress) => void;
  const load: EngineWorkerApi['load'] = async (model, config, onProgress, texts) => {
    late = onProgress;
    return loads(model, config, onProgress, texts);
  };
  const { client } = start({ load }, { onProgress: (progress) => seen.push(progress) });
  await client;
  await late(step(1));
  expect(seen.at(-1)).toEqual({ phase: 'ready', loaded: 15e9, total: 15e9, progress: 1, text: 'Ready' });
  expect(seen.filter(({ phase }) => phase === 'ready')).toHaveLength(1);
});

test('an engine that answers while loading goes on reporting until the worker says ready', async () => {
  const seen: string[] = [];
  let late!: (progress: LoadProgress) => void;
  const load: EngineWorkerApi['load'] = async (_model, _config, onProgress) => {
    late = onProgress;
    await onProgress(step(0.2));
    return { info };
  };
  const { client } = start(
    { load },
    { answerWhileLoading: true, onProgress: ({ progress, phase }) => seen.push(`${phase} ${progress}`) },
  );
  await client;
  for (const progress of [step(0.5), step(1, 'ready'), step(1)]) await late(progress);
  expect(seen).toEqual(['download 0.2', 'download 0.5', 'ready 1']);
});

test('the download of a load is paused and resumed through its progress', async () => {
  let finish!: () => void;
  const load: EngineWorkerApi['load'] = (_model, _config, onProgress) => {
    onProgress(step(0.1));
    return new Promise((resolve) => {
      finish = () => resolve({ info });
    });
  };
  const methods = { load, pauseDownload() {}, resumeDownload() {} };
  const control = new Promise<DownloadControl>((resolve) => {
    const { client, calls } = start(methods, {
      onProgress: (_, download) => resolve(Object.assign(download, { client, calls })),
    });
  });
  const { client, calls } = (await control) as DownloadControl & ReturnType<typeof start>;
  (await control).pause();
  (await control).resume();
  await vi.waitFor(() => expect(calls.map(([name]) => name)).toEqual(['load', 'pauseDownload', 'resumeDownload']));
  finish();
  await client;
});

test('pressure comes to the page, also long after the load', async () => {
  const seen: Pressure[] = [];
  let press: ((pressure: Pressure) => void) | undefined;
  const load: EngineWorkerApi['load'] = async (_model, _config, _onProgress, _texts, onPressure) => {
    press = onPressure;
    return { info };
  };
  const { client } = start({ load }, { onPressure: (pressure) => seen.push(pressure) });
  await client;
  const pressure: Pressure = { reason: 'out-of-memory', message: 'Full.', suggestedBudgetBytes: 2e9 };
  await press!(pressure);
  expect(seen).toEqual([pressure]);
});

test.each([
  ['gpuBudget', 0],
  ['gpuBudget', -1],
  ['gpuBudget', 1.5],
  ['gpuBudget', Number.NaN],
  ['gpuBudget', '4 gigs'],
  ['gpuBudget', ''],
  ['gpuBudget', {}],
  ['contextOverflow', 'drop'],
  ['storage', 'disk'],
  ['verify', true],
  ['update', 'yes'],
  ['answerWhileLoading', 1],
  ['onPressure', {}],
  ['onProgress', 'log'],
  ['gpuBudgets', '4GB'],
])('the option %s: %j is refused before a worker is started', async (name, value) => {
  const { client, calls } = start({ load: loads }, { [name]: value } as EngineOptions);
  await expect(client).rejects.toMatchObject({ code: 'invalid-request', message: expect.stringContaining(`'${name}'`) });
  expect(calls).toEqual([]);
});

test('what the worker says went wrong is thrown as it was, and the worker ends', async () => {
  const { client, terminated } = start({ load: async () => ({ error: { code: 'budget', message: 'Too small.' } }) });
  await expect(client).rejects.toEqual(new EngineError('budget', 'Too small.'));
  expect(terminated()).toBe(1);
});

test('a cancelled load ends the worker', async () => {
  const controller = new AbortController();
  const { client, terminated } = start({ load: () => new Promise(() => {}) }, { signal: controller.signal });
  controller.abort();
  await expect(client).rejects.toMatchObject({ name: 'AbortError' });
  expect(terminated()).toBe(1);
});

test('a worker that fails before its first answer could not start; one that fails later ends what runs', async () => {
  const early = start({ load: () => new Promise(() => {}) });
  early.crash('no such file');
  await expect(early.client).rejects.toThrow(/could not start .*: no such file/);
  const late = start({ load: loads, generate: () => new Promise(() => {}) });
  const client = await late.client;
  const reply = client.generate({ prompt: { text: 'x' }, sampling: {}, maxTokens: 1, stop: [] }, undefined).next();
  late.crash('boom');
  await expect(reply).rejects.toMatchObject({ code: 'internal', message: 'The engine’s worker failed: boom' });
  await expect(client.lost).resolves.toEqual({ reason: 'unknown', message: 'The engine’s worker failed: boom' });
});

test('a page that goes away lets go of its files, until the engine is unloaded', async () => {
  const { client, calls, page } = start({ load: loads, unload: async () => {} });
  const engine = await client;
  page.dispatchEvent(new Event('pagehide'));
  await vi.waitFor(() => expect(calls.at(-1)).toEqual(['releaseFiles']));
  await engine.unload();
  calls.length = 0;
  page.dispatchEvent(new Event('pagehide'));
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(calls).toEqual([]);
});

test('a page back from the back/forward cache keeps its engine if the worker answers, else says so', async () => {
  const shown = () => Object.assign(new Event('pageshow'), { persisted: true });
  const awake = start({ load: loads, info: () => info, tokenize: async () => ({ ids: [1] }) });
  const engine = await awake.client;
  const asleep = start({ load: loads, info: () => new Promise<undefined>(() => {}) as unknown as undefined });
  const gone = await asleep.client;
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    awake.page.dispatchEvent(shown());
    asleep.page.dispatchEvent(shown());
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    vi.advanceTimersByTime(60_000);
  } finally {
    vi.useRealTimers();
  }
  expect(await engine.tokenize('x')).toEqual([1]);
  await expect(gone.lost).resolves.toMatchObject({ message: expect.stringContaining('put this page to sleep') });
  expect(() => gone.generate({ prompt: { text: 'x' }, sampling: {}, maxTokens: 1, stop: [] }, undefined)).toThrow(
    /reload the page/,
  );
});

test('what cannot be cloned is the caller’s to change', async () => {
  const { client } = start({ load: loads }, { headers: { a: 'b' }, disable: [] });
  await client;
  const refused = start({ load: loads });
  const bad = EngineClient.start([{ name: 'x', run() {} }] as never, {}, refused.connect);
  await expect(bad).rejects.toMatchObject({ code: 'invalid-request' });
  await refused.client;
});

test('sessions are asked for by id, and a wrong id is refused before the worker hears of it', async () => {
  const saved = { id: 'chat', savedAt: 5, bytes: 9 };
  const { client, calls } = start({
    load: loads,
    saveSession: async () => ({ saved }),
    restoreSession: async () => ({ error: { code: 'not-found', message: 'There is none.' } }),
    listSessions: async () => ({ sessions: [saved] }),
    deleteSession: async () => ({ done: true }),
  });
  const kept = sessions(await client);
  await expect(kept.save('chat')).resolves.toEqual(saved);
  await expect(kept.restore('chat')).rejects.toEqual(new EngineError('not-found', 'There is none.'));
  await expect(kept.list()).resolves.toEqual([saved]);
  await expect(kept.delete('chat')).resolves.toBeUndefined();
  for (const id of ['', 'x'.repeat(257), 7])
    await expect(kept.save(id as string)).rejects.toMatchObject({ code: 'invalid-request' });
  expect(calls.filter(([name]) => /[sS]ession/.test(name))).toEqual([
    ['saveSession', 'chat'],
    ['restoreSession', 'chat'],
    ['listSessions'],
    ['deleteSession', 'chat'],
  ]);
});

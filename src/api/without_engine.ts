/** What needs no engine: plans, downloads, and the models kept in the browser. Each starts a worker, asks, and ends it. */
import { proxy } from 'comlink';
import { EngineError, throwIfAborted } from '../errors';
import type { EngineConfig, EngineWorkerApi, LoadProgress, ModelRef } from '../protocol/engine';
import type { PlanReport } from '../protocol/plan';
import type { StoredModel } from '../protocol/storage';
import { ControlRelay, whenAborted } from './control';
import { cloneableRef } from './model_ref';
import { checkCallback, checkOptions } from './options';
import { progressReporter, reportReady } from './progress';
import { checkSessionId } from './sessions';
import type { DownloadOptions, ModelDownload, PlanOptions, WorkerOptions } from './types';
import { type Connect, WorkerConnection } from './worker_connection';

export async function planOf(
  model: ModelRef,
  options: PlanOptions,
  connect: Connect = WorkerConnection.open,
): Promise<PlanReport> {
  const { signal, workerUrl, ...config } = options;
  checkOptions(config);
  return withWorker({ signal, workerUrl }, connect, async (connection, cancelled) => {
    const answer = connection.remote.plan(cloneableRef(model), config) as ReturnType<EngineWorkerApi['plan']>;
    return (await connection.ask('planModel', answer, cancelled)).plan;
  });
}

export async function storedModels(options: WorkerOptions, connect: Connect = WorkerConnection.open): Promise<StoredModel[]> {
  return withWorker(options, connect, async (connection, cancelled) => {
    const answer = connection.remote.listModels() as ReturnType<EngineWorkerApi['listModels']>;
    return (await connection.ask('listModels', answer, cancelled)).models;
  });
}

export async function deleteStored(id: string, options: WorkerOptions, connect: Connect = WorkerConnection.open): Promise<void> {
  if (typeof id !== 'string' || id === '')
    throw new EngineError('invalid-request', "'id' must be the id of a model that listModels() names.");
  await withWorker(options, connect, (connection, cancelled) =>
    connection.ask('deleteModel', connection.remote.deleteModel(id), cancelled),
  );
}

export async function deleteSavedSession(
  id: string,
  options: WorkerOptions,
  connect: Connect = WorkerConnection.open,
): Promise<void> {
  const checked = checkSessionId(id);
  await withWorker(options, connect, (connection, cancelled) =>
    connection.ask('deleteSession', connection.remote.deleteSession(checked), cancelled),
  );
}

export function downloadOf(model: ModelRef, options: DownloadOptions, connect: Connect = WorkerConnection.open): ModelDownload {
  const { onProgress, signal, workerUrl, ...config } = options;
  const relay = new ControlRelay();
  const run = async () => {
    checkOptions(config);
    checkCallback('onProgress', onProgress);
    await withWorker({ signal, workerUrl }, connect, (connection, cancelled) =>
      download(connection, cancelled, relay, { model, config, onProgress }),
    );
  };
  return { done: run(), pause: () => relay.pause(), resume: () => relay.resume() };
}

type DownloadRequest = { model: ModelRef; config: EngineConfig; onProgress: DownloadOptions['onProgress'] };

async function download(
  connection: WorkerConnection,
  cancelled: Promise<never>,
  relay: ControlRelay,
  { model, config, onProgress }: DownloadRequest,
): Promise<void> {
  const over = new AbortController();
  try {
    const report = progressReporter(onProgress, relay, over.signal);
    let total = 0;
    const follow = (progress: LoadProgress) => {
      total = progress.total;
      report(progress);
    };
    const answer = connection.remote.download(cloneableRef(model), config, proxy(follow));
    relay.connect(connection.remote);
    await connection.ask('downloadModel', answer as ReturnType<EngineWorkerApi['download']>, cancelled);
    reportReady(report, total);
  } finally {
    over.abort();
    relay.connect(undefined);
  }
}

/** A worker for the length of one call; the signal ends it, and with it what it was doing. */
async function withWorker<T>(
  { signal, workerUrl }: WorkerOptions,
  connect: Connect,
  use: (connection: WorkerConnection, cancelled: Promise<never>) => Promise<T>,
): Promise<T> {
  throwIfAborted(signal);
  const over = new AbortController();
  const connection = connect(workerUrl);
  try {
    return await use(connection, whenAborted(signal, over.signal));
  } finally {
    over.abort();
    connection.end();
  }
}

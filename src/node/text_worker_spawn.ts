/** Text workers in Node: a worker_threads thread per host. A bundled single file starts itself (see `serveTextWorker`). */
import { isMainThread, type MessagePort, parentPort, Worker, workerData } from 'node:worker_threads';
import { type Endpoint, expose } from 'comlink';
import type { TextWorkerHandle } from '../text/text_host';
import { createTextWorkerApi } from '../text/text_worker_api';

export type TextWorkerSpawnOptions = {
  /** Heap of the thread. Default 1024. Qwen3.5's 250,000 tokens take some 130 MiB while they load and 70 MiB after. */
  maxHeapMb?: number;
};

/** @param script a module that calls `serveTextWorker()` as the first thing it does */
export function spawnTextWorker(script: URL | string, { maxHeapMb = 1024 }: TextWorkerSpawnOptions = {}): TextWorkerHandle {
  const worker = new Worker(script, {
    workerData: { role: 'text' },
    env: {}, // nothing there needs the environment, and untrusted files are read there
    resourceLimits: { maxOldGenerationSizeMb: maxHeapMb, maxYoungGenerationSizeMb: 64 },
  });
  worker.unref(); // a program that has nothing left to do ends; a running call holds it by its timer
  return {
    port: endpoint(worker),
    terminate: () => void worker.terminate(),
    onFailure(listener) {
      worker.on('error', (error: Error & { code?: string }) =>
        listener({ kind: error.code === 'ERR_WORKER_OUT_OF_MEMORY' ? 'memory' : 'other', message: error.message }),
      );
      worker.on('exit', (code) => listener({ kind: 'other', message: `exit code ${code}` }));
    },
  };
}

/** In a thread that `spawnTextWorker` started: serves it and gives true. Anywhere else: false. */
export function serveTextWorker(): boolean {
  if (isMainThread || parentPort === null || (workerData as { role?: unknown } | null)?.role !== 'text') return false;
  expose(createTextWorkerApi(), endpoint(parentPort));
  return true;
}

/** comlink speaks the browser's ports: events with `data`, listeners that may be objects. */
function endpoint(port: Worker | MessagePort): Endpoint {
  const wrapped = new WeakMap<EventListenerOrEventListenerObject, (data: unknown) => void>();
  return {
    postMessage: (message, transfer) => port.postMessage(message, transfer as MessagePort[] | undefined),
    addEventListener(_type, listener) {
      const receive = (data: unknown) => {
        const event = { data } as MessageEvent;
        if (typeof listener === 'function') listener(event);
        else listener.handleEvent(event);
      };
      wrapped.set(listener, receive);
      port.on('message', receive);
    },
    removeEventListener(_type, listener) {
      const receive = wrapped.get(listener);
      if (receive) port.off('message', receive);
    },
  };
}

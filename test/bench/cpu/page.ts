/** Hands the worker to the test as `globalThis.cpu`. */
import { type Remote, wrap } from 'comlink';
import type { CpuWorker } from './cpu.worker';
import workerUrl from './cpu.worker.ts?worker&url';

declare global {
  var cpu: Remote<CpuWorker>;
}

globalThis.cpu = wrap<CpuWorker>(new Worker(new URL(workerUrl, import.meta.url), { type: 'module' }));

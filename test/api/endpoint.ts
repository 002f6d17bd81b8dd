/**
 * The other end of the page's calls: an engine worker that a test writes, behind a real message channel and a real comlink, so
 * that whatever crosses is cloned, proxied and answered as it is in a browser.
 */
import { expose } from 'comlink';
import { type Connect, WorkerConnection } from '../../src/api/worker_connection';
import type { EngineInfo, EngineWorkerApi } from '../../src/protocol/engine';
import type { PlanReport } from '../../src/protocol/plan';

export type TestEndpoint = {
  connect: Connect;
  /** Calls that arrived, in order: name and plain arguments (functions left out). */
  calls: [name: string, ...args: unknown[]][];
  /** The page's own events: 'pagehide', 'pageshow'. */
  page: EventTarget;
  /** As a worker whose script throws does. */
  crash(message: string): void;
  terminated(): number;
};

/** `worker`: the methods that this test needs; any other call fails by itself. */
export function testEndpoint(worker: Partial<EngineWorkerApi>): TestEndpoint {
  const calls: TestEndpoint['calls'] = [];
  const page = new EventTarget();
  const errors = new EventTarget();
  let terminations = 0;
  const connect: Connect = () => {
    const { port1, port2 } = new MessageChannel();
    expose(recorded({ releaseFiles() {}, lost: () => new Promise(() => {}), ...worker }, calls), port2);
    const endpoint = {
      postMessage: (message: unknown, transfer: Transferable[] = []) => port1.postMessage(message, transfer),
      addEventListener: (type: string, listener: EventListenerOrEventListenerObject) =>
        (type === 'error' ? errors : port1).addEventListener(type, listener),
      removeEventListener: (type: string, listener: EventListenerOrEventListenerObject) =>
        (type === 'error' ? errors : port1).removeEventListener(type, listener),
      start: () => port1.start(),
      terminate: () => {
        terminations++;
        port1.close();
        port2.close();
      },
    };
    return new WorkerConnection(endpoint, new URL('http://localhost/text.js'), page);
  };
  const crash = (message: string) => errors.dispatchEvent(Object.assign(new Event('error'), { message }));
  return { connect, calls, page, crash, terminated: () => terminations };
}

function recorded(worker: object, calls: TestEndpoint['calls']): object {
  return new Proxy(worker, {
    get: (target, name) => {
      const method = Reflect.get(target, name) as ((...args: unknown[]) => unknown) | undefined;
      return (...args: unknown[]) => {
        calls.push([String(name), ...args.filter((arg) => typeof arg !== 'function')]);
        if (!method) throw new Error(`The test's worker has no ${String(name)}.`);
        return method.apply(target, args);
      };
    },
  });
}

export const report: PlanReport = {
  model: 'acme/tiny',
  gpuBudgetBytes: 4e9,
  smallestBudgetBytes: 1e9,
  contextTokens: 4096,
  chunkTokens: 256,
  passTokens: 256,
  gpu: {
    residentWeights: 2e9,
    ring: 5e8,
    experts: 0,
    kvCache: 4e8,
    recurrentState: 1e8,
    scratch: 3e8,
    staging: 1e8,
    total: 3.4e9,
  },
  ring: { slots: 4, slotBytes: 125e6 },
  experts: undefined,
  weightBytes: 15e9,
  streamedBytesPerToken: 13e9,
  expectedExpertBytesPerToken: 0,
  units: [{ label: 'layers.0.mixer', bytes: 1e8, residency: 'streamed' }],
  disk: { home: 'opfs', why: undefined, neededBytes: 15e9, storedBytes: 0, availableBytes: 40e9, persisted: false },
  prediction: { tokensPerSecond: 0.5, readMs: 2000, uploadMs: 1500, computeMs: 100, bound: 'read' },
};

export const info = { model: 'acme/tiny', parameterBytes: 15e9, plan: report } as EngineInfo;

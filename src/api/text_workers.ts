import { EngineError } from '../errors';
import type { TextWorkers } from '../protocol/engine';
import { spawnModuleWorker } from '../protocol/spawn_worker';

/**
 * The text workers of one engine. The page starts them, and the engine's worker talks to each through a port: in Firefox a worker
 * that starts a worker can block for good, alone and all the more beside WebGPU calls (6 of 183 loads, measured).
 */
export class PageTextWorkers implements TextWorkers {
  readonly #url: URL;
  readonly #workers = new Map<number, Worker>();

  /** `url`: of a file that serves as text worker when it is started with the name 'sluice-text'. */
  constructor(url: URL) {
    this.#url = url;
  }

  start(id: number, port: MessagePort, onFailure: (message: string) => void): void {
    try {
      const worker = spawnModuleWorker(this.#url, 'sluice-text');
      this.#workers.set(id, worker);
      worker.addEventListener('error', (event) => onFailure(event.message || 'it could not start'));
      worker.postMessage({ port }, [port]);
    } catch (cause) {
      throw new EngineError('unsupported', `The text worker could not be started: ${(cause as Error).message}`, { cause });
    }
  }

  end(id: number): void {
    this.#workers.get(id)?.terminate();
    this.#workers.delete(id);
  }

  endAll(): void {
    for (const id of [...this.#workers.keys()]) this.end(id);
  }
}

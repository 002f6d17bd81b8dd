import { throwIfAborted } from '../errors';

/** One at a time, in order of arrival: requests share one sequence. A waiting one leaves the queue when it is cancelled. */
export class FairQueue {
  #tail: Promise<void> = Promise.resolve();

  /** Resolves with a release function once everyone before has released. @throws AbortError */
  async enter(signal?: AbortSignal): Promise<() => void> {
    throwIfAborted(signal);
    const before = this.#tail;
    let release!: () => void;
    this.#tail = new Promise((resolve) => {
      release = resolve;
    });
    try {
      await Promise.race([before, aborted(signal)]);
      throwIfAborted(signal);
      return release;
    } catch (error) {
      void before.then(release); // those behind still wait for those before
      throw error;
    }
  }
}

function aborted(signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => signal?.addEventListener('abort', () => resolve(), { once: true }));
}

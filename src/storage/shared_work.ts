/**
 * Work that several callers wait for, each with a signal of its own: one that leaves does not end it for the others, and when the
 * last one has left nobody pays for it any longer.
 */
import { abortError } from '../errors';

export type SharedWork<T> = {
  /** Everyone left before it was done; it must not be joined any more. */
  readonly abandoned: boolean;
  /** The result. @throws AbortError as soon as `signal` aborts, whatever the work does. */
  join(signal?: AbortSignal): Promise<T>;
};

/** Starts `work` at once; its signal aborts once everyone who joined has left. */
export function shareWork<T>(work: (signal: AbortSignal) => Promise<T>): SharedWork<T> {
  const controller = new AbortController();
  const result = work(controller.signal);
  result.catch(() => {}); // told to whoever waits; with nobody left it is no news
  let waiting = 0;
  return {
    get abandoned() {
      return controller.signal.aborted;
    },
    join(signal) {
      if (signal?.aborted) return Promise.reject(abortError());
      waiting += 1;
      return new Promise((resolve, reject) => {
        const leave = () => {
          reject(abortError());
          waiting -= 1;
          if (waiting === 0) controller.abort();
        };
        const stay = () => signal?.removeEventListener('abort', leave);
        signal?.addEventListener('abort', leave, { once: true });
        result.then(resolve, reject).then(stay, stay);
      });
    },
  };
}

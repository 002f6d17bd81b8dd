/**
 * Long work in short pieces. The worker that stores also encodes GPU work and takes messages, so nobody keeps the thread for more
 * than a few milliseconds.
 */

/** Work done without a break is at most this long, ms, plus the piece in hand. */
const TURN_MS = 3;

let turnStart = 0;

/** Lets other tasks (messages, timers, network) run if this turn was long; else goes on at once. */
export async function giveWay(): Promise<void> {
  if (performance.now() - turnStart < TURN_MS) return;
  await nextTask();
  turnStart = performance.now();
}

/** Not a timer: browsers hold nested timers back by 4 ms, and those of a hidden page by a second. */
function nextTask(): Promise<void> {
  if (typeof setImmediate === 'function') return new Promise((resolve) => setImmediate(resolve));
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });
}

export function pauseMs(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener('abort', end);
  });
}

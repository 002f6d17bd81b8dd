/**
 * Long work in short pieces. The worker that stores and streams also encodes GPU work and takes messages and the GPU's answers, so nobody
 * keeps the thread for more than a few milliseconds. All who work in it share one clock: after one's turn of the event loop another needs none.
 */

/** Work done without a break is at most this long, ms, plus the piece in hand. */
const TURN_MS = 4;

let turnStart = performance.now();
let turn: Promise<void> | undefined;

/** Lets other tasks (messages, timers, network) run if this turn was long; else goes on at once. Each of several callers gets a turn of its own. */
export async function giveWay(): Promise<void> {
  // Asked again after each turn: of those who waited for it together, one may already have used it up.
  while (performance.now() - turnStart >= TURN_MS) {
    turn ??= nextTurn();
    await turn;
  }
}

async function nextTurn(): Promise<void> {
  await nextTask();
  turn = undefined;
  turnStart = performance.now();
}

/** Resolves in a later turn of the event loop: after everything that needs none. */
export function nextTask(): Promise<void> {
  return new Promise(postTask);
}

/**
 * Not a timer: browsers hold nested timers back by 4 ms, and those of a hidden page by a second. Nor scheduler.yield, which goes before
 * messages that are already there.
 */
const postTask: (run: () => void) => void =
  'setImmediate' in globalThis ? (run) => void globalThis.setImmediate(run) : throughMessageChannel();

/** One channel for all: to make one for every turn costs more than the turn. */
function throughMessageChannel(): (run: () => void) => void {
  const { port1, port2 } = new MessageChannel();
  const queued: (() => void)[] = [];
  port1.onmessage = () => queued.shift()?.();
  return (run) => {
    queued.push(run);
    port2.postMessage(undefined);
  };
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

/** Lets the event loop run between pieces of synchronous work, so that messages, timers and the GPU's answers never wait long. */

/** How long work may hold the thread; a piece that takes longer by itself is followed by a turn of the loop at once. */
const holdMs = 4;

let since = performance.now();
let turn: Promise<void> | undefined;

/** Returns at once while this task is young, else after a turn of the event loop. Each of several callers gets a turn of its own. */
export async function letOthersRun(): Promise<void> {
  // Asked again after each turn: of those who waited for it together, one may already have used it up.
  while (performance.now() - since >= holdMs) {
    turn ??= nextTurn();
    await turn;
  }
}

/** Resolves in a later turn of the event loop: after everything that needs none. */
export function nextTask(): Promise<void> {
  return new Promise(postTask);
}

async function nextTurn(): Promise<void> {
  await nextTask();
  turn = undefined;
  since = performance.now();
}

/** setTimeout waits 4 ms once it is nested, and scheduler.yield goes before messages that are already there. */
const postTask: (run: () => void) => void =
  'setImmediate' in globalThis ? (run) => void globalThis.setImmediate(run) : throughMessageChannel();

function throughMessageChannel(): (run: () => void) => void {
  const { port1, port2 } = new MessageChannel();
  const queued: (() => void)[] = [];
  port1.onmessage = () => queued.shift()?.();
  return (run) => {
    queued.push(run);
    port2.postMessage(undefined);
  };
}

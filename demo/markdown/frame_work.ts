/**
 * Work that may take long, done a few milliseconds per frame, whoever asks for it: a conversation that comes back is many replies at once.
 * A slow device gets pauses as long as twice the work, so that the page stays the reader's.
 */

export interface Work {
  /** Does a little; true where there is more. */
  step(): boolean;
  /** Once per frame in which a step was done. */
  draw(): void;
}

/** Laying out and painting what comes of it takes several times as long, in the same task. */
const FRAME_MS = 4;

const queue = new Set<Work>();
let scheduled = false;
let notBefore = 0;

export function requestWork(work: Work): void {
  queue.add(work);
  schedule();
}

export function cancelWork(work: Work): void {
  queue.delete(work);
}

export function isWaiting(work: Work): boolean {
  return queue.has(work);
}

function schedule(): void {
  if (scheduled || queue.size === 0) return;
  scheduled = true;
  // In a hidden tab no frames come.
  if (document.hidden) setTimeout(run, 50);
  else requestAnimationFrame(run);
}

function run(): void {
  scheduled = false;
  const start = performance.now();
  if (start >= notBefore) {
    const touched = new Set<Work>();
    while (queue.size > 0 && performance.now() - start < FRAME_MS) {
      const work = queue.values().next().value!;
      queue.delete(work);
      touched.add(work);
      if (work.step()) queue.add(work); // behind the others
    }
    for (const work of touched) work.draw();
    const end = performance.now();
    notBefore = end + Math.max(0, 2 * (end - start) - FRAME_MS);
  }
  schedule();
}

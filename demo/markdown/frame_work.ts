/**
 * Work that may take long, done a few milliseconds per frame, whoever asks for it: a conversation that comes back is many replies at once.
 * A slow device gets pauses as long as twice the work, so that the page stays the reader's.
 */

/** Does a little; true where there is more. */
export type Step = () => boolean;

const FRAME_MS = 8;

const queue = new Set<Step>();
let scheduled = false;
let notBefore = 0;

export function requestWork(step: Step): void {
  queue.add(step);
  schedule();
}

export function cancelWork(step: Step): void {
  queue.delete(step);
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
    for (const step of queue) {
      if (!step()) queue.delete(step);
      if (performance.now() - start >= FRAME_MS) break;
    }
    const end = performance.now();
    notBefore = end + Math.max(0, 2 * (end - start) - FRAME_MS);
  }
  schedule();
}

/**
 * Work that may take long, done a few milliseconds per frame, whoever asks for it: a conversation that comes back is many replies at once.
 * It is done between frames, each draw laid out at once, so that a frame has only the painting left: one task of both would be long where
 * formulas are many. A slow device gets pauses as long as twice the work, so that the page stays the reader's. Text that streams in is
 * drawn every fourth frame of a usual screen: each frame costs the GPU and the process that feeds it what the model would use, and nobody
 * reads faster.
 */

export interface Work {
  /** Does a little; true where there is more. */
  step(): boolean;
  /** Once after the steps that were done between two frames. What it shows is laid out when it returns. */
  draw(): void;
}

/** Laying out what comes of it takes several times as long, in the same task, and painting it as long again in the frame's. */
const FRAME_MS = 4;
/** From one draw to the next while text comes no faster than it is shown. */
const DRAW_MS = 66;
/** In a hidden tab no frames come. */
const HIDDEN_MS = 50;

const queue = new Set<Work>();
/** Before this the device rests. */
let notBefore = 0;
/** Before this there is nothing worth a draw, unless somebody waits for the first word: then 0. */
let nextDraw = 0;
let timer: ReturnType<typeof setTimeout> | undefined;
let frame: number | undefined;
/** The last run left work for the next frame. */
let unfinished = false;

document.addEventListener('visibilitychange', () => {
  if (frame === undefined || !document.hidden) return;
  cancelAnimationFrame(frame); // it would not come
  frame = undefined;
  schedule();
});

/** `soon`: in the next frame, as nothing of it is on the page yet. */
export function requestWork(work: Work, { soon = false } = {}): void {
  queue.add(work);
  if (soon && nextDraw > 0) {
    nextDraw = 0;
    if (!document.hidden) stopTimer();
  }
  schedule();
}

export function cancelWork(work: Work): void {
  queue.delete(work);
}

export function isWaiting(work: Work): boolean {
  return queue.has(work);
}

function schedule(): void {
  if (frame !== undefined || timer !== undefined || queue.size === 0) return;
  const inFrames = (unfinished || nextDraw === 0) && !document.hidden;
  const wait = document.hidden ? HIDDEN_MS : Math.max(inFrames ? 0 : nextDraw, notBefore) - performance.now();
  if (inFrames && wait <= 0) frame = requestAnimationFrame(onFrame);
  else timer = setTimeout(inFrames ? onRested : onTimer, Math.ceil(wait));
}

function onRested(): void {
  stopTimer();
  schedule();
}

function onTimer(): void {
  stopTimer();
  runAndSchedule();
}

function stopTimer(): void {
  clearTimeout(timer);
  timer = undefined;
}

/** The next part of what is unfinished comes when this frame has been painted; the first words before, or what is below them would move. */
function onFrame(): void {
  frame = undefined;
  if (nextDraw > 0) timer ??= setTimeout(onTimer);
  else runAndSchedule();
}

function runAndSchedule(): void {
  try {
    run();
  } finally {
    schedule();
  }
}

/** Where one fails the others go on; the first failure is thrown in the end. */
function run(): void {
  const start = performance.now();
  if (start < notBefore) return;
  const touched = new Set<Work>();
  const failures: unknown[] = [];
  const attempt = (work: Work, act: () => void) => {
    try {
      act();
    } catch (error) {
      touched.delete(work);
      queue.delete(work);
      failures.push(error);
    }
  };
  while (queue.size > 0 && performance.now() - start < FRAME_MS) {
    const work = queue.values().next().value!;
    queue.delete(work);
    touched.add(work);
    attempt(work, () => void (work.step() && queue.add(work))); // behind the others
  }
  for (const work of touched) attempt(work, () => work.draw());
  const end = performance.now();
  notBefore = end + Math.max(0, 2 * (end - start) - FRAME_MS);
  unfinished = queue.size > 0;
  nextDraw = start + DRAW_MS;
  if (failures.length > 0) throw failures[0];
}

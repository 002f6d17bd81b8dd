/** The step of this thread's clock, milliseconds: browsers round it, to as much as a whole one. Takes as long to find out. */
export function clockTick(): number {
  const started = performance.now();
  let now = started;
  while (now === started) now = performance.now();
  return now - started;
}

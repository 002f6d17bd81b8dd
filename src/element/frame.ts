/** A frame of another site: the browser keeps its storage apart and grants it little. */

/** In words, before anything is downloaded; undefined where this page is its own, or in a frame of its own origin. */
export async function frameNotice(): Promise<string | undefined> {
  if (!inForeignFrame()) return undefined;
  const quota = (await navigator.storage?.estimate?.().catch(() => undefined))?.quota;
  const room = quota ? ` (${(quota / 1e9).toFixed(1)} GB here)` : '';
  return (
    'This chat is part of a page of another site. What it downloads is kept for this pair of sites only, so it is downloaded again ' +
    `elsewhere, and the browser grants it about a tenth of the usual room${room}.`
  );
}

function inForeignFrame(): boolean {
  try {
    return window.top !== null && window.top.location.origin !== location.origin;
  } catch {
    return true; // not to be asked: another origin
  }
}

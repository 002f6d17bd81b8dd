import engineUrl from '../../workers/engine.worker.ts?worker&url';
import textUrl from '../../workers/text.worker.ts?worker&url';

/** Where the workers' files lie. The library build puts another module in this one's place: see scripts/build.mjs. */
export const engineWorkerUrl = (): URL => new URL(engineUrl, import.meta.url);
export const textWorkerUrl = (): URL => new URL(textUrl, import.meta.url);

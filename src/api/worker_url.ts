import url from '../../workers/engine.worker.ts?worker&url';

/** Where the engine worker's file lies. The library build puts another module in this one's place: see scripts/build.mjs. */
export const engineWorkerUrl = (): URL => new URL(url, import.meta.url);

import url from './text.worker.ts?worker&url';

/** Where the text worker's file lies. The library build puts another module in this one's place: see scripts/build.mjs. */
export const textWorkerUrl = (): URL => new URL(url, import.meta.url);

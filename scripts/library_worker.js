/**
 * Entry of dist/lib/sluice-worker.js: both workers in one file, told apart by the name that they are started with (why: build.mjs,
 * libraryWorkerUrls). The imports are part of the same file, so they settle in the microtasks of this script, before the first message.
 */
if (self.name === 'sluice-text') import('../workers/text.worker.ts');
else import('../workers/engine.worker.ts');

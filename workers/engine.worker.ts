/** The browser's engine worker: everything happens here, off the page's thread. The page talks to it through comlink. */
import { expose } from 'comlink';
import { createEngineWorker } from '../src/engine/serve';
import { type KeptTexts, openKeptTexts } from '../src/storage/kept_texts';

let opened: Promise<KeptTexts> | undefined;
/** What was measured of kernels on this device. A browser that keeps nothing rejects, and it is measured again. */
const choices = () => {
  opened ??= openKeptTexts('kernels');
  return opened;
};

expose(
  createEngineWorker({
    choices: {
      get: async (key) => (await choices()).get(key),
      set: async (key, name) => (await choices()).set(key, name),
    },
  }),
);

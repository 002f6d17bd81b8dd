/** The browser's engine worker: everything happens here, off the page's thread. The page talks to it through comlink. */
import { expose } from 'comlink';
import { createStore, get, set, type UseStore } from 'idb-keyval';
import { createEngineWorker } from '../src/engine/serve';

let opened: UseStore | undefined;
/** What was measured of kernels on this device. A browser that keeps nothing rejects, and it is measured again. */
const choices = () => {
  opened ??= createStore('sluice-kernels', 'choices');
  return opened;
};

expose(
  createEngineWorker({
    choices: {
      get: async (key) => get<string>(key, choices()),
      set: async (key, name) => set(key, name, choices()),
    },
  }),
);

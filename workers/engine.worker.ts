/** The browser's engine worker: everything happens here, off the page's thread. The page talks to it through comlink. */
import { expose } from 'comlink';
import { createEngineWorker } from '../src/engine/serve';

expose(createEngineWorker());

/** The browser's engine worker: everything happens here, off the page's thread. The page talks to it through comlink. */
import { expose } from 'comlink';
import { createEngineWorker } from '../src/engine/serve';
import { spawnModuleWorker } from '../src/protocol/spawn_worker';
import { webWorkerHandle } from '../src/text/text_host';
import { textWorkerUrl } from './text_worker_url';

expose(createEngineWorker(() => webWorkerHandle(spawnModuleWorker(textWorkerUrl(), 'sluice-text'))));

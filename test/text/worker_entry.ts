import { serveTextWorker } from '../../src/node/text_worker_spawn';

serveTextWorker();

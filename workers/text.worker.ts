/** The browser's text worker: a thread that does nothing else, so that it can be ended (`src/text/text_host.ts`). */
import { expose } from 'comlink';
import { createTextWorkerApi } from '../src/text/text_worker_api';

expose(createTextWorkerApi());

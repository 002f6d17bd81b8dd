/**
 * The browser's text worker: a thread that does nothing else, so that it can be ended (`src/text/text_host.ts`). The page starts
 * it and hands it the port on which the engine's worker will call.
 */
import { expose } from 'comlink';
import { createTextWorkerApi } from '../src/text/text_worker_api';

addEventListener('message', ({ data }: MessageEvent<{ port: MessagePort }>) => expose(createTextWorkerApi(), data.port), {
  once: true,
});
postMessage('ready');

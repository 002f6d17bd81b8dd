/** A page with one worker that holds a model store; the test speaks to it through `window.storeTab`. */
import { type Remote, wrap } from 'comlink';
import type { StoreWorker } from './store.worker';

declare global {
  interface Window {
    storeTab?: Remote<StoreWorker>;
  }
}

const worker = new Worker(new URL('./store.worker.ts', import.meta.url), { type: 'module', name: 'store' });
const store = wrap<StoreWorker>(worker);

store.open().then((opened) => {
  if (opened) window.storeTab = store;
  else document.title = 'no store';
});

import { type Remote, wrap } from 'comlink';
import type { ModelSourceApi } from './model_source.worker';

declare global {
  interface Window {
    modelSource: Remote<ModelSourceApi>;
  }
}

const worker = new Worker(new URL('./model_source.worker.ts', import.meta.url), { type: 'module', name: 'model source' });
window.modelSource = wrap<ModelSourceApi>(worker);

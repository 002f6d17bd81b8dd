import { type Remote, wrap } from 'comlink';
import type { OverlapApi } from './overlap.worker';

declare global {
  interface Window {
    overlap: Remote<OverlapApi>;
  }
}

const worker = new Worker(new URL('./overlap.worker.ts', import.meta.url), { type: 'module', name: 'overlap' });
window.overlap = wrap<OverlapApi>(worker);

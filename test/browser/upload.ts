/** Runs every upload case in a worker, where the engine lives; the test asks for the rows. */
import type { UploadReport } from './upload.worker';

declare global {
  interface Window {
    uploadReport?: UploadReport;
  }
}

const worker = new Worker(new URL('./upload.worker.ts', import.meta.url), { type: 'module', name: 'uploads' });
worker.onmessage = ({ data }) => {
  window.uploadReport = data;
};
worker.onerror = ({ message }) => {
  window.uploadReport = { rows: [], waitMs: [], broken: `the worker failed: ${message}` };
};

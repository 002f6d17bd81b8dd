import { anywhere, type ContractRow, runContract } from './storage_subjects';

declare global {
  interface Window {
    runStorageContract(): Promise<ContractRow[]>;
  }
}

window.runStorageContract = async () => [...(await runContract(anywhere, 'in the page')), ...(await inWorker())];

function inWorker(): Promise<ContractRow[]> {
  const worker = new Worker(new URL('./storage.worker.ts', import.meta.url), { type: 'module', name: 'contract' });
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => reject(new Error(`the worker failed: ${event.message}`));
  });
}

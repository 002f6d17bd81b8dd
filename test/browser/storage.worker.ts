import { anywhere, inWorkersOnly, runContract } from './storage_subjects';

runContract({ ...anywhere, ...inWorkersOnly }, 'in a worker').then((rows) => self.postMessage(rows));

/** "Delete everything": whatever this page has stored in its origin goes, and nothing else does. */
import { deleteKeptStore } from './kept_store';

/** Everything of Sluice in the browser's private file system lies below it. */
const FOLDER = 'sluice';
const PREFIX = 'sluice';
/** Files that earlier versions' probes left beside it where their tab died. */
const EARLIER_FILES = ['sluice-doctor-probe', 'sluice-probe'];

/**
 * The engine must be unloaded, and nothing else writing. Goes on after a failure, so that as much as possible is gone.
 * @throws Error naming what could not be deleted: mostly because another tab uses it.
 */
export async function eraseEverything(): Promise<void> {
  const steps: Record<string, () => Promise<unknown>> = {
    'models and saved states': deleteFiles,
    conversations: deleteKeptStore,
    settings: async () => deleteSettings(),
    'what was measured of this GPU': deleteEarlierChoices,
    'the offline copy of this page': deleteOffline,
  };
  const left: string[] = [];
  for (const [name, step] of Object.entries(steps)) await step().catch(() => left.push(name));
  if (left.length > 0)
    throw new Error(`Not everything could be deleted: ${left.join(', ')}. Close other tabs of this page and try again.`);
}

async function deleteFiles(): Promise<void> {
  const root = await navigator.storage.getDirectory();
  for (const name of EARLIER_FILES) await root.removeEntry(name).catch(unlessNotFound);
  // The worker that had files open lets them go a moment after it has ended.
  for (let attempt = 0; ; attempt++) {
    try {
      return await root.removeEntry(FOLDER, { recursive: true });
    } catch (error) {
      if (isNotFound(error)) return;
      if (attempt === 20) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

const isNotFound = (error: unknown): boolean => error instanceof DOMException && error.name === 'NotFoundError';

function unlessNotFound(error: unknown): void {
  if (!isNotFound(error)) throw error;
}

/** Where an engine's worker of an earlier version kept it: it lies beside the models now. */
function deleteEarlierChoices(): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase('sluice-kernels');
    request.onsuccess = () => resolve();
    request.onerror = () => reject(request.error);
    // Whoever still has it open is another tab.
    request.onblocked = () => setTimeout(() => reject(new Error('blocked')), 2000);
  });
}

function deleteSettings(): void {
  for (const storage of [localStorage, sessionStorage])
    for (const key of Object.keys(storage)) if (key.startsWith(`${PREFIX}.`)) storage.removeItem(key);
}

async function deleteOffline(): Promise<void> {
  if (!('caches' in window)) return; // no secure context: there never was a copy
  const registration = await navigator.serviceWorker?.getRegistration();
  await registration?.unregister(); // first: one that is being installed fills its cache
  for (const key of await caches.keys()) if (key.startsWith(`${PREFIX}-`)) await caches.delete(key);
}

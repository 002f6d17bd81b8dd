/**
 * What this page keeps in IndexedDB: one database with one store, whose connection can be closed, so that the database can be deleted. Storage
 * may be switched off, full or taken away: the page then works without a memory.
 */
import { promisifyRequest, type UseStore } from 'idb-keyval';

const DATABASE = 'sluice';
const STORE = 'kept';

let opening: Promise<IDBDatabase> | undefined;

/** For the functions of idb-keyval. */
export const keptStore: UseStore = async (mode, use) => use((await open()).transaction(STORE, mode).objectStore(STORE));

function open(): Promise<IDBDatabase> {
  opening ??= connect().catch((error: unknown) => {
    opening = undefined;
    throw error;
  });
  return opening;
}

async function connect(): Promise<IDBDatabase> {
  const request = indexedDB.open(DATABASE);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE);
  const database = await promisifyRequest(request);
  const forget = () => {
    opening = undefined;
  };
  database.onclose = forget;
  database.onversionchange = () => {
    database.close(); // another tab deletes everything
    forget();
  };
  return database;
}

export async function deleteKeptStore(): Promise<void> {
  (await opening)?.close();
  opening = undefined;
  await promisifyRequest(indexedDB.deleteDatabase(DATABASE));
}

/** Undefined where the browser keeps nothing for this page. */
export async function quietly<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof DOMException || error instanceof ReferenceError) return undefined;
    throw error;
  }
}

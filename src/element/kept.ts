/** Conversations with `persist`, in the browser's private file system: sluice/v1/chats/, a file for each name. */
import { EngineError } from '../errors';

/** undefined where there is none. @throws EngineError 'storage' */
export async function readKept(name: string): Promise<unknown> {
  return inChats(async (chats) => {
    const file = await chats.getFileHandle(fileOf(name)).catch(notFound);
    const text = await (await file?.getFile())?.text();
    return text ? parse(text) : undefined;
  });
}

/** @throws EngineError 'storage' */
export async function writeKept(name: string, kept: object): Promise<void> {
  await inChats(async (chats) => {
    const file = await chats.getFileHandle(fileOf(name), { create: true });
    const writable = await file.createWritable(); // takes the file's place when it is closed, so a crash leaves the old one
    await writable.write(JSON.stringify(kept));
    await writable.close();
  });
}

/** Nothing happens where there is none. @throws EngineError 'storage' */
export async function deleteKept(name: string): Promise<void> {
  await inChats((chats) => chats.removeEntry(fileOf(name)).catch(notFound));
}

async function inChats<T>(use: (chats: FileSystemDirectoryHandle) => Promise<T>): Promise<T> {
  try {
    const top = await navigator.storage.getDirectory();
    const sluice = await top.getDirectoryHandle('sluice', { create: true });
    const v1 = await sluice.getDirectoryHandle('v1', { create: true });
    return await use(await v1.getDirectoryHandle('chats', { create: true }));
  } catch (cause) {
    const why = (cause as Error).message;
    throw new EngineError('storage', `The browser cannot keep this conversation: ${why} It stays in this page only.`, { cause });
  }
}

/** A name is free text; a file's name is not. */
function fileOf(name: string): string {
  return `${encodeURIComponent(name).replaceAll('*', '%2A').replaceAll('.', '%2E').slice(0, 200)}.json`;
}

function notFound(error: unknown): undefined {
  if ((error as Error).name !== 'NotFoundError') throw error;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // as good as none
  }
}

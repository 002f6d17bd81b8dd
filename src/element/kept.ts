/** Conversations with `persist`, in the browser's private file system: sluice/v1/chats/, a file for each name. */
import { EngineError } from '../errors';

/** What one element keeps: read, written and deleted one after the other. What goes wrong is reported, not thrown. */
export class KeptCopy {
  #defaultName: string | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly element: HTMLElement,
    private readonly report: (error: unknown) => void,
  ) {}

  /** undefined where there is none, or nothing is to be kept. */
  read(): Promise<unknown> {
    return this.#inTurn(readKept);
  }

  async write(kept: object): Promise<void> {
    await this.#inTurn((name) => writeKept(name, kept));
  }

  async delete(): Promise<void> {
    await this.#inTurn(deleteKept);
  }

  /** Undefined without `persist`. */
  #name(): string | undefined {
    const name = this.element.getAttribute('persist');
    if (name !== '') return name ?? undefined;
    // As it was at first: a page may change its address without being another page.
    this.#defaultName ??= location.pathname + (this.element.id === '' ? '' : `#${this.element.id}`);
    return this.#defaultName;
  }

  async #inTurn<T>(work: (name: string) => Promise<T>): Promise<T | undefined> {
    const name = this.#name();
    if (name === undefined) return undefined;
    const turn = this.#last.then(() => work(name)).catch((error) => void this.report(error));
    this.#last = turn;
    return turn;
  }
}

async function readKept(name: string): Promise<unknown> {
  return inChats(async (chats) => {
    const file = await chats.getFileHandle(await keptFile(name)).catch(notFound);
    const text = await (await file?.getFile())?.text();
    return text ? parse(text) : undefined;
  });
}

async function writeKept(name: string, kept: object): Promise<void> {
  await inChats(async (chats) => {
    const file = await chats.getFileHandle(await keptFile(name), { create: true });
    const writable = await file.createWritable(); // takes the file's place when it is closed, so a crash leaves the old one
    await writable.write(JSON.stringify(kept));
    await writable.close();
  });
}

async function deleteKept(name: string): Promise<void> {
  await inChats(async (chats) => chats.removeEntry(await keptFile(name)).catch(notFound));
}

/** @throws EngineError 'storage' */
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

/** Most file systems end at 255. */
const LONGEST_PLAIN = 200;
const PLAIN_BEFORE_HASH = 100;

/** A name is free text; a file's name is not. A long one is cut, and the whole told by a hash behind a sign that no plain one has. */
export async function keptFile(name: string): Promise<string> {
  const plain = encodeURIComponent(name).replaceAll('*', '%2A').replaceAll('.', '%2E');
  if (plain.length <= LONGEST_PLAIN) return `${plain}.json`;
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(name)));
  const hex = [...hash].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return `${plain.slice(0, PLAIN_BEFORE_HASH)}+${hex}.json`;
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

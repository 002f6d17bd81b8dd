/** A folder of this machine as the stores see one. */
import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError } from '../errors';
import type { StoreDirectory, StoreFile } from '../storage/store/directory';
import { openFile } from './file_source';

/** Makes `path` where it is missing. @throws EngineError 'storage'. */
export async function plainDirectory(path: string): Promise<StoreDirectory> {
  await failing(path, () => mkdir(path, { recursive: true }));
  return at(path);
}

function at(path: string): StoreDirectory {
  return {
    async directory(name, { create = false } = {}) {
      const folder = join(path, name);
      if (create) await failing(name, () => mkdir(folder, { recursive: true }));
      return (await isThere(folder)) ? at(folder) : undefined;
    },
    async list() {
      const entries = await failing(path, () => readdir(path, { withFileTypes: true }));
      return entries.map((entry) => ({ name: entry.name, kind: entry.isDirectory() ? 'directory' : 'file' }));
    },
    remove: (name) => failing(name, () => rm(join(path, name), { recursive: true, force: true })),
    async open(name, { create = false } = {}) {
      const file = join(path, name);
      if (!create && !(await isThere(file))) throw new EngineError('not-found', `There is no file ${name}.`);
      const flags = (await isThere(file)) ? 'r+' : 'w+';
      return storeFile(await failing(name, async () => openSync(file, flags)));
    },
    async stat(name) {
      const facts = await stat(join(path, name)).catch(unlessMissing(name));
      return facts && { byteLength: facts.size, lastModified: facts.mtimeMs };
    },
    snapshot: (name) => openFile(join(path, name)),
  };
}

function storeFile(descriptor: number): StoreFile {
  return {
    getSize: () => fstatSync(descriptor).size,
    read: (into, { at: position }) => readSync(descriptor, into, 0, into.byteLength, position),
    write: (bytes, { at: position }) => writeSync(descriptor, bytes, 0, bytes.byteLength, position),
    truncate: (byteLength) => ftruncateSync(descriptor, byteLength),
    flush: () => fsyncSync(descriptor),
    close: () => closeSync(descriptor),
  };
}

async function isThere(path: string): Promise<boolean> {
  return (await stat(path).catch(unlessMissing(path))) !== undefined;
}

const unlessMissing = (name: string) => (cause: NodeJS.ErrnoException) => {
  if (cause.code === 'ENOENT') return undefined;
  throw problem(name, cause);
};

async function failing<T>(name: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    throw problem(name, cause as Error);
  }
}

const problem = (name: string, cause: Error): EngineError => new EngineError('storage', `${name}: ${cause.message}`, { cause });

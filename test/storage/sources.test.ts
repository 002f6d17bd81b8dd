import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDirectory, openFile } from '../../src/node/file_source';
import { blobSource } from '../../src/storage/blob';
import { openHttp } from '../../src/storage/http';
import { memorySource } from '../../src/storage/memory';
import { openFileHandle, type SyncAccessHandle, syncAccessSource } from '../../src/storage/opfs';
import { type HubServer, startHub } from '../servers/hub_server';
import { byteSourceContract, type Subject } from './contract';

let server: HubServer;
let folder: string;
let count = 0;
beforeAll(async () => {
  server = await startHub(new Map());
  folder = await mkdtemp(join(tmpdir(), 'sluice-'));
});
afterAll(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});

const quick = { retryDelayMs: 1, tries: 2 };
function serve(bytes: Uint8Array): string {
  const name = `file-${count++}`;
  server.files.set(name, bytes);
  return name;
}
async function write(bytes: Uint8Array): Promise<string> {
  const path = join(folder, `file-${count++}`);
  await writeFile(path, bytes);
  return path;
}

/** A sync access handle over memory: reads at most 64 kB at a time, as the interface allows. */
function fakeAccess(bytes: Uint8Array, delivered = bytes.byteLength): SyncAccessHandle {
  return {
    getSize: () => bytes.byteLength,
    read(into, { at }) {
      const piece = bytes.subarray(at, Math.min(at + Math.min(into.byteLength, 65_536), delivered));
      into.set(piece);
      return piece.byteLength;
    },
    close() {},
  };
}

/** A Blob whose slices come back short, as when the file under it was cut. */
function cutBlob(bytes: Uint8Array<ArrayBuffer>, length: number): Blob {
  const blob = new Blob([bytes]);
  blob.slice = (start = 0, end = bytes.byteLength) => new Blob([bytes.subarray(start, Math.min(end, length))]);
  return blob;
}

const subjects: Record<string, Subject> = {
  memory: { open: async (bytes) => memorySource(bytes) },
  blob: {
    open: async (bytes) => blobSource(new Blob([bytes])),
    openTruncated: async (bytes, length) => blobSource(cutBlob(bytes, length)),
  },
  'file handle': {
    open: (bytes) =>
      openFileHandle({ kind: 'file', name: 'f', getFile: async () => new File([bytes], 'f') } as unknown as FileSystemFileHandle),
  },
  'sync access handle': {
    open: async (bytes) => syncAccessSource(fakeAccess(bytes), 'opfs'),
    openTruncated: async (bytes, length) => syncAccessSource(fakeAccess(bytes, length), 'opfs'),
  },
  'http, redirected': {
    open: (bytes) => openHttp(`${server.hubUrl}/${serve(bytes)}`, quick),
    async openTruncated(bytes) {
      const name = serve(bytes);
      const source = await openHttp(`${server.hubUrl}/${name}`, quick);
      server.fault = ({ host, path }) => (host === 'cdn' && path.endsWith(name) ? 'short-body' : undefined);
      return source;
    },
  },
  'http without ranges': {
    async open(bytes) {
      const name = serve(bytes);
      server.fault = ({ host }) => (host === 'cdn' ? 'no-ranges' : undefined);
      return openHttp(`${server.hubUrl}/${name}`, quick).finally(() => {
        server.fault = undefined;
      });
    },
  },
  'node file': {
    open: async (bytes) => openFile(await write(bytes)),
    async openTruncated(bytes, length) {
      const path = await write(bytes);
      const source = await openFile(path);
      await truncate(path, length);
      return source;
    },
  },
};

describe.each(Object.entries(subjects))('%s', (_, subject) => {
  test.each(byteSourceContract.filter(({ needs }) => needs === undefined || subject[needs]))('$name', async ({ run }) => {
    server.fault = undefined;
    await run(subject);
  });
});

test('a Node folder opens plain names in itself only', async () => {
  await writeFile(join(folder, 'config.json'), '{}');
  const files = await openDirectory(folder);
  expect((await files.open('config.json')).size).toBe(2);
  await expect(files.open('nothing.json')).rejects.toMatchObject({ code: 'not-found' });
  for (const name of ['../config.json', '/etc/passwd', 'a/b', '..', '.', '', 'a\\b', 'c:x', 'a\u0000b']) {
    await expect(files.open(name), name).rejects.toMatchObject({ code: 'invalid-request' });
  }
  await expect(openDirectory(join(folder, 'nowhere'))).rejects.toMatchObject({ code: 'not-found' });
  await expect(openDirectory(join(folder, 'config.json'))).rejects.toMatchObject({ code: 'not-found' });
});

test('a failed sync read (-8 as unsigned) is an error', async () => {
  const source = syncAccessSource({ getSize: () => 100, read: () => 4_294_967_288, close() {} }, 'opfs');
  await expect(source.read(0, new Uint8Array(10))).rejects.toMatchObject({ code: 'storage' });
});

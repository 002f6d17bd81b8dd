/** The store in the worker that it is made for, over real OPFS and real HTTP, with a model that the test knows byte by byte. */
import { expose } from 'comlink';
import { openHttp } from '../../src/storage/http';
import { openKeptTexts } from '../../src/storage/kept_texts';
import { openModelStore } from '../../src/storage/store/store';
import type { Download, DownloadOptions, DownloadProgress, ModelStore, StoreEntry } from '../../src/storage/store/types';
import { type TestModel, type TestModelOptions, testModel, withSha256 } from '../storage/store/test_model';

export type Outcome = { complete: boolean; verified: string; fetchedBytes: number; error?: string };

let store: ModelStore | undefined;
let model: TestModel;
let entry: StoreEntry | undefined;
let download: Download | undefined;
let failure: string | undefined;

const api = {
  async open(): Promise<boolean> {
    store = await openModelStore();
    return store !== undefined;
  },

  /** Creates or finds the model and starts to download it from `server`, which may be undefined: then it must not be asked. */
  async begin(options: TestModelOptions, server: string | undefined, settings: DownloadOptions = {}): Promise<boolean> {
    model = await withSha256(testModel(options));
    entry = await store!.create(model.manifest);
    const before = entry.complete;
    const source = (file: string, signal?: AbortSignal) => {
      if (server === undefined) throw new Error(`${file} was asked for`);
      return openHttp(`${server}/${file}`, {}, signal);
    };
    download = entry.download(model.chunks, source, settings);
    failure = undefined;
    download.done.catch((error: unknown) => {
      failure = String(error);
    });
    return before;
  },

  keepText: async (key: string, text: string) => (await openKeptTexts('texts')).set(key, text),
  keptText: async (key: string) => (await openKeptTexts('texts')).get(key),

  progress: (): DownloadProgress => download!.progress(),

  async finish(): Promise<Outcome> {
    await download!.done.catch(() => {});
    const { fetchedBytes } = download!.progress();
    return { complete: entry!.complete, verified: entry!.verified, fetchedBytes, ...(failure ? { error: failure } : {}) };
  },

  /** Opens what is stored and reads nothing. */
  async find(options: TestModelOptions): Promise<boolean | undefined> {
    model = await withSha256(testModel(options));
    entry = await store!.find(model.manifest.key);
    return entry?.complete;
  },

  /** Waits for the bytes where they are still to come. @returns whether they are right. */
  async readRight(file: string, byteOffset: number, byteLength: number): Promise<boolean> {
    const into = new Uint8Array(byteLength);
    const source = await entry!.open(file);
    await source.read(byteOffset, into);
    source.close();
    return equal(into, model.expected.get(file)!.subarray(byteOffset, byteOffset + byteLength));
  },

  /** Names of files whose bytes are not right. */
  async wrongFiles(): Promise<string[]> {
    const wrong: string[] = [];
    for (const [file, { byteLength }] of model.expected) {
      if (!(await api.readRight(file, 0, byteLength))) wrong.push(file);
    }
    return wrong;
  },

  list: () => store!.list(),

  async delete(): Promise<string> {
    const [info] = await store!.list();
    return store!.delete(info!.id).then(
      () => 'deleted',
      (error: unknown) => String(error),
    );
  },

  async closeEntry(): Promise<void> {
    await entry!.close();
  },

  async migrate(options: TestModelOptions): Promise<Outcome> {
    const old = model;
    model = await withSha256(testModel(options));
    entry = await store!.migrate(entry!, old.chunks, model.manifest, model.chunks);
    return { complete: entry.complete, verified: entry.verified, fetchedBytes: 0 };
  },

  /** Flips one byte of a closed model's file. */
  async damage(file: string, byteOffset: number): Promise<void> {
    const handle = await weightHandle(file);
    const access = await (handle as unknown as Syncable).createSyncAccessHandle();
    const byte = new Uint8Array(1);
    access.read(byte, { at: byteOffset });
    byte[0]! ^= 1;
    access.write(byte, { at: byteOffset });
    access.flush();
    access.close();
  },

  /** What a plain request for a handle of a weight file comes to: 'opened', or the error's name. */
  async tryHandle(file: string): Promise<string> {
    const handle = (await weightHandle(file)) as unknown as Syncable;
    return handle.createSyncAccessHandle().then(
      (access) => {
        access.close();
        return 'opened';
      },
      (error: DOMException) => error.name,
    );
  },

  /** How long the worker kept another task waiting while a download ran: 95th percentile and longest, ms. */
  async waits(server: string, options: TestModelOptions): Promise<{ p95: number; longest: number }> {
    await api.begin(options, server);
    const waits: number[] = [];
    const { port1, port2 } = new MessageChannel();
    let sent = performance.now();
    const ask = () => {
      sent = performance.now();
      port2.postMessage(0);
    };
    port1.onmessage = () => {
      waits.push(performance.now() - sent);
      setTimeout(ask, 1);
    };
    ask();
    await download!.done;
    port1.close();
    waits.sort((a, b) => a - b);
    return { p95: waits[Math.floor(waits.length * 0.95)]!, longest: waits.at(-1)! };
  },
};

export type StoreWorker = typeof api;

type Access = {
  read(into: Uint8Array, options: { at: number }): number;
  write(bytes: Uint8Array, options: { at: number }): number;
  flush(): void;
  close(): void;
};
type Syncable = { createSyncAccessHandle(): Promise<Access> };

async function weightHandle(file: string): Promise<FileSystemFileHandle> {
  let directory = await navigator.storage.getDirectory();
  const [info] = await store!.list();
  for (const name of ['sluice', 'v1', 'models', info!.id, 'g1', 'weights']) directory = await directory.getDirectoryHandle(name);
  return directory.getFileHandle(file);
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && a.every((byte, i) => byte === b[i]);
}

expose(api);

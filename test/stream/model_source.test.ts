/** From a reference to bytes: a real server over sockets, the real store over files. */
import { readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openDirectory } from '../../src/node/file_source';
import type { Fill } from '../../src/plan/blocks';
import { storeLayout } from '../../src/plan/store_layout';
import { fillBytes } from '../../src/plan/windows';
import type { DownloadProgress } from '../../src/storage/store/types';
import { type ModelSource, type ModelSourceOptions, openModelSource } from '../../src/stream/model_source';
import { openCheckpoint } from '../../src/stream/open_checkpoint';
import { type StoreLayouts, storeLayouts } from '../../src/stream/stored_model';
import { HUB_COMMIT, HUB_MODEL, type HubServer, type Logged, startHub } from '../servers/hub_server';
import { failureOf, generationFolder, openTab, origin, weightFile } from '../storage/store/kit';
import { expectedFiles, readStored } from './stored_bytes';

const vectors = (model: string) => new URL(`../fixtures/vectors/${model}/`, import.meta.url).pathname;
const filesOf = (model: string) =>
  new Map<string, Uint8Array>(
    readdirSync(vectors(model))
      .filter((name) => !name.startsWith('expected'))
      .map((name) => [name, new Uint8Array(readFileSync(join(vectors(model), name)))]),
  );
const texts: [string, Uint8Array][] = [
  ['tokenizer.json', new TextEncoder().encode('{"tokens":1}')],
  ['tokenizer_config.json', new TextEncoder().encode('{"chat_template":"T"}')],
];

let hub: HubServer;
let open: ModelSource[];
beforeEach(async () => {
  hub = await startHub(new Map([...filesOf('dense-bf16'), ...texts]));
  open = [];
});
afterEach(async () => {
  hub.fault = undefined;
  for (const source of open) await source.close().catch(() => {});
  await hub.close();
});

type Options = ModelSourceOptions & { layouts?: StoreLayouts; ref?: string };

async function start({ layouts, ref = HUB_MODEL, ...options }: Options = {}): Promise<ModelSource> {
  const store = options.storage === 'none' ? undefined : (options.store ?? (await openTab()).store);
  const source = await openModelSource(ref, { hubUrl: hub.hubUrl, retryDelayMs: 1, tries: 2, store, ...options }, layouts);
  open.push(source);
  return source;
}

/** Against what the loader makes from the folder that the server serves. */
async function expectBytes({ sources, stored }: ModelSource, model = 'dense-bf16'): Promise<void> {
  const local = await openCheckpoint(await openDirectory(vectors(model)));
  const expected = await expectedFiles(local);
  const { files, index } = storeLayout(local.tensors);
  expect(stored).toEqual(index);
  for (const file of files) {
    expect(sources.get(file.name)!.size).toBe(file.byteLength);
    expect(Buffer.compare(await readStored(sources, file), expected.get(file.name)!), file.name).toBe(0);
  }
  for (const source of local.sources.values()) source.close();
}

const weightRequests = () => hub.log.filter(({ host, file }) => host === 'cdn' && file?.endsWith('.safetensors'));
const weightBytes = () => weightRequests().reduce((sum, { sentBytes }) => sum + sentBytes, 0);
/** Handles and locks of all tabs. */
const nothingHeld = async () => {
  expect([...origin.openFiles.keys()]).toEqual([]);
  const { store } = await openTab();
  for (const { id } of await store.list()) await store.delete(id); // refused while anybody has it open
  await store.close();
};

/** The whole model in the store, and the server's log empty. */
async function storeWhole(options: Options = {}): Promise<void> {
  const source = await start(options);
  await source.download!.done;
  await source.close();
  hub.log.length = 0;
}

describe('a hub model', () => {
  test('cold: bytes can be read while they come, everything is fetched once, and the hub vouches for it', async () => {
    const progress: DownloadProgress[] = [];
    const source = await start({ onDownload: (p) => progress.push(p) });
    expect(source).toMatchObject({ label: HUB_MODEL, revision: HUB_COMMIT, home: 'opfs', why: undefined });
    expect(source.checkpoint).toMatchObject({ tokenizerJson: '{"tokens":1}', chatTemplate: 'T' });
    await expectBytes(source);
    await source.download!.done;
    expect(progress.at(-1)).toMatchObject({ state: 'complete' });
    expect((await (await openTab()).store.list())[0]).toMatchObject({
      key: `${hub.hubUrl}/${HUB_MODEL}@main`,
      model: HUB_MODEL,
      revision: HUB_COMMIT,
      complete: true,
      verified: 'hub',
      inUse: true,
    });
    const size = [...filesOf('dense-bf16')].reduce((sum, [, bytes]) => sum + bytes.byteLength, 0);
    expect(hub.bytesSent()).toBeLessThan(size + 2 * 65_536 + 10_000); // each weight file's first 64 KiB tell its size
    await source.close();
    await nothingHeld();
  });

  test('second start: no request at all, tokenizer or not', async () => {
    await storeWhole({ text: false });
    const source = await start();
    expect(source).toMatchObject({ revision: HUB_COMMIT, home: 'opfs', download: undefined });
    expect(source.checkpoint).toMatchObject({ tokenizerJson: '{"tokens":1}', chatTemplate: 'T' });
    await expectBytes(source);
    const { neededBytes, storedBytes } = await source.disk();
    expect(storedBytes).toBe(neededBytes);
    expect(neededBytes).toBeGreaterThan(1_600_000);
    const silent = await start({ text: false });
    expect([silent.checkpoint.tokenizerJson, silent.checkpoint.chatTemplate]).toEqual([undefined, undefined]);
    expect(hub.log).toEqual([]);
    expect(silent.checkpoint.config).toEqual(source.checkpoint.config);
    await expect(silent.checkpoint.sources.values().next().value!.read(800_000, new Uint8Array(9))).rejects.toMatchObject({
      code: 'internal',
    });
  });

  test('interrupted, then resumed at the commit that it began with, without asking which', async () => {
    let left = 30;
    hub.fault = ({ file, host }: Logged) =>
      host === 'cdn' && file?.endsWith('.safetensors') && left-- <= 0 ? ('silent' as const) : undefined;
    const first = await start();
    await until(() => first.download!.progress().storedBytes > 300_000);
    const before = first.download!.progress().storedBytes;
    await first.close();
    await nothingOpen();

    hub.expireSignatures(); // a request of the first that only arrives now gets no bytes, and counts for none
    hub.log.length = 0;
    hub.fault = ({ path }) => (path.includes('/api/') ? 500 : undefined); // the branch may have moved: it is not to be asked
    const second = await start();
    expect(second.revision).toBe(HUB_COMMIT);
    await expectBytes(second);
    await second.download!.done;
    expect(hub.log.filter(({ path }) => path.includes('/api/') || /json|jinja/.test(path))).toEqual([]);
    expect(weightBytes()).toBeLessThan(1_750_000 - before + 2 * 65_536);
    await second.close();
    await nothingHeld();
  });

  test('a damaged file is repaired, and nothing else is fetched', async () => {
    await storeWhole();
    damage(weightFile('layers.1.mlp.bin'), 5000);
    const source = await start();
    expect(source.download).toBeDefined();
    await expectBytes(source);
    await source.download!.done;
    expect(weightBytes()).toBeLessThan(250_000 + 2 * 65_536);
    await source.close();
    hub.log.length = 0;
    await expectBytes(await start());
    expect(hub.log).toEqual([]);
  });

  test('a damaged text comes from the hub, or is named where that cannot be reached', async () => {
    await storeWhole();
    damage(join(generationFolder(), 'texts', 'config.json'), 20);
    damage(join(generationFolder(), 'texts', 'model-00001-of-00002.safetensors.header'), 20);
    const source = await start();
    await expectBytes(source);
    expect(source.download).toBeUndefined();
    expect(new Set(hub.log.map(({ path }) => path.split('/').at(-1)))).toEqual(
      new Set(['config.json', 'model-00001-of-00002.safetensors']),
    );
    await source.close();
    hub.fault = () => 503;
    const error = await failureOf(start());
    expect([error.code, error.message]).toEqual(['storage', expect.stringMatching(/config\.json is damaged/)]);
    hub.fault = undefined;
    await nothingHeld();
  });

  test("verify: 'full' reads everything again", async () => {
    await storeWhole();
    const source = await start({ verify: 'full' });
    await source.download!.done;
    expect(hub.log).toEqual([]); // every byte of both files is in the store
    await expectBytes(source);
  });

  test('where nothing can be stored it comes from the network', async () => {
    const { store } = await openTab({ freeBytes: 1000 });
    const source = await start({ store });
    expect(source).toMatchObject({ home: 'none', stored: undefined, download: undefined });
    expect(source.why).toMatch(/needs 2 MB more on disk.*from the network each time/);
    expect(await store.list()).toEqual([]);
    const tensor = source.checkpoint.tensors.layers[0]!.mlp.gateProj.weight;
    const bytes = new Uint8Array(tensor.byteLength);
    await source.sources.get(tensor.file)!.read(tensor.byteOffset, bytes);
    expect(
      Buffer.compare(
        bytes,
        (filesOf('dense-bf16').get(tensor.file) as Uint8Array).subarray(tensor.byteOffset, tensor.byteOffset + tensor.byteLength),
      ),
    ).toBe(0);
    expect(await source.disk()).toMatchObject({ storedBytes: 0, neededBytes: expect.any(Number) });
    await source.close();
    await nothingOpen();
  });

  test('a disk that is full in the middle keeps what came, and the network gives the rest', async () => {
    const { store, tab } = await openTab({ diskBytes: 900_000 });
    const source = await start({ store });
    expect(source.home).toBe('opfs');
    await expectBytes(source);
    await expect(source.download!.done).rejects.toMatchObject({ code: 'storage' });
    expect(source.why).toMatch(/full.*from the network each time/);
    await expectBytes(source);
    tab.options.diskBytes = 2e9;
    await source.close();
    const second = await start({ store });
    await second.download!.done;
    expect(second.why).toBeUndefined();
    await expectBytes(second);
  });

  test('storage: none, and a look that stores nothing', async () => {
    const plain = await start({ storage: 'none' });
    expect(plain).toMatchObject({ home: 'none', why: undefined, stored: undefined });
    const { store } = await openTab();
    const look = await start({ store, peek: true });
    expect(look).toMatchObject({ home: 'opfs', download: undefined, stored: undefined });
    expect(await store.list()).toEqual([]);
    await storeWhole();
    expect((await start({ store, peek: true })).stored).toBeDefined();
    expect(hub.log).toEqual([]);
  });

  test('where there is no private file system, it says so', async () => {
    const none = await openModelSource(HUB_MODEL, { hubUrl: hub.hubUrl });
    open.push(none);
    expect(none).toMatchObject({ home: 'none', why: expect.stringMatching(/private window/) });
  });

  test('a listing that disagrees with the server is refused', async () => {
    hub.fault = ({ path }) => {
      const lie = [{ type: 'file', path: 'model-00001-of-00002.safetensors', size: 5, lfs: { oid: 'a'.repeat(64), size: 5 } }];
      return path.includes('/tree/') ? { status: 200, body: JSON.stringify(lie) } : undefined;
    };
    expect((await failureOf(start())).message).toMatch(/866176 bytes, and the hub lists 5/);
    await nothingHeld();
  });

  test('cancelled at any request, nothing stays open', async () => {
    const outcomes: boolean[] = [];
    for (let count = 1; count <= 26; count++) {
      const controller = new AbortController();
      let seen = 0;
      hub.fault = () => {
        if (++seen === count) controller.abort();
        return undefined;
      };
      const { store } = await openTab();
      const result = await start({ store, signal: controller.signal }).then(
        (source) => source,
        (error: unknown) => error,
      );
      // Once it is open the signal has done its work: `close` ends the download.
      outcomes.push(result instanceof DOMException);
      if (result instanceof DOMException) expect(result.name).toBe('AbortError');
      else await (result as ModelSource).close();
      await nothingHeld();
    }
    expect([outcomes[0], outcomes.at(-1), outcomes.filter(Boolean).length > 12]).toEqual([true, false, true]);
  });
});

describe('a branch that moves', () => {
  const other = 'f'.repeat(40);

  /** From now on `main` is another commit: the files of dense-4bit. */
  function move(): void {
    hub.models.set('acme/next', new Map([...filesOf('dense-4bit'), ...texts]));
    hub.fault = ({ path }) => {
      if (path.endsWith('/revision/main')) return { status: 200, body: JSON.stringify({ sha: other }) };
      if (path.includes(`/tree/${other}`)) return { status: 200, body: '[]' };
      const file = new RegExp(`/resolve/${other}/(.*)$`).exec(path)?.[1];
      if (file === undefined) return undefined;
      if (!hub.models.get('acme/next')!.has(file)) return 404;
      return { status: 302, headers: { Location: `${hub.hubUrl}/acme/next/${file}` } };
    };
  }

  test('is followed when asked, and the old commit answers until the new one is whole', async () => {
    await storeWhole();
    move();
    expect((await start()).revision).toBe(HUB_COMMIT);
    expect(hub.log).toEqual([]);
    for (const source of open.splice(0)) await source.close();

    const moved = hub.fault!;
    hub.fault = (request) =>
      request.file === 'acme/next/model.safetensors' && request.range!.start > 0 ? 'silent' : moved(request);
    const begun = await start({ update: true });
    expect(begun.revision).toBe(other);
    await begun.close();
    const { store } = await openTab();
    expect((await store.list()).map(({ revision, complete }) => [revision, complete]).sort()).toEqual([
      [HUB_COMMIT, true],
      [other, false],
    ]);
    expect((await start({ store })).revision).toBe(HUB_COMMIT);
    for (const source of open.splice(0)) await source.close();

    hub.fault = moved;
    const updated = await start({ store, update: true });
    await updated.download!.done;
    await expectBytes(updated, 'dense-4bit');
    await updated.close();
    expect((await store.list()).map(({ revision }) => revision)).toEqual([other]);
    hub.log.length = 0;
    const later = await start({ store });
    expect(later.revision).toBe(other);
    await expectBytes(later, 'dense-4bit');
    expect(hub.log).toEqual([]);
  });

  test('and one that did not costs a question and no bytes', async () => {
    await storeWhole();
    const source = await start({ update: true });
    expect(source).toMatchObject({ revision: HUB_COMMIT, download: undefined });
    expect(hub.log.map(({ path }) => path)).toEqual([`/api/models/${HUB_MODEL}/revision/main`]);
  });
});

describe('a folder on a server', () => {
  test('is kept under its address, and one that changed in mid-download is refused until it is updated', async () => {
    hub.redirect = false;
    const ref = `${hub.hubUrl}/?signature=1#x`;
    let left = 4;
    hub.fault = ({ file }) => (file?.endsWith('.safetensors') && left-- <= 0 ? 'silent' : undefined);
    const first = await start({ ref });
    await until(() => first.download!.progress().fetchedBytes > 0);
    await first.close();
    hub.fault = undefined;
    hub.etag = () => '"other"';
    const { store } = await openTab();
    expect((await store.list())[0]).toMatchObject({ key: hub.hubUrl, revision: undefined, complete: false });
    const second = await start({ store, ref });
    expect((await failureOf(second.download!.done)).message).toMatch(/changed on its server.*'update'/);
    await second.close();
    const third = await start({ store, ref, update: true });
    await third.download!.done;
    await expectBytes(third);
    await third.close();
    expect((await store.list()).map(({ key, complete }) => [key, complete])).toEqual([[hub.hubUrl, true]]);
    hub.log.length = 0;
    await expectBytes(await start({ store, ref: `${hub.hubUrl}/?signature=2` }));
    expect(hub.log).toEqual([]);
  });
});

describe('the version of a model', () => {
  const versionOf = async (options: Options = {}): Promise<string> => (await start(options)).version;
  const folder = (options: Options = {}): Options => ({ ref: hub.hubUrl, storage: 'none', ...options });
  const day = (date: number) => () => new Date(Date.UTC(2026, 0, date)).toUTCString();
  const undated = () => {
    hub.etag = () => undefined;
  };

  test("of a hub's model is its commit, stored or not", async () => {
    expect([await versionOf(), await versionOf({ storage: 'none' })]).toEqual([HUB_COMMIT, HUB_COMMIT]);
  });

  test.each([
    ['an ETag', (nth: number) => (hub.etag = () => `"${nth}"`)],
    ['a weak ETag', (nth: number) => (hub.etag = () => `W/"${nth}"`)],
    [
      'Last-Modified',
      (nth: number) => {
        undated();
        hub.lastModified = day(nth);
      },
    ],
    [
      'an ETag of the config alone',
      (nth: number) => (hub.etag = (file) => (file.endsWith('config.json') ? `"${nth}"` : '"weights"')),
    ],
  ])('in a folder on a server follows %s, and asks for nothing more', async (_, serve) => {
    hub.redirect = false;
    serve(1);
    const first = await versionOf(folder());
    const requests = hub.log.length;
    expect(await versionOf(folder())).toBe(first);
    expect(hub.log.length).toBe(2 * requests);
    serve(2);
    expect(await versionOf(folder())).not.toBe(first);
  });

  test('in a folder on a server that tells nothing is another one each time, but that of what was stored stays', async () => {
    hub.redirect = false;
    undated();
    expect(await versionOf(folder())).not.toBe(await versionOf(folder()));
    const stored = await start({ ref: hub.hubUrl });
    await stored.download!.done;
    await stored.close();
    const again = await start({ ref: hub.hubUrl });
    expect(again.download).toBeUndefined();
    expect(again.version).toBe(stored.version);
  });

  test('of what is stored from a folder is the one that it was made from, until it is fetched again', async () => {
    hub.redirect = false;
    const ref = hub.hubUrl;
    const direct = await versionOf(folder());
    const stored = await start({ ref });
    await stored.download!.done;
    await stored.close();
    hub.etag = () => '"other"';
    expect([stored.version, await versionOf({ ref })]).toEqual([direct, direct]);
    for (const source of open) await source.close();
    const updated = await start({ ref, update: true });
    await updated.download!.done;
    expect(updated.version).not.toBe(direct);
    expect(updated.version).toBe(await versionOf(folder()));
  });

  test('of files that were picked, and of a folder, follows their dates', async () => {
    const picked = (lastModified: number) =>
      [...filesOf('dense-4bit')].map(([name, bytes]) => new File([bytes as Uint8Array<ArrayBuffer>], name, { lastModified }));
    const handle = (date: number) => {
      const getFileHandle = async (name: string) => {
        const file = picked(date).find((one) => one.name === name);
        if (!file) throw new DOMException('none', 'NotFoundError');
        return { kind: 'file', name, getFile: async () => file };
      };
      return { kind: 'directory', name: 'folder', getFileHandle } as unknown as FileSystemDirectoryHandle;
    };
    for (const each of [picked, handle]) {
      const [one, same, other] = await Promise.all([1, 1, 2].map((date) => openModelSource(each(date), { text: false })));
      open.push(one!, same!, other!);
      expect(same!.version).toBe(one!.version);
      expect(other!.version).not.toBe(one!.version);
    }
    const local = await openModelSource(await openDirectory(vectors('dense-4bit')), { text: false });
    const localAgain = await openModelSource(await openDirectory(vectors('dense-4bit')), { text: false });
    open.push(local, localAgain);
    expect(localAgain.version).toBe(local.version);
    expect(local.version).toMatch(/^config\.json \d+ [\d.]+\nmodel\.safetensors \d+ [\d.]+$/);
  });
});

describe('a stored model of an older layout', () => {
  /** One file for everything, last fill first. */
  const old: StoreLayouts['byVersion'][number] = (tensors) => {
    const { files } = storeLayout(tensors);
    let at = 0;
    const fills = files
      .flatMap((file) => file.fills)
      .reverse()
      .map((fill): Fill => {
        const place = at;
        at += Math.ceil(fillBytes(fill) / 16) * 16;
        return { ...fill, at: place };
      });
    return { files: [{ name: 'all.bin', byteLength: at, fills }], index: new Map() };
  };
  const before: StoreLayouts = { current: 0, byVersion: { 0: old } };
  const after: StoreLayouts = { ...storeLayouts, byVersion: { ...storeLayouts.byVersion, 0: old } };

  test('is rewritten without the network', async () => {
    await storeWhole({ layouts: before });
    const source = await start({ layouts: after });
    expect(source.download).toBeUndefined();
    await expectBytes(source);
    expect(hub.log).toEqual([]);
    await source.close();
    expect((await (await openTab()).store.list()).map(({ layoutVersion }) => layoutVersion)).toEqual([storeLayouts.current]);
  });

  test('that nobody knows any more is fetched again, and a look leaves it alone', async () => {
    await storeWhole({ layouts: before });
    const look = await start({ peek: true });
    expect(look).toMatchObject({ home: 'opfs', stored: undefined });
    await look.close();
    const source = await start();
    await source.download!.done;
    await expectBytes(source);
  });
});

describe('files on this machine', () => {
  test('are read where they are', async () => {
    const files = await openDirectory(vectors('dense-4bit'));
    const source = await openModelSource(files, { text: false });
    open.push(source);
    expect(source).toMatchObject({
      home: 'local',
      stored: undefined,
      download: undefined,
      label: 'dense-4bit',
      revision: undefined,
    });
    expect([...source.sources.keys()]).toEqual(['model.safetensors']);
    expect(await source.disk()).toMatchObject({ neededBytes: 0, storedBytes: 0 });
    const picked = [...filesOf('dense-4bit')].map(([name, bytes]) => new File([bytes as Uint8Array<ArrayBuffer>], name));
    const chosen = await openModelSource(picked);
    open.push(chosen);
    expect(chosen.home).toBe('local');
    await source.close();
    await expect(source.sources.get('model.safetensors')!.read(0, new Uint8Array(1))).rejects.toThrow(/closed/);
  });
});

function damage(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at]! ^= 0xff;
  writeFileSync(path, bytes);
  utimesSync(path, new Date(), new Date(Date.now() + 5000));
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 1000) throw new Error('it never came');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function nothingOpen(): Promise<void> {
  expect([...origin.openFiles.keys()]).toEqual([]);
}

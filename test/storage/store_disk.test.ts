/** A disk that says what is not so, is emptied behind the store's back, or holds what nobody expects; and how the store treats it. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { EngineError, isAbort } from '../../src/errors';
import { expectStored, failureOf, generationFolder, openTab, origin, stored, weightFile } from './store/kit';
import { loggedSources } from './store/sources';
import { testModel, withSha256 } from './store/test_model';

test('a write that is only said to be done is noticed by the length read back, and its chunk is fetched again', async () => {
  const model = testModel();
  const { store, tab } = await openTab({ loses: (path) => path.endsWith('layer-3') });
  const entry = await store.create(model.manifest);
  const error = await failureOf(entry.download(model.chunks, loggedSources(model.originals).sources, { connections: 1 }).done);
  expect([error.code, error.message]).toEqual(['storage', expect.stringMatching(/full/)]);
  tab.options.loses = undefined;
  const rest = loggedSources(model.originals);
  await entry.download(model.chunks, rest.sources).done;
  expect(rest.reads.length).toBeGreaterThanOrEqual(model.chunks.filter(({ targets }) => targets[0]!.file === 'layer-3').length);
  await expectStored(entry, model);
});

test('a journal entry that never reached the disk leaves its chunk to be fetched again', async () => {
  const model = testModel();
  let lines = 0;
  const { store } = await openTab({ loses: (path) => path.endsWith('journal') && ++lines > 10 });
  const entry = await store.create(model.manifest);
  const log = loggedSources(model.originals, { fail: (n) => (n > 25 ? new EngineError('storage', 'cut') : undefined) });
  await entry.download(model.chunks, log.sources, { connections: 1 }).done.catch(() => {});
  await store.close();
  const second = await openTab();
  const again = (await second.store.find(model.manifest.key))!;
  const rest = loggedSources(model.originals);
  await again.download(model.chunks, rest.sources).done;
  await expectStored(again, model);
  expect(rest.reads.length).toBe(model.chunks.length - 10);
});

test('the browser is asked to keep what is stored before the first byte is fetched, and its no ends nothing', async () => {
  const model = testModel();
  const { store, tab } = await openTab();
  const log = loggedSources(model.originals);
  const readsWhenAsked: number[] = [];
  tab.persist = async () => {
    readsWhenAsked.push(log.reads.length);
    return false;
  };
  const entry = await store.create(model.manifest);
  await entry.download(model.chunks, log.sources).done;
  expect(readsWhenAsked[0]).toBe(0);
  await expectStored(entry, model);
});

test('a stored file is read in pieces of at most 4 MiB; other work and an abort come between them', async () => {
  const mib = 1 << 20;
  const model = testModel({ layers: 1, weightBytes: 10 * mib, chunkBytes: 4 * mib });
  await stored(model);
  const pieces: number[] = [];
  const { store, tab } = await openTab();
  const entry = (await store.find(model.manifest.key))!;
  const source = await entry.open('layer-0');
  await source.read(0, new Uint8Array(10));
  const controller = new AbortController();
  let between = 0;
  tab.options.onRead = (path, byteLength) => {
    if (!path.endsWith('layer-0')) return;
    pieces.push(byteLength);
    setTimeout(() => between++); // due when the piece is there
    const end = performance.now() + 20; // a disk that takes its time
    while (performance.now() < end);
  };
  await source.read(0, new Uint8Array(10 * mib));
  expect(pieces.reduce((sum, bytes) => sum + bytes, 0)).toBe(10 * mib);
  expect(Math.max(...pieces)).toBeLessThanOrEqual(4 * mib);
  expect(between).toBeGreaterThanOrEqual(pieces.length - 1);
  pieces.length = 0;
  setTimeout(() => controller.abort());
  const reading = source.read(0, new Uint8Array(10 * mib), controller.signal);
  expect(isAbort(await reading.catch((error: unknown) => error))).toBe(true);
  expect(pieces.length).toBeLessThan(3);
});

test('a sha256 goes on where the journal says it came to: what was hashed before is not read from disk again', async () => {
  const mib = 1 << 20;
  const model = await withSha256(testModel({ layers: 2, weightBytes: 80 * mib, scaleBytes: 1000, chunkBytes: 4 * mib }));
  const first = await openTab();
  // What comes after the first 20 chunks takes long.
  let reads = 0;
  const begun = await first.store.create(model.manifest);
  const half = loggedSources(model.originals, { delayMs: () => (++reads > 20 ? 1500 : 0) });
  begun.download(model.chunks, half.sources, { connections: 1 }).done.catch(() => {});
  const journal = () => readFileSync(join(generationFolder(), 'journal'), 'utf8');
  const saved = () => /"sha256":"(.)\.safetensors","position":(\d+)/.exec(journal());
  await expect.poll(() => Number(saved()?.[2] ?? 0), { timeout: 20_000 }).toBeGreaterThanOrEqual(64 * mib);
  const file = saved()![1] === 'a' ? 'layer-0' : 'layer-1';
  first.tab.die();
  let readBytes = 0;
  const second = await openTab({
    onRead: (path, byteLength) => {
      if (path.endsWith(file)) readBytes += byteLength;
    },
  });
  const entry = (await second.store.find(model.manifest.key))!;
  await entry.download(model.chunks, loggedSources(model.originals).sources).done;
  expect(entry.verified).toBe('hub');
  // The first start after a cut looks at every chunk that it finds; the sha256 adds only what comes after its position.
  expect(readBytes).toBeLessThan(1.5 * 80 * mib);
});

test('a model of which only some is stored is listed as that, and can be deleted', async () => {
  const model = testModel();
  const { store } = await openTab();
  const log = loggedSources(model.originals, { fail: (n) => (n > 9 ? new EngineError('storage', 'cut') : undefined) });
  const entry = await store.create(model.manifest);
  await entry.download(model.chunks, log.sources).done.catch(() => {});
  await entry.close();
  const [info] = await store.list();
  expect(info).toMatchObject({ complete: false, inUse: false });
  expect(info!.storedBytes).toBeGreaterThan(0);
  expect(info!.storedBytes).toBeLessThan(info!.totalBytes);
  await store.delete(info!.id);
  expect(await store.list()).toEqual([]);
  expect(readdirSync(join(origin.folder, 'models'))).toEqual([]);
});

test.each(['a weight file', 'everything'] as const)(
  'evicted while it is open, %s: reads say so, and the next start fetches it again',
  async (what) => {
    const model = testModel();
    await stored(model);
    const { store } = await openTab();
    const entry = (await store.find(model.manifest.key))!;
    const source = await entry.open('layer-2');
    if (what === 'a weight file') rmSync(weightFile('layer-2'));
    else
      for (const name of readdirSync(join(origin.folder, 'models')))
        rmSync(join(origin.folder, 'models', name), { recursive: true });
    const error = await failureOf(source.read(0, new Uint8Array(100)));
    expect(['storage', 'not-found']).toContain(error.code);
    await store.close();
    const later = await openTab();
    const found = await later.store.find(model.manifest.key);
    expect(found?.complete ?? false).toBe(false);
    const again = await later.store.create(model.manifest);
    const log = loggedSources(model.originals);
    await again.download(model.chunks, log.sources).done;
    expect(log.reads.length).toBe(what === 'everything' ? 30 : 5);
    await expectStored(again, model);
  },
);

test('what else lies among the models is no model, harms none, and is not run into', async () => {
  const model = testModel();
  await stored(model);
  const models = join(origin.folder, 'models');
  const [own] = readdirSync(models) as [string];
  writeFileSync(join(models, 'a file'), 'x');
  mkdirSync(join(models, 'empty'));
  for (const [name, manifest] of [
    ['not json', 'x'],
    ['no hash', '{"key":"acme/other@main"}'],
    ['null', 'null\n0\n'],
  ] as const) {
    mkdirSync(join(models, name, 'g1', 'weights'), { recursive: true });
    writeFileSync(join(models, name, 'g1', 'manifest.json'), manifest);
  }
  writeFileSync(join(models, own, 'g2'), 'a file where a folder would be');
  writeFileSync(join(models, own, 'used'), '{"at":');
  const { store } = await openTab();
  expect((await store.list()).map((info) => info.model)).toEqual(['acme/tiny']);
  const entry = (await store.find(model.manifest.key))!;
  expect(entry.complete).toBe(true);
  await expectStored(entry, model);
  expect(await failureOf(entry.open('../../a file'))).toMatchObject({ code: 'not-found' });
});

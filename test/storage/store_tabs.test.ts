/** Several tabs over one store. Handles are exclusive between them, as in Firefox and Safari; browsers themselves: test/browser/store. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { EngineError, isAbort } from '../../src/errors';
import type { DownloadProgress } from '../../src/storage/store/types';
import { expectStored, failureOf, generationFolder, openTab, origin, stored } from './store/kit';
import { loggedSources } from './store/sources';
import { testModel, withSha256 } from './store/test_model';

const noNetwork = () => Promise.reject(new EngineError('storage', 'this tab fetches nothing'));

describe('two tabs on one download', () => {
  test('the second follows: it reads what is there, is complete when the first is, and fetches nothing', async () => {
    const model = await withSha256(testModel());
    const [a, b] = [await openTab(), await openTab()];
    const [first, second] = await Promise.all([a.store.create(model.manifest), b.store.create(model.manifest)]);
    const log = loggedSources(model.originals, { delayMs: 10 });
    const leading = first.download(model.chunks, log.sources, { connections: 1 });
    await (await first.open('layer-5')).read(0, new Uint8Array(100));
    const states: string[] = [];
    const onProgress = (p: DownloadProgress) => states.push(`${p.state} ${p.storedBytes > 0}`);
    const following = second.download(model.chunks, noNetwork, { onProgress });
    const into = new Uint8Array(50_000);
    await (await second.open('layer-3')).read(30_000, into);
    expect(Buffer.compare(into, model.expected.get('layer-3')!.subarray(30_000, 80_000))).toBe(0);
    expect(leading.progress().state).toBe('downloading');
    expect(following.progress().state).toBe('following');
    await Promise.all([leading.done, following.done]);
    expect(states).toContain('following true');
    expect(log.reads.length).toBe(30);
    expect([second.complete, second.verified]).toEqual([true, 'hub']);
    // Both read at once: one through handles, the other through snapshots.
    await Promise.all([expectStored(first, model), expectStored(second, model)]);
  });

  test('the second takes over when the first dies, and both waits go on', async () => {
    const model = testModel();
    const [a, b] = [await openTab(), await openTab()];
    const first = await a.store.create(model.manifest);
    const second = (await b.store.find(model.manifest.key))!;
    const log = loggedSources(model.originals, { delayMs: 5 });
    const leading = first.download(model.chunks, log.sources, { connections: 2 });
    leading.done.catch(() => {});
    await (await first.open('layer-5')).read(0, new Uint8Array(10)); // it has the lock
    const rest = loggedSources(model.originals);
    const following = second.download(model.chunks, rest.sources);
    const waiting = (await second.open('layer-0')).read(0, new Uint8Array(220_000));
    await (await second.open('layer-4')).read(0, new Uint8Array(10));
    a.tab.die();
    await waiting;
    await following.done;
    expect(rest.reads.length).toBeLessThan(28);
    await expectStored(second, model);
  });

  test('an abort ends the following and leaves the leading alone', async () => {
    const model = testModel();
    const [a, b] = [await openTab(), await openTab()];
    const first = await a.store.create(model.manifest);
    const second = (await b.store.find(model.manifest.key))!;
    const leading = first.download(model.chunks, loggedSources(model.originals, { delayMs: 5 }).sources);
    await (await first.open('layer-5')).read(0, new Uint8Array(10));
    const controller = new AbortController();
    const following = second.download(model.chunks, noNetwork, { signal: controller.signal });
    setTimeout(() => controller.abort(), 20);
    expect(isAbort(await following.done.catch((error) => error))).toBe(true);
    await leading.done;
    expect(first.complete).toBe(true);
  });
});

describe('list and delete', () => {
  test('sizes, last use, completeness; other tabs show as in use', async () => {
    const model = testModel();
    const other = testModel({ key: 'acme/other@main', seed: 5, revision: 'abc' });
    await stored(model);
    const { store } = await openTab();
    const entry = await store.create(other.manifest);
    const log = loggedSources(other.originals, { fail: (n) => (n > 3 ? new EngineError('storage', 'cut') : undefined) });
    await entry.download(other.chunks, log.sources, { connections: 1 }).done.catch(() => {});
    const texts = '{"seed":1}'.length + 2 * 300;
    expect(await store.list()).toMatchObject([
      {
        ...{ model: 'acme/other', revision: 'abc', complete: false, verified: 'unknown', inUse: false },
        ...{ storedBytes: texts + 20_000 + 2 * 65_536, totalBytes: texts + 1_320_000 },
      },
      { model: 'acme/tiny', complete: true, storedBytes: texts + 1_320_000, totalBytes: texts + 1_320_000, inUse: false },
    ]);
    const second = await openTab();
    expect((await second.store.list()).map(({ inUse }) => inUse)).toEqual([true, false]);
    const [info] = await store.list();
    expect(Date.now() - info!.lastUsedAt).toBeLessThan(20_000);
    expect(info!.createdAt).toBeLessThanOrEqual(info!.lastUsedAt);
  });

  test('a model that is open is not deleted, wherever it is open', async () => {
    const model = testModel();
    await stored(model);
    const [a, b] = [await openTab(), await openTab()];
    const entry = (await a.store.find(model.manifest.key))!;
    for (const { store } of [a, b]) {
      const error = await failureOf(store.delete(entry.id));
      expect(error.code).toBe('storage');
      expect(error.message).toContain('acme/tiny is open in another tab or engine');
    }
    await entry.close();
    await b.store.delete(entry.id);
    expect(await a.store.list()).toEqual([]);
    expect(readdirSync(join(origin.folder, 'models'))).toEqual([]);
    expect((await failureOf(b.store.delete(entry.id))).code).toBe('not-found');
  });

  test('another revision replaces the stored one, unless it is in use', async () => {
    const model = testModel({ revision: 'one' });
    await stored(model);
    const next = testModel({ revision: 'two', seed: 9 });
    const [a, b] = [await openTab(), await openTab()];
    const open = (await a.store.find(model.manifest.key))!;
    expect((await failureOf(b.store.create(next.manifest))).message).toContain('open in another tab');
    await open.close();
    const entry = await b.store.create(next.manifest);
    expect(entry.complete).toBe(false);
    await entry.download(next.chunks, loggedSources(next.originals).sources).done;
    await expectStored(entry, next);
    expect((await b.store.list()).length).toBe(1);
  });

  test('a changed ETag is another model; one that is absent is not', async () => {
    const model = testModel();
    const tagged = (etag?: string) => ({
      ...model.manifest,
      origins: model.manifest.origins.map((origin) => ({ ...origin, etag })),
    });
    const { store } = await openTab();
    const entry = await store.create(tagged('"1"'));
    await entry.download(model.chunks, loggedSources(model.originals).sources).done;
    await entry.close();
    const same = await store.create(tagged());
    expect(same.complete).toBe(true);
    await same.close();
    expect((await store.create(tagged('"2"'))).complete).toBe(false);
  });

  test('closing the store ends downloads and reads, and frees every handle and lock', async () => {
    const model = testModel();
    const { store } = await openTab();
    const entry = await store.create(model.manifest);
    const download = entry.download(model.chunks, loggedSources(model.originals, { delayMs: 5 }).sources);
    const source = await entry.open('layer-5');
    await source.read(0, new Uint8Array(10));
    const waiting = (await entry.open('layer-0')).read(0, new Uint8Array(10));
    waiting.catch(() => {});
    await store.close();
    expect(origin.openFiles.size).toBe(0);
    expect([...(await origin.tab().locks.held()).values()].filter((count) => count > 0)).toEqual([]);
    expect(isAbort(await download.done.catch((error) => error))).toBe(true);
    expect(isAbort(await waiting.catch((error) => error))).toBe(true);
    expect((await failureOf(source.read(0, new Uint8Array(1)))).message).toContain('closed');
    expect((await failureOf(entry.open('layer-5'))).message).toContain('closed');
    expect((await failureOf(store.list())).message).toContain('closed');
  });
});

describe('a new layout', () => {
  const old = () => withSha256(testModel());
  const next = () => withSha256(testModel({ layoutVersion: 2, chunkBytes: 50_000 }));

  test('is rewritten from the stored bytes, keeps what is known of them, and frees the old space', async () => {
    const [from, to] = [await old(), await next()];
    await stored(from);
    const { store } = await openTab();
    const entry = (await store.find(from.manifest.key))!;
    expect([entry.manifest.layoutVersion, entry.verified]).toEqual([1, 'hub']);
    const moved = await store.migrate(entry, from.chunks, to.manifest, to.chunks);
    expect([moved.manifest.layoutVersion, moved.complete, moved.verified]).toEqual([2, true, 'hub']);
    await expectStored(moved, to);
    expect(readdirSync(join(generationFolder(), '..')).sort()).toEqual(['g2', 'used']);
    expect((await failureOf(entry.open('layer-0'))).message).toContain('closed');
    // A repair of the new form still knows that its originals matched.
    await moved.close();
    expect((await store.list())[0]).toMatchObject({ complete: true, layoutVersion: 2, inUse: false });
  });

  test('a crash at any write leaves the old one, or the new one, whole', async () => {
    const [from, to] = [await old(), await next()];
    let finished = false;
    for (let dieAt = 1; !finished; dieAt += process.env.SLUICE_LONG ? 3 : 29) {
      await stored(from);
      let writes = 0;
      const { tab, store } = await openTab({ onWrite: () => void (++writes === dieAt && tab.die()) });
      const moved = await store
        .find(from.manifest.key)
        .then((entry) => store.migrate(entry!, from.chunks, to.manifest, to.chunks))
        .catch(() => undefined);
      finished = moved !== undefined;
      tab.die();
      const after = await openTab();
      const entry = (await after.store.find(from.manifest.key))!;
      expect(entry.complete).toBe(true);
      await expectStored(entry, entry.manifest.layoutVersion === 1 ? from : to);
      expect(readdirSync(join(generationFolder(), '..')).length).toBe(2);
      await entry.close();
      await after.store.delete(entry.id);
      await after.store.close();
    }
  }, 300_000);

  test('is refused where it would have to download', async () => {
    const [from, to] = [await old(), await withSha256(testModel({ layoutVersion: 2 }))];
    const { store } = await openTab();
    const entry = await store.create(from.manifest);
    expect((await failureOf(store.migrate(entry, from.chunks, to.manifest, to.chunks))).message).toContain('not completely');
    await entry.download(from.chunks, loggedSources(from.originals).sources).done;
    const second = await openTab();
    const held = (await second.store.find(from.manifest.key))!;
    expect((await failureOf(store.migrate(entry, from.chunks, to.manifest, to.chunks))).message).toContain('another tab');
    const lacking = from.chunks.filter(({ targets }) => targets[0]!.file !== 'layer-3');
    const error = await failureOf(
      second.store
        .close()
        .then(async () => store.migrate((await store.find(from.manifest.key))!, lacking, to.manifest, to.chunks)),
    );
    expect(error.message).toContain('does not hold bytes');
    expect(held.complete).toBe(true);
    const again = (await store.find(from.manifest.key))!;
    expect(again.complete).toBe(true);
    await expectStored(again, from);
    expect(statSync(generationFolder()).isDirectory()).toBe(true);
  });
});

test('tabs speak to each other in one place, which says which model it is about and nothing else', async () => {
  const sources = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  const speaking = sources.filter((name) =>
    /\bnew (BroadcastChannel|SharedWorker)\(/.test(readFileSync(join('src', name), 'utf8')),
  );
  expect(speaking).toEqual([join('storage', 'store', 'host.ts')]);
  const heard: unknown[] = [];
  const channel = new BroadcastChannel('sluice/v1/store');
  channel.addEventListener('message', (event) => void heard.push((event as MessageEvent).data));
  const model = testModel();
  const { store } = await openTab();
  const entry = await store.create(model.manifest);
  await entry.download(model.chunks, loggedSources(model.originals).sources).done;
  await expect.poll(() => heard.length).toBeGreaterThan(0);
  channel.close();
  expect(heard).toEqual(heard.map(() => ({ type: 'progress', id: entry.id })));
});

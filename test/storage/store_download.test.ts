import { readdirSync, readFileSync, rmSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { EngineError, isAbort } from '../../src/errors';
import type { DownloadProgress } from '../../src/storage/store/types';
import { expectStored, failureOf, generationFolder, openTab, origin, stored, weightFile } from './store/kit';
import { loggedSources } from './store/sources';
import { testModel, withSha256 } from './store/test_model';

describe('a download', () => {
  test('stores every byte, seals, and is found complete without touching a source', async () => {
    const model = testModel();
    const { store } = await openTab();
    const entry = await store.create(model.manifest);
    expect(entry.complete).toBe(false);
    const progress: DownloadProgress[] = [];
    const log = loggedSources(model.originals, { delayMs: 1 });
    await entry.download(model.chunks, log.sources, { onProgress: (p) => progress.push(p) }).done;
    expect(entry.complete).toBe(true);
    expect(entry.verified).toBe('unknown');
    expect(progress.at(-1)).toMatchObject({ state: 'complete', storedBytes: 1_320_000, totalBytes: 1_320_000 });
    expect(log.mostInFlight).toBe(6);
    await expectStored(entry, model);
    await store.close();

    const second = await openTab();
    const again = (await second.store.find('acme/tiny@main'))!;
    expect(again.complete).toBe(true);
    expect(again.manifest.texts).toEqual(['a.safetensors.header', 'b.safetensors.header', 'config.json']);
    expect(new TextDecoder().decode(await again.readText('config.json'))).toBe('{"seed":1}');
    expect(second.tab.opened.filter((path) => path.includes('weights'))).toEqual([]);
    await again.download(model.chunks, () => Promise.reject(new Error('no network'))).done;
    await expectStored(again, model);
  });

  test('serves a read while it runs: the chunks it needs come first', async () => {
    const model = testModel({ layers: 12 });
    const { store } = await openTab();
    const entry = await store.create(model.manifest);
    const log = loggedSources(model.originals, { delayMs: 5 });
    const download = entry.download(model.chunks, log.sources, { connections: 2 });
    const source = await entry.open('layer-0'); // the last one in the order of use
    const into = new Uint8Array(1000);
    await source.read(100_000, into);
    expect(Buffer.compare(into, model.expected.get('layer-0')!.subarray(100_000, 101_000))).toBe(0);
    expect(log.reads.length).toBeLessThanOrEqual(6);
    expect(download.progress().storedBytes).toBeLessThan(500_000);
    await download.done;
    await expectStored(entry, model);
  });

  test('reads that wait fail with the download', async () => {
    const model = testModel();
    const { store } = await openTab();
    const entry = await store.create(model.manifest);
    const failure = new EngineError('storage', 'the server went away');
    const log = loggedSources(model.originals, { delayMs: 2, fail: (count) => (count > 12 ? failure : undefined) });
    const download = entry.download(model.chunks, log.sources);
    const sources = await Promise.all([...model.expected.keys()].map((name) => entry.open(name)));
    const reads = await Promise.allSettled(sources.map((source) => source.read(0, new Uint8Array(220_000))));
    const failed = reads.filter((read) => read.status === 'rejected');
    expect(failed.length).toBeGreaterThan(2);
    expect(new Set(failed.map(({ reason }) => reason))).toEqual(new Set([failure]));
    expect(await failureOf(download.done)).toBe(failure);
    const late = sources[reads.findIndex((read) => read.status === 'rejected')]!;
    expect(await failureOf(late.read(0, new Uint8Array(220_000)))).toBe(failure);
    expect(download.progress().state).toBe('failed');
    // It goes on where it was.
    const rest = loggedSources(model.originals);
    await entry.download(model.chunks, rest.sources).done;
    expect(rest.reads.length).toBeLessThanOrEqual(30 - 6);
    await expectStored(entry, model);
  });

  test('pauses, resumes and aborts', async () => {
    const model = testModel();
    const { store } = await openTab();
    const entry = await store.create(model.manifest);
    const log = loggedSources(model.originals, { delayMs: 5 });
    const controller = new AbortController();
    const download = entry.download(model.chunks, log.sources, { connections: 2, signal: controller.signal });
    const source = await entry.open('layer-5');
    await source.read(0, new Uint8Array(10));
    download.pause();
    await new Promise((resolve) => setTimeout(resolve, 30));
    const { length } = log.reads;
    expect(download.progress().state).toBe('paused');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(log.reads.length).toBe(length);
    download.resume();
    await (await entry.open('layer-4')).read(0, new Uint8Array(10));
    const waiting = (await entry.open('layer-0')).read(0, new Uint8Array(10));
    controller.abort();
    expect(isAbort(await waiting.catch((error) => error))).toBe(true);
    expect(isAbort(await download.done.catch((error) => error))).toBe(true);
    const reads = log.reads.length;
    await entry.download(model.chunks, log.sources).done;
    // 30 chunks; what was stored before is not fetched again.
    expect(log.reads.length - reads).toBeLessThan(28);
    await expectStored(entry, model);
  });

  test('a read is refused where nothing could bring the bytes', async () => {
    const model = testModel();
    const { store } = await openTab();
    const entry = await store.create(model.manifest);
    expect((await failureOf((await entry.open('layer-0')).read(0, new Uint8Array(1)))).message).toContain(
      'not completely stored',
    );
    expect((await failureOf(entry.open('nothing'))).code).toBe('not-found');
    expect((await failureOf(entry.readText('nothing'))).code).toBe('not-found');
  });

  test('a source of another size or ETag is not the file that the download began with', async () => {
    const model = testModel();
    const origins = model.manifest.origins.map((origin) => ({ ...origin, etag: '"1"' }));
    const { store } = await openTab();
    const entry = await store.create({ ...model.manifest, origins });
    const { sources } = loggedSources(model.originals);
    for (const change of [{ etag: '"2"' }, { size: 5 }]) {
      const source = { ...sources.get('a.safetensors')!, ...change };
      const error = await failureOf(entry.download(model.chunks, new Map([...sources, ['a.safetensors', source]])).done);
      expect(error.message).toMatch(/a\.safetensors is not the file that this download began with/);
    }
    await entry.download(model.chunks, sources).done;
    await expectStored(entry, model);
  });

  test('chunks that do not fit the manifest, or deliver other lengths, are named', async () => {
    const model = testModel();
    const { store } = await openTab();
    const entry = await store.create(model.manifest);
    const wild = { ...model.chunks[0]!, targets: [{ file: 'layer-5', byteOffset: 219_000, byteLength: 20_000 }] };
    const { sources } = loggedSources(model.originals);
    expect((await failureOf(entry.download([wild], sources).done)).message).toContain('layer-5');
    const short = { ...model.chunks[0]!, assemble: () => [new Uint8Array(5)] };
    expect((await failureOf(entry.download([short], sources).done)).message).toContain('assemble');
  });
});

describe('after a crash', () => {
  test('at any moment, what was journaled stays and at most one chunk per connection is fetched again', async () => {
    const runs = process.env.SLUICE_LONG ? 60 : 12;
    const connections = 3;
    for (let run = 0; run < runs; run++) {
      const model = await withSha256(testModel({ seed: run + 1 }));
      let fetched = 0;
      let kills = 0;
      for (;;) {
        let writes = 0;
        const dieAt = kills < 5 ? 5 + Math.floor(Math.random() * 40) : Number.POSITIVE_INFINITY;
        const { tab, store } = await openTab({
          onWrite: () => {
            if (++writes === dieAt) tab.die();
          },
        });
        const log = loggedSources(model.originals, { delayMs: () => Math.random() * 3 });
        try {
          const entry = await store.create(model.manifest);
          await entry.download(model.chunks, log.sources, { connections }).done;
          fetched += log.fetchedBytes;
          expect(entry.verified).toBe('hub');
          await expectStored(entry, model);
          await store.close();
          break;
        } catch (error) {
          expect(tab.dead, String(error)).toBe(true);
          fetched += log.fetchedBytes;
          kills++;
        }
      }
      const most = 1_320_000 + kills * connections * (64 << 10);
      expect(fetched, `run ${run}, ${kills} kills`).toBeLessThanOrEqual(most);
      rmSync(join(origin.folder, 'models'), { recursive: true });
    }
  }, 300_000);

  test('a torn journal tail, a damaged line and damaged bytes each cost their chunk', async () => {
    const model = testModel();
    const { store } = await openTab();
    const entry = await store.create(model.manifest);
    const log = loggedSources(model.originals, { fail: (n) => (n > 25 ? new EngineError('storage', 'cut') : undefined) });
    await entry.download(model.chunks, log.sources, { connections: 1 }).done.catch(() => {});
    await store.close();
    const journal = join(generationFolder(), 'journal');
    const lines = readFileSync(journal, 'utf8').split('\n');
    expect(lines.length).toBe(26);
    lines[3] = lines[3]!.replace('layer', 'later');
    lines[24] = lines[24]!.slice(0, 20); // with the empty one after it: no newline at the end
    writeFileSync(journal, lines.slice(0, 25).join('\n'));
    // A flipped byte in the chunk of line 10.
    const target = (JSON.parse(lines[10]!.slice(0, -17)) as { targets: [string, number, number][] }).targets[0]!;
    const bytes = readFileSync(weightFile(target[0]));
    bytes[target[1] + 5]! ^= 1;
    writeFileSync(weightFile(target[0]), bytes);

    const second = await openTab();
    const again = (await second.store.find(model.manifest.key))!;
    expect(again.complete).toBe(false);
    const rest = loggedSources(model.originals);
    await again.download(model.chunks, rest.sources).done;
    expect(rest.reads.length).toBe(model.chunks.length - 25 + 3);
    await expectStored(again, model);
  });

  test('an unfinished creation is no model, and goes away', async () => {
    const model = testModel();
    const { tab, store } = await openTab({
      onWrite: (path) => {
        if (path.endsWith('manifest.json')) tab.die();
      },
    });
    await expect(store.create(model.manifest)).rejects.toThrow('died');
    expect(readdirSync(join(origin.folder, 'models')).length).toBe(1);
    const second = await openTab();
    expect(await second.store.list()).toEqual([]);
    expect(readdirSync(join(origin.folder, 'models'))).toEqual([]);
  });
});

describe('a complete model', () => {
  test('that was touched but not changed is hashed and sealed again', async () => {
    const model = testModel();
    await stored(model);
    utimesSync(weightFile('layer-2'), 5, 5);
    const { tab, store } = await openTab();
    expect((await store.find(model.manifest.key))!.complete).toBe(true);
    expect(tab.opened.filter((path) => path.includes('weights')).length).toBe(1);
    await store.close();
    const third = await openTab();
    expect((await third.store.find(model.manifest.key))!.complete).toBe(true);
    expect(third.tab.opened.filter((path) => path.includes('weights'))).toEqual([]);
  });

  test('with a changed byte, a short file or a lost file fetches what is damaged and no more', async () => {
    const model = await withSha256(testModel());
    const first = await stored(model);
    expect(first.reads.length).toBe(30);
    const bytes = readFileSync(weightFile('layer-2'));
    bytes[100_000]! ^= 1;
    writeFileSync(weightFile('layer-2'), bytes);
    truncateSync(weightFile('layer-3'), 219_999);
    rmSync(weightFile('layer-4'));
    const { store } = await openTab();
    const entry = (await store.find(model.manifest.key))!;
    expect(entry.complete).toBe(false);
    expect((await store.list())[0]!.complete).toBe(false);
    const rest = loggedSources(model.originals);
    await entry.download(model.chunks, rest.sources).done;
    expect(rest.reads.length).toBe(1 + 1 + 5);
    await expectStored(entry, model);
    expect(entry.verified).toBe('hub');
  });

  test("verify: 'full' finds what size and time do not show", async () => {
    const model = testModel();
    await stored(model);
    const path = weightFile('layer-2');
    const { atime, mtime } = statSync(path);
    const bytes = readFileSync(path);
    bytes[100_000]! ^= 1;
    writeFileSync(path, bytes);
    utimesSync(path, atime, mtime);
    const { store } = await openTab();
    const entry = (await store.find(model.manifest.key))!;
    const rest = loggedSources(model.originals);
    await entry.download(model.chunks, rest.sources, { verify: 'full' }).done;
    expect(rest.reads.length).toBe(1);
    await expectStored(entry, model);
  });
});

describe('sha256', () => {
  test("matches: verified 'hub'; a skipped range: 'partial', until verify: 'full' fetches and hashes it too", async () => {
    const model = await withSha256(testModel({ skippedBytes: 50_000 }));
    await stored(model);
    const { store } = await openTab();
    const entry = (await store.find(model.manifest.key))!;
    expect(entry.verified).toBe('partial');
    const log = loggedSources(model.originals);
    await entry.download(model.chunks, log.sources, { verify: 'full' }).done;
    expect(entry.verified).toBe('hub');
    expect(log.fetchedBytes).toBe(50_000);
    expect((await store.list())[0]!.verified).toBe('hub');
  });

  test('a mismatch is an error that drops the file and no other', async () => {
    const model = await withSha256(testModel());
    const damaged = new Map(model.originals);
    const bytes = damaged.get('b.safetensors')!.slice();
    bytes[60_000]! ^= 1;
    damaged.set('b.safetensors', bytes);
    const { store } = await openTab();
    const entry = await store.create(model.manifest);
    const error = await failureOf(entry.download(model.chunks, loggedSources(damaged).sources).done);
    expect(error.code).toBe('storage');
    expect(error.message).toMatch(/b\.safetensors is damaged, at its source or on the way/);
    expect(entry.complete).toBe(false);
    const rest = loggedSources(model.originals);
    await entry.download(model.chunks, rest.sources).done;
    expect(rest.reads.filter(({ file }) => file === 'b.safetensors').length).toBe(15);
    expect(rest.reads.filter(({ file }) => file === 'a.safetensors').length).toBeLessThan(15);
    expect(entry.verified).toBe('hub');
    await expectStored(entry, model);
  });

  test('a damaged header is found, and a damaged stored text is refused', async () => {
    const model = await withSha256(testModel());
    model.manifest.texts['a.safetensors.header']![7]! ^= 1;
    const { store } = await openTab();
    const entry = await store.create(model.manifest);
    const error = await failureOf(entry.download(model.chunks, loggedSources(model.originals).sources).done);
    expect(error.message).toContain('a.safetensors is damaged');
    writeFileSync(join(generationFolder(), 'texts', 'config.json'), '{"seed":9}');
    expect((await failureOf(entry.readText('config.json'))).message).toContain('damaged');
  });
});

describe('a full disk', () => {
  test.each(['throw', 'short', 'minus-8'] as const)(
    '(%s) keeps what came, says what is missing, and goes on later',
    async (fullDisk) => {
      const model = testModel();
      const { store, tab } = await openTab({ diskBytes: 700_000, fullDisk });
      const entry = await store.create(model.manifest);
      const error = await failureOf(entry.download(model.chunks, loggedSources(model.originals).sources).done);
      expect(error.code).toBe('storage');
      expect(error.message).toMatch(/full: 1 MB more are needed for acme\/tiny/);
      const [info] = await store.list();
      expect(info!.complete).toBe(false);
      expect(info!.storedBytes).toBeGreaterThan(500_000);
      tab.options.diskBytes = undefined;
      const rest = loggedSources(model.originals);
      await entry.download(model.chunks, rest.sources).done;
      expect(rest.fetchedBytes).toBeLessThan(820_000);
      await expectStored(entry, model);
    },
  );

  test('is refused before the first byte where the browser says so, and a warning where it may grant more', async () => {
    const model = testModel();
    const { store, tab } = await openTab({ freeBytes: 1_000_000 });
    const entry = await store.create(model.manifest);
    const log = loggedSources(model.originals);
    const error = await failureOf(entry.download(model.chunks, log.sources).done);
    expect(error.message).toMatch(/needs 2 MB more on disk, and the browser grants 1 MB/);
    expect(log.reads).toEqual([]);
    Object.assign(tab, { grantsMore: true });
    const download = entry.download(model.chunks, log.sources);
    await download.done;
    expect(download.progress().warning).toMatch(/may grant more/);
  });
});

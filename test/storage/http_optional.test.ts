/** Hosts that answer 403 for a file that does not exist (S3 and its like), and what else a 403 can mean. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { openModel } from '../../src/storage/model_ref';
import { openCheckpoint } from '../../src/stream/open_checkpoint';
import { type HubServer, startHub } from '../servers/hub_server';

const vector = (name: string) => (file: string) =>
  [file, new Uint8Array(readFileSync(fileURLToPath(new URL(`../fixtures/vectors/${name}/${file}`, import.meta.url))))] as const;
const indexName = 'model.safetensors.index.json';
const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
const quick = { retryDelayMs: 1, tries: 2 };
let hub: HubServer;
beforeAll(async () => {
  hub = await startHub(
    new Map(['config.json', 'model.safetensors'].map(vector('dense-4bit'))),
    new Map([['acme/sharded', new Map(['config.json', indexName, ...shards].map(vector('dense-bf16')))]]),
  );
  hub.redirect = false;
});
afterEach(() => {
  hub.fault = undefined;
  hub.log.length = 0;
});
afterAll(() => hub.close());

/** 403 for what is not there. */
const likeS3: HubServer['fault'] = ({ file }) => (file === undefined ? 403 : undefined);

test.each([
  { path: '', sources: ['model.safetensors'] },
  { path: '/acme/sharded', sources: shards },
])('optional files that do not exist are left out: $sources', async ({ path, sources }) => {
  hub.fault = likeS3;
  const found = await openCheckpoint(await openModel(`${hub.hubUrl}${path}`, quick));
  expect([...found.sources.keys()].sort()).toEqual(sources);
  expect([found.tokenizerJson, found.tokenizerConfig, found.chatTemplate]).toEqual([undefined, undefined, undefined]);
  for (const source of found.sources.values()) source.close();
});

test('a folder without weights says so', async () => {
  hub.models.set('acme/empty', new Map(['config.json'].map(vector('dense-4bit'))));
  hub.fault = likeS3;
  await expect(openCheckpoint(await openModel(`${hub.hubUrl}/acme/empty`, quick))).rejects.toMatchObject({
    code: 'not-found',
    message: expect.stringMatching(/neither model\.safetensors nor .*index\.json/),
  });
});

test('a config that may not be read is the refusal itself', async () => {
  hub.fault = () => 403;
  await expect(openCheckpoint(await openModel(hub.hubUrl, quick))).rejects.toMatchObject({
    code: 'storage',
    message: expect.stringMatching(/config\.json refused access \(HTTP 403\)/),
  });
});

test('a right that ends during the load is not taken for missing files', async () => {
  hub.fault = ({ path }) => (hub.log.some((earlier) => earlier.path.endsWith('tokenizer.json')) || path === '' ? 403 : undefined);
  await expect(openCheckpoint(await openModel(hub.hubUrl, quick))).rejects.toMatchObject({
    code: 'storage',
    message: expect.stringMatching(/token.*refused access \(HTTP 403\)/),
  });
});

test('401 for an optional file is an error: a token is missing', async () => {
  hub.fault = ({ path }) => (path.endsWith('tokenizer.json') ? 401 : undefined);
  await expect(openCheckpoint(await openModel(hub.hubUrl, quick))).rejects.toMatchObject({ code: 'storage' });
});

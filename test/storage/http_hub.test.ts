/** What the hub's listing tells of files, and that nothing about it can fail a load. */
import { createHash } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { isAbort } from '../../src/errors';
import { openModel } from '../../src/storage/model_ref';
import { type Fault, HUB_COMMIT, HUB_MODEL, type HubServer, type Logged, startHub } from '../servers/hub_server';
import { patternBytes } from './contract';

const weights = patternBytes(300_000);
const sha256 = createHash('sha256').update(weights).digest('hex');
const config = new TextEncoder().encode('{}');
const name = 'model.safetensors';
const quick = { retryDelayMs: 1, tries: 2, stallMs: 10_000 };
const listed = { sha256, byteLength: weights.byteLength };
let hub: HubServer;
beforeAll(async () => {
  hub = await startHub(
    new Map([
      ['config.json', config],
      ['generation_config.json', config],
      [name, weights],
    ]),
  );
});
afterEach(() => {
  hub.fault = undefined;
  hub.treePageSize = 1000;
  hub.latencyMs = 0;
  hub.log.length = 0;
});
afterAll(() => hub.close());

const isTree = ({ path }: Logged) => path.includes('/tree/');
const asked = () => hub.log.filter(isTree);
const open = async (options = {}) => {
  const files = await openModel(HUB_MODEL, { ...quick, hubUrl: hub.hubUrl, ...options });
  return (file: string, signal?: AbortSignal) => files.expected!(file, signal);
};
const onTree = (fault: Fault) => (request: Logged) => (isTree(request) ? fault : undefined);
const json = (value: unknown, headers = {}): Fault => ({
  status: 200,
  body: typeof value === 'string' ? value : JSON.stringify(value),
  headers: { 'Content-Type': 'application/json', ...headers },
});

test('sha256 and size of LFS files, size of others, nothing of files it does not list; one request for all', async () => {
  const expected = await open({ token: 'hf_secret' });
  expect(asked()).toEqual([]); // not before it is asked for
  const names = [name, 'config.json', 'nothing.json', 'original'];
  expect(await Promise.all(names.map((file) => expected(file)))).toEqual([
    listed,
    { byteLength: config.byteLength },
    undefined,
    undefined,
  ]);
  expect(await expected(name)).toEqual(listed);
  expect(asked()).toMatchObject([
    { path: `/api/models/${HUB_MODEL}/tree/${HUB_COMMIT}`, headers: { authorization: 'Bearer hf_secret' } },
  ]);
});

test('a folder that is no hub has no listing', async () => {
  expect((await openModel(hub.hubUrl, quick)).expected).toBeUndefined();
});

describe('pages', () => {
  test('all are read', async () => {
    hub.treePageSize = 1;
    const expected = await open();
    expect([await expected(name), await expected('config.json')]).toEqual([listed, { byteLength: 2 }]);
    expect(asked()).toHaveLength(3);
  });

  test('a listing without end is left', async () => {
    hub.fault = (request) =>
      isTree(request)
        ? json([{ type: 'file', path: name, size: 7 }], { Link: `<${hub.hubUrl}${request.path}?cursor=x>; rel="next"` })
        : undefined;
    expect(await (await open())(name)).toEqual({ byteLength: 7 });
    expect(asked()).toHaveLength(16);
  });

  test.each(['cdn', 'path', 'nonsense'])('a next page elsewhere (%s) is not asked for: it would see the token', async (where) => {
    const tree = `/api/models/${HUB_MODEL}/tree/${HUB_COMMIT}`;
    const link = { cdn: `${hub.cdnUrl}${tree}`, path: `${hub.hubUrl}/x`, nonsense: 'http://[' }[where];
    hub.fault = onTree(json([], { Link: `<${link}>; rel="next"` }));
    expect(await (await open({ token: 'hf_secret' }))(name)).toBeUndefined();
    expect(hub.log.map(({ host, path }) => [host, path])).toEqual([
      ['hub', `/api/models/${HUB_MODEL}/revision/main`],
      ['hub', tree],
    ]);
  });

  test('what came before a failure counts', async () => {
    hub.treePageSize = 2;
    hub.fault = (request) => (isTree(request) && asked().length > 1 ? 404 : undefined);
    const expected = await open();
    expect([await expected('config.json'), await expected(name)]).toEqual([{ byteLength: 2 }, undefined]);
  });
});

describe('a listing that fails is undefined, and is not asked for again', () => {
  const faults: Fault[] = [401, 403, 404, 429, 500, 503, 'reset', 'html', json('['), json('{}'), json('null'), json([1, null])];
  test.each(faults)('%j', async (fault) => {
    hub.fault = onTree(fault);
    const expected = await open();
    expect(await expected(name)).toBeUndefined();
    const requests = asked().length;
    expect(await expected(name)).toBeUndefined();
    expect(asked()).toHaveLength(requests);
  });

  test('silence', async () => {
    hub.fault = onTree('silent');
    expect(await (await open({ stallMs: 100 }))(name)).toBeUndefined();
  });

  test('more than it may hold', async () => {
    hub.fault = onTree(json(`["${' '.repeat(16 << 20)}"]`));
    expect(await (await open())(name)).toBeUndefined();
  });

  test.each([
    { entry: { type: 'directory', path: name, size: 1 }, says: undefined },
    { entry: { type: 'file', path: name, size: -1, lfs: { oid: 'x' } }, says: {} },
    { entry: { type: 'file', path: name, size: '7', lfs: { oid: sha256.toUpperCase(), size: 1.5 } }, says: {} },
    { entry: { type: 'file', path: name, size: 130, lfs: { oid: sha256, size: 300_000, pointerSize: 130 } }, says: listed },
  ])('an entry $entry says $says', async ({ entry, says }) => {
    hub.fault = onTree(json([entry]));
    expect(await (await open())(name)).toEqual(says);
  });
});

test('who stops waiting gets an AbortError, others the listing; with nobody left it is asked for anew', async () => {
  const expected = await open();
  hub.latencyMs = 100;
  const controller = new AbortController();
  const [left, stayed] = [expected(name, controller.signal), expected(name)];
  setTimeout(() => controller.abort(), 20);
  expect(isAbort(await left.catch((error: unknown) => error))).toBe(true);
  expect(await stayed).toEqual(listed);
  expect(asked()).toHaveLength(1);

  const again = await open();
  const gone = again(name, AbortSignal.timeout(20));
  expect(isAbort(await gone.catch((error: unknown) => error))).toBe(true);
  expect(await again(name)).toEqual(listed);
  expect(asked()).toHaveLength(3);
});
